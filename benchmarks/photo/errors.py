"""How much two pictures differ: PSNR, and multi-scale structural similarity (MS-SSIM).

Source: Z. Wang, E. P. Simoncelli, A. C. Bovik, Multi-scale structural similarity for image quality assessment, 2003.
"""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from latentwire.imaging.image import Pixels

_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
_WINDOW, _SIGMA = 11, 1.5
_BELL = np.exp(-((np.arange(_WINDOW) - _WINDOW // 2) ** 2) / (2 * _SIGMA**2))
_TAPS: list[float] = (_BELL / _BELL.sum()).tolist()
# The window has to fit into the smallest of five scales.
SMALLEST_SIDE = (_WINDOW - 1) * 2 ** (len(_WEIGHTS) - 1) + 1


def psnr_db(pixels: Pixels, decoded: Pixels) -> float:
    """Return the PSNR over all pixels and channels, in dB; 100 of equal pictures."""
    error = float(np.square(decoded.astype(np.float32) - pixels).mean(dtype=np.float64))
    return 10 * float(np.log10(255**2 / max(error, 255**2 / 1e10)))


@torch.no_grad()
def ms_ssim(pixels: Pixels, decoded: Pixels) -> float:
    """Return the mean MS-SSIM of the three channels.

    Raises:
        ValueError: the picture has below 161 pixels on a side.
    """
    if min(pixels.shape[:2]) < SMALLEST_SIDE:
        raise ValueError(f"MS-SSIM needs {SMALLEST_SIDE} pixels on a side; the picture is {pixels.shape[:2]}")
    one, two = (torch.tensor(values).permute(2, 0, 1)[:, None].float() / 255 for values in (pixels, decoded))
    result = torch.ones(3)
    for scale, weight in enumerate(_WEIGHTS):
        if scale:
            one, two = (
                F.avg_pool2d(F.pad(x, (0, x.shape[3] % 2, 0, x.shape[2] % 2), "replicate"), 2) for x in (one, two)
            )
        structure, luminance = _similarities(one, two)
        value = structure if scale < len(_WEIGHTS) - 1 else structure * luminance
        result *= value.mean((1, 2, 3)).clamp_min(0) ** weight
    return float(result.mean())


def _similarities(one: Tensor, two: Tensor) -> tuple[Tensor, Tensor]:
    """Return similarities of contrast and structure, and of luminance, for each window."""
    mean_one, mean_two, square_one, square_two, product = _blur(
        torch.cat([one, two, one * one, two * two, one * two])
    ).chunk(5)
    variance = square_one - mean_one**2 + square_two - mean_two**2
    covariance = product - mean_one * mean_two
    structure = (2 * covariance + 0.03**2) / (variance + 0.03**2)
    luminance = (2 * mean_one * mean_two + 0.01**2) / (mean_one**2 + mean_two**2 + 0.01**2)
    return structure, luminance


def _blur(x: Tensor) -> Tensor:
    return _blur_rows(_blur_rows(x).transpose(2, 3).contiguous()).transpose(2, 3)


def _blur_rows(x: Tensor) -> Tensor:
    # A sum of shifted rows: convolutions of one channel take several times as long.
    count = x.shape[2] - _WINDOW + 1
    total = torch.zeros_like(x[:, :, :count])
    for shift, weight in enumerate(_TAPS):
        total.add_(x[:, :, shift : shift + count], alpha=weight)
    return total
