"""An opened model for pictures: images -> codes and reconstructions, through the library's Encoder and Decoder."""

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from latentwire.decoder import Decoder
from latentwire.encoder import Encoder
from latentwire.entropy import quantizer
from latentwire.errors import ImageMismatch
from latentwire.imaging import image
from latentwire.model.card import ModelCard, load_card
from training.batches import parts
from training.data.datasets import Dataset

Floats = npt.NDArray[np.float32]

_In = TypeVar("_In", bound=np.generic)
_Out = TypeVar("_Out", bound=np.generic)


class Subject:
    """An opened model, for the images of one data set."""

    def __init__(self, folder: Path, dataset: Dataset) -> None:
        """Open both halves.

        Raises:
            ModelError: the model's files cannot be used.
            ImageMismatch: its images are not of the data set's shape.
        """
        self.card: ModelCard = load_card(folder)
        if self.card.image != dataset.shape:
            raise ImageMismatch(f"model '{self.card.name}' takes {self.card.image}; {dataset.name} has {dataset.shape}")
        self._encoder, self._decoder = Encoder.open(folder), Decoder.open(folder)

    @property
    def outermost_levels(self) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """The levels, float64 (code size) each, of the least and of the greatest symbols that the tables hold."""
        low, step = np.array(self.card.quantizer.low), np.array(self.card.quantizer.step)
        first = np.array([table.first for table in self.card.tables])
        last = np.array([table.last for table in self.card.tables])
        return low + step * first, low + step * last

    @property
    def code_in_words(self) -> str:
        """Length of the code as text, such as `10 numbers`."""
        return "1 number" if self.card.code_size == 1 else f"{self.card.code_size:,} numbers"

    def codes(self, pixels: image.Pixels) -> Floats:
        """Return the codes before quantization, float32 (N, code size), of uint8 (N, H, W, C) pixels."""
        return self._in_parts(self._encoder.y, pixels)

    def reconstruct(self, pixels: image.Pixels) -> image.Pixels:
        """Return the images that a receiver decodes, for uint8 (N, H, W, C) pixels, in the same shape."""
        return self._in_parts(
            lambda part: self._decoder.decode([code.bitstream for code in self._encoder.encode(part)]), pixels
        )

    def deliver(self, y: Floats) -> image.Pixels:
        """Return the images, uint8 (N, H, W, C), that a receiver decodes, for codes, float32 (N, code size)."""
        return self.decode(quantizer.dequantize(quantizer.quantize(y, self.card.quantizer), self.card.quantizer))

    def decode(self, y: Floats) -> image.Pixels:
        """Return the images, uint8 (N, H, W, C), of any points of the code space, unquantized."""
        return self._in_parts(lambda part: image.to_pixels(np.nan_to_num(self._decoder.x_hat(part))), y)

    def levels(self, y: Floats) -> npt.NDArray[np.float64]:
        """Return the share of training images with lower levels than each code's, by the tables: from 0 to 1.

        Training images of the same level count half.
        """
        symbols = quantizer.quantize(y, self.card.quantizer)
        shares = np.empty(symbols.shape)
        for number, table in enumerate(self.card.tables):
            frequencies = np.array((0, *table.frequencies, 0))
            below = (frequencies.cumsum() - frequencies / 2) / frequencies.sum()
            shares[:, number] = below[np.clip(symbols[:, number] - table.first + 1, 0, len(below) - 1)]
        return shares

    def payload_in_words(self, pixels: image.Pixels) -> str:
        """Return the mean payload of uint8 (N, H, W, C) pixels as text, such as `6.5 bytes`."""
        mean = float(np.mean([len(code.payload) for code in self._encoder.encode(pixels)]))
        return f"{mean:,.0f} bytes" if mean >= 100 else f"{mean:.3g} bytes"

    def _in_parts(
        self, compute: Callable[[npt.NDArray[_In]], npt.NDArray[_Out]], rows: npt.NDArray[_In]
    ) -> npt.NDArray[_Out]:
        return np.concatenate([compute(rows[part]) for part in parts(len(rows), self.card.image.as_tuple())])


def rmse_of_each(pixels: image.Pixels, others: image.Pixels) -> npt.NDArray[np.float64]:
    """Return the RMSE between each two images of two stacks, uint8 (N, H, W, C), in [0, 1]."""
    # In parts, because all differences of a large data set would take four times its memory.
    squares = [
        np.square((pixels[part].astype(np.float32) - others[part]) / 255).mean(axis=(1, 2, 3), dtype=np.float64)
        for part in parts(len(pixels), pixels.shape[1:])
    ]
    root: npt.NDArray[np.float64] = np.sqrt(np.concatenate(squares))
    return root
