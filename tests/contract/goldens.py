"""Golden results of the shipped models: image -> bitstream -> image, to the byte.

The pictures are drawn by code, and chosen so that nothing in them lies near a rounding boundary: another processor's
floating point then gives the same bytes, and whatever gives others is a change of the codec or of a model.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from pydantic import BaseModel

from latentwire.decoder import Decoder
from latentwire.encoder import Encoder
from latentwire.entropy import quantizer
from latentwire.imaging import image
from latentwire.model.any_size_card import AnySizeCard, load_any_card
from latentwire.model.card import CARD_FILE, ModelCard
from training.data.synthetic import draw_digits

REPOSITORY = Path(__file__).resolve().parent.parent.parent
MODELS = REPOSITORY / "models"
GOLDENS = Path(__file__).parent / "goldens"

CASES = 4
CANDIDATES = 4000
# Shared by all symbols or values of an image: the more there are, the nearer one comes.
SYMBOL_MARGIN = 0.2  # of a quantizer's step
PIXEL_MARGIN = 1.5  # of a grey level


class GoldenCase(BaseModel):
    """One image and what becomes of it."""

    image_png_base64: str
    bitstream_hex: str
    reconstruction_png_base64: str


class Goldens(BaseModel):
    """The cases of one model."""

    model_id: str
    cases: list[GoldenCase]


class Passage(NamedTuple):
    """An image's way through a model, and how far it stays from the nearest rounding boundary."""

    bitstream: bytes
    pixels: image.Pixels
    symbol_margin: float
    pixel_margin: float


def shipped_models() -> list[Path]:
    """The folders of all shipped vector models."""
    return [folder for folder in _folders() if isinstance(load_any_card(folder), ModelCard)]


def shipped_any_size_models() -> list[Path]:
    """The folders of all shipped models for images of any size."""
    return [folder for folder in _folders() if isinstance(load_any_card(folder), AnySizeCard)]


def _folders() -> list[Path]:
    return sorted(path.parent for path in MODELS.glob(f"*/{CARD_FILE}"))


def candidates(card: ModelCard, count: int = CANDIDATES) -> list[image.Pixels]:
    """Drawn digits in the form that the model takes, uint8 (H, W, C) each."""
    digits, _ = draw_digits(count, seed=7)
    return [image.read_image(image.write_png(digit), card.image, "resize") for digit in digits]


def pass_through(encoder: Encoder, decoder: Decoder, pixels: image.Pixels) -> Passage:
    """Encode and decode one image, uint8 (H, W, C)."""
    (encoded,) = encoder.encode(pixels[None])
    parameters = encoder.card.quantizer
    scaled = (encoded.y.astype(np.float64) - parameters.low) / parameters.step
    symbols = quantizer.quantize(encoded.y[None], parameters)
    greys = 255 * np.clip(decoder.x_hat(quantizer.dequantize(symbols, parameters)).astype(np.float64), 0, 1)
    return Passage(
        bitstream=encoded.bitstream,
        pixels=decoder.decode([encoded.bitstream])[0],
        symbol_margin=_margin(scaled),
        pixel_margin=_margin(greys),
    )


def _margin(values: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> float:
    """The least distance of any value to the half between two integers."""
    return float(np.abs(values - np.floor(values) - 0.5).min())
