"""Images -> their principal components: the baseline of every autoencoder of the same code size.

No linear encoder and decoder can do better (Baldi and Hornik 1989, https://doi.org/10.1016/0893-6080(89)90014-2).
"""

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from latentwire.imaging import image
from training.batches import parts

Doubles = npt.NDArray[np.float64]

_SEED = 1

# Components of a lower share of the largest variance are rounding errors.
_LEAST_SHARE_OF_VARIANCE = 1e-10

# Largest number of values of an image for which all products of two of them are summed, over all images. For larger
# images the products of two images are taken, of this many images or fewer, and of this many values together.
MAX_VALUES = 3072
MAX_IMAGES = 1000
_MAX_VALUES_TOGETHER = 1 << 24


class Pca(NamedTuple):
    """Mean (values) and components (at most values, values), and the number of images that they were fitted to.

    Components are orthonormal rows, in order of falling variance.
    """

    mean: Doubles
    components: Doubles
    images: int

    def rmse(self, pixels: image.Pixels, code_size: int) -> float:
        """Return the RMSE, in [0, 1], of uint8 (N, H, W, C) pixels rebuilt from `code_size` numbers each."""
        basis = self.components[:code_size]
        total = 0.0
        for part in parts(len(pixels), pixels.shape[1:]):
            centred = _values(pixels[part]) - self.mean
            # Components are orthonormal, so the squares of a code and of its residual add up to those of the image.
            total += float(np.square(centred).sum() - np.square(centred @ basis.T).sum())
        return math.sqrt(max(total, 0.0) / pixels.size)

    def clipped_rmse(self, pixels: image.Pixels, code_size: int) -> float:
        """Return the RMSE of reconstructions that are clipped to [0, 1], as a receiver's pixels are."""
        basis = self.components[:code_size]
        total = 0.0
        for part in parts(len(pixels), pixels.shape[1:]):
            values = _values(pixels[part])
            rebuilt = self.mean + (values - self.mean) @ basis.T @ basis
            total += float(np.square(rebuilt.clip(0, 1) - values).sum())
        return math.sqrt(total / pixels.size)


def fit_pca(pixels: image.Pixels) -> Pca:
    """Return the principal components of uint8 (N, H, W, C) pixels: all, or those of a sample of large images.

    Images of over 3,072 values have at most as many components as there are images in a sample, because
    memory for the products of all pairs of values would grow with the square of an image's size.
    """
    size = math.prod(pixels.shape[1:])
    if size > MAX_VALUES:
        return fit_pca_to_sample(pixels)
    mean, products = np.zeros(size), np.zeros((size, size))
    for part in parts(len(pixels), pixels.shape[1:]):
        values = _values(pixels[part])
        mean += values.sum(axis=0)
        products += values.T @ values
    mean /= len(pixels)
    covariance = products / len(pixels) - np.outer(mean, mean)
    _, _, components = np.linalg.svd(covariance, hermitian=True)
    return Pca(mean, components, len(pixels))


def fit_pca_to_sample(pixels: image.Pixels) -> Pca:
    """Return the principal components of a fixed random sample of images, at most 1,000, as `Pca.images` says."""
    size = math.prod(pixels.shape[1:])
    count = min(len(pixels), MAX_IMAGES, max(2, _MAX_VALUES_TOGETHER // size))
    # Drawn, because evenly spaced images may all be of some classes. numpy promises this stream for good.
    sample = pixels[np.sort(np.random.RandomState(_SEED).permutation(len(pixels))[:count])]
    if count > size:
        return fit_pca(sample)
    values = _values(sample)
    mean = values.mean(axis=0)
    values -= mean
    # The images' products have the eigenvalues of the values' products, and their eigenvectors lead to those of these.
    squares, vectors = np.linalg.eigh(values @ values.T)
    kept = squares > squares[-1] * _LEAST_SHARE_OF_VARIANCE
    components = (vectors[:, kept] / np.sqrt(squares[kept])).T @ values
    return Pca(mean, components[::-1], count)


def _values(pixels: image.Pixels) -> Doubles:
    return pixels.reshape(len(pixels), -1) / 255.0
