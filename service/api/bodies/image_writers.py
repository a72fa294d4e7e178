"""Writes the images of a batch, as an array or as JSON."""

import base64
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

import numpy as np

from latentwire.imaging import image
from service.api.bodies.json_fields import JsonImageList
from service.http.media_types import JSON, NPY
from service.http.npy import npy_header

if TYPE_CHECKING:
    from latentwire.model.card import ModelCard


class ImageWriter(Protocol):
    """Writes the response body: `header`, then the images, then `trailer`. `length` is None if it is not known."""

    header: bytes
    trailer: bytes
    length: int | None

    def add(self, pixels: image.Pixels) -> bytes:
        """Return the bytes of images, uint8 (N, H, W, C)."""


class _NpyWriter:
    """An array, uint8 (N, H, W, C)."""

    def __init__(self, card: "ModelCard", count: int) -> None:
        self.header = npy_header(np.uint8, (count, *card.image.as_tuple()))
        self.trailer = b""
        self.length: int | None = len(self.header) + count * card.image.pixels * card.image.channels

    def add(self, pixels: image.Pixels) -> bytes:
        return pixels.tobytes()


class _JsonWriter:
    """JSON with each image as a PNG file in base64."""

    def __init__(self, card: "ModelCard", count: int) -> None:  # noqa: ARG002
        self._images = JsonImageList(card)
        self.header = self._images.header
        self.trailer = self._images.trailer
        self.length: int | None = None

    def add(self, pixels: image.Pixels) -> bytes:
        return b"".join(self._images.add(base64.b64encode(image.write_png(one)).decode()) for one in pixels)


IMAGE_WRITERS: dict[str, Callable[["ModelCard", int], ImageWriter]] = {NPY: _NpyWriter, JSON: _JsonWriter}
