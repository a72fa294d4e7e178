"""Images -> the same images with a mark drawn beside what they show, to find out whether a model loses it."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from latentwire.imaging import image

# Height and width of the kinds of marks, for images with a side of 28 pixels: a stroke and a dot.
KINDS = {"stroke": (2, 6), "dot": (3, 3)}
_SIDE = 28

# Level of 0 to 255 above which a pixel shows something; distance in pixels of a mark from it, at least and at most.
_INK = 20
_NEAREST, _FARTHEST = 2, 5

# Share of a mark's brightness below which a reconstruction has lost it, and above which it shows one.
LOST = 0.5


class MarkedImages(NamedTuple):
    """Images with a mark each.

    Attributes:
        pixels: uint8 (N, H, W, C).
        places: where the marks are, bool (N, H, W).
        sources: index of the image that each was drawn into, int64 (N).
    """

    pixels: image.Pixels
    places: npt.NDArray[np.bool_]
    sources: npt.NDArray[np.int64]

    def lost(self, reconstructions: image.Pixels) -> npt.NDArray[np.bool_]:
        """Return whether each reconstruction, uint8 (N, H, W, C), has lost its mark, bool (N)."""
        return mark_levels(reconstructions, self.places) < LOST * 255


def mark_levels(pixels: image.Pixels, places: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
    """Return the mean level, float64 (N), of images, uint8 (N, H, W, C), at places, bool (N, H, W)."""
    levels: npt.NDArray[np.float64] = pixels.mean(axis=3)
    means: npt.NDArray[np.float64] = (levels * places).sum(axis=(1, 2)) / places.sum(axis=(1, 2))
    return means


def draw_marks(pixels: image.Pixels, kind: str, seed: int) -> MarkedImages:
    """Draw a white mark of a kind, turned at random, beside what dark images show; leave out those without room.

    Args:
        pixels: uint8 (N, H, W, C).
        kind: `stroke` or `dot`.
        seed: of places and turns.
    """
    random = np.random.default_rng(seed)
    height, width = pixels.shape[1:3]
    scale = min(height, width) / _SIDE
    sides = [max(1, round(scale * side)) for side in KINDS[kind]]
    near, far = max(1, round(scale * _NEAREST)), max(1, round(scale * _FARTHEST))
    drawn, places, sources = [], [], []
    for index, one in enumerate(pixels):
        rows, columns = sides if random.random() < 0.5 else sides[::-1]
        found = _free_places(one.max(axis=2) > _INK, rows, columns, near, far)
        if not len(found):
            continue
        top, left = found[random.integers(len(found))]
        place = np.zeros((height, width), np.bool_)
        place[top : top + rows, left : left + columns] = True
        drawn.append(np.where(place[..., None], np.uint8(255), one))
        places.append(place)
        sources.append(index)
    if not drawn:
        return MarkedImages(pixels[:0], np.zeros((0, height, width), np.bool_), np.zeros(0, np.int64))
    return MarkedImages(np.stack(drawn), np.stack(places), np.array(sources))


def _free_places(ink: npt.NDArray[np.bool_], rows: int, columns: int, near: int, far: int) -> npt.NDArray[np.int64]:
    """Return upper left corners, (places, 2), of rectangles near the ink, and not too near to it or to the border."""
    height, width = ink.shape
    if not ink.any() or rows + 2 * near > height or columns + 2 * near > width:
        return np.zeros((0, 2), np.int64)
    counts = np.pad(np.pad(ink, near).astype(np.int64).cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    tall, wide = rows + 2 * near, columns + 2 * near
    inside = counts[tall:, wide:] - counts[:-tall, wide:] - counts[tall:, :-wide] + counts[:-tall, :-wide]
    tops, lefts = np.nonzero(inside == 0)
    inked_rows, inked_columns = np.flatnonzero(ink.any(axis=1)), np.flatnonzero(ink.any(axis=0))
    kept = (
        (tops >= max(near, inked_rows[0] - far - rows))
        & (tops + rows <= min(height - near, inked_rows[-1] + 1 + far))
        & (lefts >= max(near, inked_columns[0] - far - columns))
        & (lefts + columns <= min(width - near, inked_columns[-1] + 1 + far))
    )
    return np.stack([tops[kept], lefts[kept]], axis=1)
