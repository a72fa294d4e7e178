"""Principal component analysis of images: the best that linear encoders and decoders can do, the line to beat.

Pearson 1901, "On lines and planes of closest fit to systems of points in space". Knows no network.
"""

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]
Doubles = npt.NDArray[np.float64]

_BATCH = 5000


def pca_test_rmse(train: Pixels, test: Pixels, dimensions: int) -> float:
    """Return the RMSE per value, in [0, 1], of test images that so many components of the training images rebuild.

    Args:
        train: images, uint8 (N, H, W, C), whose mean and covariance give the components.
        test: images, uint8 (M, H, W, C).
        dimensions: number of components, from 1 to H · W · C.
    """
    return pca_test_rmses(train, test, [dimensions])[0]


def pca_test_rmses(train: Pixels, test: Pixels, dimensions: Sequence[int]) -> list[float]:
    """Return the RMSE for each of several numbers of components; arguments as of `pca_test_rmse`."""
    mean, components = principal_components(train)
    # Components are orthonormal: what some of them leave of an image is the sum of its squares along the others.
    squares = np.zeros(len(mean))
    for start in range(0, len(test), _BATCH):
        along = (_flat(test[start : start + _BATCH]) - mean) @ components.T
        squares += np.square(along).sum(axis=0)
    left = squares.sum() - np.cumsum(squares)
    return [math.sqrt(max(left[count - 1], 0.0) / test.size) for count in dimensions]


def principal_components(pixels: Pixels) -> tuple[Doubles, Doubles]:
    """Return mean (H · W · C) and components, one in a row, largest variance first, of images in [0, 1]."""
    values = pixels[0].size
    total, products = np.zeros(values), np.zeros((values, values))
    for start in range(0, len(pixels), _BATCH):
        batch = _flat(pixels[start : start + _BATCH])
        total += batch.sum(axis=0)
        products += batch.T @ batch
    mean = total / len(pixels)
    _, directions = np.linalg.eigh(products / len(pixels) - np.outer(mean, mean))
    components: Doubles = directions[:, ::-1].T
    return mean, components


def _flat(pixels: Pixels) -> Doubles:
    return pixels.reshape(len(pixels), -1) / 255
