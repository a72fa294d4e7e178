"""Drawn digits like those of MNIST, for tests and first steps without a data set.

Seven strokes, as on a pocket calculator; their ends, the rotation, scale and position of the digit and the width of the
pen vary at random.
"""

import numpy as np
import numpy.typing as npt

SIDE = 28

# The six corners of a calculator's digit, as (row, column) in [-1, 1], and the strokes between them.
_CORNERS = np.array([(-1, -1), (-1, 1), (0, -1), (0, 1), (1, -1), (1, 1)]) * (0.62, 0.36)
_STROKES = np.array([(0, 1), (0, 2), (1, 3), (2, 3), (2, 4), (3, 5), (4, 5)])
_LIT = np.array(
    [
        (1, 1, 1, 0, 1, 1, 1),
        (0, 0, 1, 0, 0, 1, 0),
        (1, 0, 1, 1, 1, 0, 1),
        (1, 0, 1, 1, 0, 1, 1),
        (0, 1, 1, 1, 0, 1, 0),
        (1, 1, 0, 1, 0, 1, 1),
        (1, 1, 0, 1, 1, 1, 1),
        (1, 0, 1, 0, 0, 1, 0),
        (1, 1, 1, 1, 1, 1, 1),
        (1, 1, 1, 1, 0, 1, 1),
    ],
    dtype=bool,
)


def draw_digits(count: int, seed: int) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """Draw `count` pictures, uint8 (count, 28, 28, 1), and their labels, uint8 (count), ten classes in turn."""
    random = np.random.default_rng(seed)
    labels = np.arange(count) % 10
    corners = _CORNERS + random.normal(0, 0.05, (count, 6, 2))
    turn = random.normal(0, 0.15, count)
    slant = random.normal(0.1, 0.12, count)
    rotation = np.stack([np.cos(turn), np.sin(turn), -np.sin(turn) - slant, np.cos(turn)], axis=1).reshape(count, 2, 2)
    size = random.uniform(0.85, 1.1, (count, 1, 2))
    corners = (corners * size) @ rotation + random.normal(0, 0.05, (count, 1, 2))
    pen = random.uniform(0.07, 0.12, (count, 1))

    axis = np.linspace(-1, 1, SIDE)
    rows, columns = (side.ravel() for side in np.meshgrid(axis, axis, indexing="ij"))
    nearest = np.full((count, SIDE**2), np.inf)
    for stroke, (start, end) in enumerate(_STROKES):
        lit = _LIT[labels, stroke]
        down, right = (rows - corners[lit, start, :1]), (columns - corners[lit, start, 1:])
        length_down, length_right = (corners[lit, end] - corners[lit, start]).T[..., None]
        along = ((down * length_down + right * length_right) / (length_down**2 + length_right**2)).clip(0, 1)
        distance = np.hypot(down - along * length_down, right - along * length_right)
        nearest[lit] = np.minimum(nearest[lit], distance)
    ink = 1 / (1 + np.exp((nearest - pen) / 0.03))
    return np.rint(255 * ink).astype(np.uint8).reshape(count, SIDE, SIDE, 1), labels.astype(np.uint8)
