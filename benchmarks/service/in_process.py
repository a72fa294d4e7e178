"""What a request cannot do without, each measured alone and in this process: image files and graphs."""

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


class Alone(NamedTuple):
    """Median seconds of one image: to read its file, to write one, and to run each graph."""

    read_image_s: float
    write_png_s: float
    encoder_s: float
    decoder_s: float


class Inside:
    """The graphs of one model, opened here, and images to run them on."""

    def __init__(self, folder: Path, pixels: image.Pixels) -> None:
        """Open the model of a folder; `pixels` are uint8 (N, H, W, C) of its shape.

        Raises:
            ModelError: its files cannot be used.
        """
        self.card: ModelCard = load_card(folder)
        self.pixels = pixels
        self.files = [image.write_png(one) for one in pixels]
        height, width, channels = self.card.image.as_tuple()
        x_shape, y_shape = (channels, height, width), (self.card.code_size,)
        self.encoder = open_onnx(folder / ENCODER_FILE, self.card.encoder, x_shape, y_shape)
        self.decoder = open_onnx(folder / DECODER_FILE, self.card.decoder, y_shape, x_shape)
        self.codes = [one.bitstream for one in Encoder(self.card, self.encoder).encode(pixels)]
        self._x = image.to_x(pixels)
        symbols = quantizer.quantize(self.encoder.run(self._x), self.card.quantizer)
        self._y_hat = quantizer.dequantize(symbols, self.card.quantizer)

    def alone(self, runs: int = 300) -> Alone:
        """Measure each step on one image after the other, `runs` times."""
        shape, count = self.card.image, len(self.files)
        x, y_hat = (np.split(values, count) for values in (self._x, self._y_hat))
        return Alone(
            _median_s(lambda at: image.read_image(self.files[at % count], shape), runs),
            _median_s(lambda at: image.write_png(self.pixels[at % count]), runs),
            _median_s(lambda at: self.encoder.run(x[at % count]), runs),
            _median_s(lambda at: self.decoder.run(y_hat[at % count]), runs),
        )

    def encoded_per_s(self, images: int) -> dict[int, float]:
        """Return images a second through the encoder's graph alone, by how many are run at once."""
        return _per_chunk(self.encoder, _repeated(self._x, images))

    def decoded_per_s(self, images: int) -> dict[int, float]:
        """Return images a second through the decoder's graph alone, by how many are run at once."""
        return _per_chunk(self.decoder, _repeated(self._y_hat, images))


def _median_s(step: Callable[[int], object], runs: int) -> float:
    times = []
    for at in range(runs):
        began = time.perf_counter()
        step(at)
        times.append(time.perf_counter() - began)
    return statistics.median(times)


def _repeated(values: Floats, count: int) -> Floats:
    return np.resize(values, (count, *values.shape[1:]))


def _per_chunk(graph: OnnxModel, values: Floats, chunks: Sequence[int] = CHUNKS) -> dict[int, float]:
    found = {}
    for chunk in chunks:
        graph.run(values[:chunk])  # whatever is done once for a shape
        began = time.perf_counter()
        for start in range(0, len(values), chunk):
            graph.run(values[start : start + chunk])
        found[chunk] = len(values) / (time.perf_counter() - began)
    return found
