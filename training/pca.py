"""Images -> their principal components: the baseline of every autoencoder of the same code size.

No linear encoder and decoder can do better (Baldi and Hornik 1989, https://doi.org/10.1016/0893-6080(89)90014-2).
"""

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from latentwire.imaging import image

Doubles = npt.NDArray[np.float64]

_BATCH = 5000


class Pca(NamedTuple):
    """Mean (values) and components (values, values): orthonormal rows, in order of falling variance."""

    mean: Doubles
    components: Doubles

    def rmse(self, pixels: image.Pixels, code_size: int) -> float:
        """Return the RMSE, in [0, 1], of uint8 (N, H, W, C) pixels rebuilt from `code_size` numbers each."""
        basis = self.components[:code_size]
        total = 0.0
        for start in range(0, len(pixels), _BATCH):
            centred = _values(pixels[start : start + _BATCH]) - self.mean
            # Components are orthonormal, so the squares of a code and of its residual add up to those of the image.
            total += float(np.square(centred).sum() - np.square(centred @ basis.T).sum())
        return math.sqrt(max(total, 0.0) / pixels.size)

    def clipped_rmse(self, pixels: image.Pixels, code_size: int) -> float:
        """Return the RMSE of reconstructions that are clipped to [0, 1], as a receiver's pixels are."""
        basis = self.components[:code_size]
        total = 0.0
        for start in range(0, len(pixels), _BATCH):
            values = _values(pixels[start : start + _BATCH])
            rebuilt = self.mean + (values - self.mean) @ basis.T @ basis
            total += float(np.square(rebuilt.clip(0, 1) - values).sum())
        return math.sqrt(total / pixels.size)


def fit_pca(pixels: image.Pixels) -> Pca:
    """Return all principal components of uint8 (N, H, W, C) pixels."""
    size = math.prod(pixels.shape[1:])
    mean, products = np.zeros(size), np.zeros((size, size))
    for start in range(0, len(pixels), _BATCH):
        values = _values(pixels[start : start + _BATCH])
        mean += values.sum(axis=0)
        products += values.T @ values
    mean /= len(pixels)
    covariance = products / len(pixels) - np.outer(mean, mean)
    _, _, components = np.linalg.svd(covariance, hermitian=True)
    return Pca(mean, components)


def _values(pixels: image.Pixels) -> Doubles:
    return pixels.reshape(len(pixels), -1) / 255.0
