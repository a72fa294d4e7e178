"""A picture of any size through a network in tiles, with margins that make the result that of the whole picture.

A tile is computed together with a margin of what surrounds it, and only the tile is kept. A margin is as wide as what a
kept value can see, so no value knows where tiles end: they are a matter of memory, not of the format. At the picture's
own sides there is no margin, and convolutions see the same zeros as in the whole.
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from training.photo.model import Widths

Floats = npt.NDArray[np.float32]

# In latents (16 pixels): how far a pixel sees, over the layers of `model`:
# 3 x 3 at 16 (16 px), two 3 x 3 at 8 (16), 3 x 3 at 8 (8), two 3 x 3 at 4 (8), 3 x 3 at 4 (4)
DECODER_MARGIN = 4  # 52 px


def encoder_margin(widths: Widths) -> int:
    """Return how far a latent sees, in latents, rounded up."""
    # 8 x 8 at 1 (4 px), two 3 x 3 at 4 (8), 5 x 5 at 4 (8); two 3 x 3 at 8 in each block (16);
    # and for latents a kernel at 8, and two 3 x 3 at 16 (32)
    seen = 4 + 8 + 8 + 16 * widths.encoder_blocks + 8 * (widths.encoder_kernel // 2) + 32
    return -(-seen // 16)


def encode_in_tiles(compute: Callable[[Floats], Floats], pixels: Floats, tile: int, margin: int) -> Floats:
    """Return the latents of a picture.

    Args:
        compute: (1, 3, 16 h, 16 w) -> (1, latents, h, w).
        pixels: (1, 3, 16 h, 16 w).
        tile: side in latents.
        margin: in latents.
    """
    return _in_tiles(compute, pixels, tile, margin, 16, 1)


def decode_in_tiles(
    compute: Callable[[Floats], Floats], latents: Floats, tile: int, margin: int = DECODER_MARGIN
) -> Floats:
    """Return the pixels (1, 3, 16 h, 16 w) of latents (1, latents, h, w); `tile` and `margin` in latents."""
    return _in_tiles(compute, latents, tile, margin, 1, 16)


def _in_tiles(
    compute: Callable[[Floats], Floats], values: Floats, tile: int, margin: int, size_in: int, size_out: int
) -> Floats:
    """Put together what is computed of tiles; a latent is `size_in` values wide before, and `size_out` after."""
    height, width = values.shape[2] // size_in, values.shape[3] // size_in
    whole: Floats | None = None
    for top in range(0, height, tile):
        for left in range(0, width, tile):
            bottom, right = min(height, top + tile), min(width, left + tile)
            above, before = max(0, top - margin), max(0, left - margin)
            rows = slice(above * size_in, min(height, bottom + margin) * size_in)
            columns = slice(before * size_in, min(width, right + margin) * size_in)
            part = compute(np.ascontiguousarray(values[:, :, rows, columns]))
            if whole is None:
                whole = np.empty((*part.shape[:2], height * size_out, width * size_out), np.float32)
            whole[:, :, top * size_out : bottom * size_out, left * size_out : right * size_out] = part[
                :,
                :,
                (top - above) * size_out : (bottom - above) * size_out,
                (left - before) * size_out : (right - before) * size_out,
            ]
    assert whole is not None  # noqa: S101
    return whole
