"""Rectangles of latents with a margin around them, so that a tile gives the same values as the whole image.

A margin is as wide as what a value can see; at the image's own sides there is none, and convolutions see the same zeros
as in the whole image. So no value knows where tiles end: they are a matter of memory, not of the format.
"""

from typing import NamedTuple

import numpy as np

from latentwire.any_size.transparency import fill_transparent, has_alpha
from latentwire.format.any_size import STRIDE, Header, Part
from latentwire.imaging.image import Pixels
from latentwire.model.onnx_session import Floats


class Tile(NamedTuple):
    """A part with its margin, and where the part lies in it; all in latents."""

    top: int
    left: int
    bottom: int
    right: int
    part: Part

    @property
    def inner(self) -> tuple[slice, slice]:
        """Rows and columns of the part within the tile."""
        top, left = self.part.top - self.top, self.part.left - self.left
        return slice(top, top + self.part.height), slice(left, left + self.part.width)

    @property
    def outer(self) -> tuple[slice, slice]:
        """Rows and columns of the tile within the image's latents."""
        return slice(self.top, self.bottom), slice(self.left, self.right)


def with_margin(part: Part, header: Header, margin: int) -> Tile:
    """Return the tile of a part with a margin of this many latents, or less at the image's sides."""
    return Tile(
        max(0, part.top - margin),
        max(0, part.left - margin),
        min(header.latent_height, part.top + part.height + margin),
        min(header.latent_width, part.left + part.width + margin),
        part,
    )


def tile_pixels(pixels: Pixels, tile: Tile) -> Pixels:
    """Return a tile's pixels, uint8 (1, h, w, 3); sides that are no multiple of 16 are filled up.

    The last row and column are repeated. Grey becomes three equal channels. Alpha is left out; the colours of
    transparent pixels, which nobody sees, are filled in from around them, so that they cost next to nothing.

    Args:
        pixels: the whole image, uint8 (H, W, C), with alpha if C is 2 or 4.
        tile: of it.
    """
    height, width = (tile.bottom - tile.top) * STRIDE, (tile.right - tile.left) * STRIDE
    seen = pixels[tile.top * STRIDE : tile.bottom * STRIDE, tile.left * STRIDE : tile.right * STRIDE]
    if has_alpha(seen):
        seen = fill_transparent(seen)
    filled = np.pad(seen, ((0, height - seen.shape[0]), (0, width - seen.shape[1]), (0, 0)), "edge")[None]
    return np.repeat(filled, 3, 3) if filled.shape[3] == 1 else filled


def as_maps(pixels: Pixels) -> Floats:
    """Return pixels, uint8 (1, h, w, 3), as feature maps, float32 (1, 3, h, w) in [0, 1]."""
    maps = np.ascontiguousarray(pixels.transpose(0, 3, 1, 2), np.float32)
    maps /= np.float32(255)
    return maps
