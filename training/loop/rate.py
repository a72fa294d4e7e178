"""A network and images -> the bits of their codes, and the cost by which the best epoch of a run is chosen."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from training.architectures import RateAutoencoder
from training.batches import part_size


class CodeRate(NamedTuple):
    """Mean bits of a code, by the frequencies of the images' own symbols and by the network's prior."""

    bits: float
    prior_bits: float


@torch.no_grad()
def measure_rate(model: RateAutoencoder, pixels: Tensor) -> CodeRate:
    """Measure the codes of uint8 (N, C, H, W) pixels, with each number of a code coded by itself."""
    model.eval()
    size = part_size(pixels.shape[1:])
    batches = torch.split(pixels, size)
    symbols = torch.cat([model.encoder(batch.contiguous().float() / 255).round() for batch in batches])
    prior_bits = sum(model.prior(part).double().sum().item() for part in torch.split(symbols, size))
    bits = sum(_entropy(column) for column in symbols.unbind(dim=1))
    return CodeRate(bits, prior_bits / len(pixels))


def _entropy(symbols: Tensor) -> float:
    """Return the entropy in bits of whole numbers (N) by their frequencies."""
    frequencies = torch.unique(symbols, return_counts=True)[1].double() / len(symbols)
    return -float((frequencies * frequencies.log2()).sum())


def rate_loss(mean_squared_error: float, bits: float, rate_lambda: float, values: int) -> float:
    """Return the loss of a network with a rate: squared error per value plus the weighted bits of an image."""
    return mean_squared_error + bits / (rate_lambda * values)


def psnr_db(rmse: float) -> float:
    """Return the peak signal-to-noise ratio in dB of an RMSE of pixels in [0, 1]."""
    return -20 * math.log10(rmse) if rmse > 0 else math.inf
