"""The unavoidable steps of a request, each measured alone and in this process: image files and graphs."""

import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from latentwire.encoder import Encoder
from latentwire.entropy import quantizer
from latentwire.imaging import image
from latentwire.model.card import DECODER_FILE, ENCODER_FILE, ModelCard, load_card
from latentwire.model.onnx_session import Floats, OnnxModel, open_onnx

CHUNKS = (1, 4, 8, 16, 32, 64, 128, 256)


class StepTimes(NamedTuple):
    """Median seconds per image: to read its file, to write one, and to run each graph."""

    read_image_s: float
    write_png_s: float
    encoder_s: float
    decoder_s: float


class InProcessModel:
    """The graphs of one model, opened in this process, and images to run them on."""

    def __init__(self, folder: Path, pixels: image.Pixels) -> None:
        """Open the model in `folder`; `pixels` are uint8 (N, H, W, C) of its shape.

        Raises:
            ModelError: the model's files are unusable.
        """
        self.card: ModelCard = load_card(folder)
        self.pixels = pixels
        self.files = [image.write_png(each) for each in pixels]
        height, width, channels = self.card.image.as_tuple()
        x_shape, y_shape = (channels, height, width), (self.card.code_size,)
        self.encoder = open_onnx(folder / ENCODER_FILE, self.card.encoder, x_shape, y_shape)
        self.decoder = open_onnx(folder / DECODER_FILE, self.card.decoder, y_shape, x_shape)
        self.codes = [each.bitstream for each in Encoder(self.card, self.encoder).encode(pixels)]
        self._x = image.to_x(pixels)
        symbols = quantizer.quantize(self.encoder.run(self._x), self.card.quantizer)
        self._y_hat = quantizer.dequantize(symbols, self.card.quantizer)

    def time_steps(self, runs: int = 300) -> StepTimes:
        """Return the time of each step, over `runs` single images."""
        shape, count = self.card.image, len(self.files)
        x, y_hat = (np.split(values, count) for values in (self._x, self._y_hat))
        return StepTimes(
            _median_s(lambda index: image.read_image(self.files[index % count], shape), runs),
            _median_s(lambda index: image.write_png(self.pixels[index % count]), runs),
            _median_s(lambda index: self.encoder.run(x[index % count]), runs),
            _median_s(lambda index: self.decoder.run(y_hat[index % count]), runs),
        )

    def encoded_per_s(self, images: int) -> dict[int, float]:
        """Return images per second through the encoder's graph alone, by the number of images per run."""
        return _per_chunk(self.encoder, _repeated(self._x, images))

    def decoded_per_s(self, images: int) -> dict[int, float]:
        """Return images per second through the decoder's graph alone, by the number of images per run."""
        return _per_chunk(self.decoder, _repeated(self._y_hat, images))


def _median_s(step: Callable[[int], object], runs: int) -> float:
    times = []
    for index in range(runs):
        started = time.perf_counter()
        step(index)
        times.append(time.perf_counter() - started)
    return statistics.median(times)


def _repeated(values: Floats, count: int) -> Floats:
    return np.resize(values, (count, *values.shape[1:]))


def _per_chunk(graph: OnnxModel, values: Floats, chunks: Sequence[int] = CHUNKS) -> dict[int, float]:
    found = {}
    for chunk in chunks:
        graph.run(values[:chunk])  # warms up this shape
        started = time.perf_counter()
        for start in range(0, len(values), chunk):
            graph.run(values[start : start + chunk])
        found[chunk] = len(values) / (time.perf_counter() - started)
    return found
