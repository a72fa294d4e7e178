"""Noise like that of `training.loop.noise`, drawn by numpy, for measurements and pictures."""

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]


def make_noisy(x: Floats, dropped: float, deviation: float, seed: int = 0) -> Floats:
    """Return noisy copies of x, float32 (N, C, H, W) in [0, 1], as a network gets them in training.

    Args:
        x: images.
        dropped: fraction of the pixels that become black, from 0 to 1; the others are brightened by 1 / (1 - dropped).
        deviation: standard deviation of Gaussian noise that is added before, clipped to [0, 1]; white is 1.
        seed: of the noise.
    """
    random = np.random.default_rng(seed)
    if deviation > 0:
        x = (x + np.float32(deviation) * random.standard_normal(x.shape, np.float32)).clip(0, 1)
    if dropped > 0:
        kept = random.random((len(x), 1, *x.shape[2:]), np.float32) >= dropped
        x = x * kept / np.float32(1 - dropped or 1)
    return x
