"""Autoencoders that are trained for rate and distortion: bits and squared error, weighed by the recipe's rate_lambda.

    x (N, C, H, W) ─ encoder ─ × gain ─ y ─ round ─ symbols (N, code size) ─ ÷ gain ─ decoder ─ x_hat
                                        └ + noise ─ prior ─ bits, in training only

The gain, one for each number of the code, is part of both exported halves: codes are in units of the quantizer's step.
The prior is used in training only: a model's frequency tables are counted.
"""

import math
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from training.architectures.autoencoder import Autoencoder, Reconstruction

COMPONENTS = 3

# Standard deviation of a logistic distribution of scale 1.
_LOGISTIC_STD = math.pi / math.sqrt(3)

# Initial means and spread of a prior's components, in standard deviations of the codes: the mixture has their variance.
_COMPONENT_MEANS = (-0.9, 0.0, 0.9)
_COMPONENT_STD = 0.68

# Initial standard deviation of codes in steps, for an untrained decoder; and its bounds for a trained one.
_INITIAL_STD = 8.0
_MIN_STD, _MAX_STD = 0.3, 1000.0

# Number of images that gains and prior are fitted to.
FITTED = 4000

# Number of codes by which the sensitivity to each number is measured.
_PROBED = 64


class Gain(nn.Module):
    """One positive factor for each number of a code, learned as its logarithm."""

    def __init__(self, code_size: int) -> None:
        super().__init__()
        self.logarithm = nn.Parameter(torch.zeros(code_size))

    def forward(self) -> Tensor:
        """Return the factors, float32 (code size)."""
        return self.logarithm.exp()


class GainedEncoder(nn.Module):
    """x -> body -> y in units of the step, float32 (N, code size)."""

    def __init__(self, body: nn.Module, gain: Gain) -> None:
        super().__init__()
        self.body = body
        self.gain = gain

    def forward(self, x: Tensor) -> Tensor:
        """Return the code before it is rounded."""
        y: Tensor = self.body(x) * self.gain()
        return y


class GainedDecoder(nn.Module):
    """y in units of the step, float32 (N, code size) -> body -> x_hat."""

    def __init__(self, body: nn.Module, gain: Gain) -> None:
        super().__init__()
        self.body = body
        self.gain = gain

    def forward(self, y: Tensor) -> Tensor:
        """Return the reconstruction."""
        return cast(Tensor, self.body(y / self.gain()))


class LogisticMixturePrior(nn.Module):
    """A distribution of integers for each number of a code: a mixture of logistics, over bins of width 1."""

    def __init__(self, code_size: int) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(code_size, COMPONENTS))
        self.means = nn.Parameter(torch.zeros(code_size, COMPONENTS))
        self.log_scales = nn.Parameter(torch.zeros(code_size, COMPONENTS))

    def forward(self, y: Tensor) -> Tensor:
        """Return the bits of y, float32 (N, code size), in the same shape: -log2 of the probability of a bin around it.

        The difference of the logistic function at a and b is the product sigmoid(a) sigmoid(-b) (1 - exp(b - a)), whose
        logarithm is finite however far out y lies.
        """
        per_unit = (-self.log_scales).exp()
        centred = y[..., None] - self.means
        above, below = (centred + 0.5) * per_unit, (centred - 0.5) * per_unit
        width = (-(-per_unit).expm1()).log()
        bins = F.logsigmoid(above) + F.logsigmoid(-below) + width
        return -torch.logsumexp(bins + self.logits.log_softmax(dim=1), dim=-1) / math.log(2)

    @torch.no_grad()
    def fit(self, y: Tensor) -> None:
        """Start from the mean and spread of codes, float32 (N, code size)."""
        mean, std = y.mean(dim=0)[:, None], y.std(dim=0).clamp(min=_MIN_STD)[:, None]
        self.logits.zero_()
        self.means.copy_(mean + std * torch.tensor(_COMPONENT_MEANS, device=y.device))
        self.log_scales.copy_((std * _COMPONENT_STD / _LOGISTIC_STD).log().expand(-1, COMPONENTS))


class RateAutoencoder(Autoencoder):
    """Minimises rate_lambda times the squared error of an image, summed over its values, plus the bits of its code.

    All divided by rate_lambda and the number of values, so that the loss is the mean squared error and a penalty. Bits
    are those of codes with uniform noise in place of rounding (Ballé et al. 2017, https://arxiv.org/abs/1611.01704);
    the decoder sees rounded codes, whose gradients go through as if they were not (Minnen and Singh 2020,
    https://arxiv.org/abs/2007.08739).
    """

    encoder: GainedEncoder
    decoder: GainedDecoder
    start_images = FITTED

    def __init__(self, encoder: nn.Module, decoder: nn.Module, code_size: int, rate_lambda: float) -> None:
        gain = Gain(code_size)
        super().__init__(GainedEncoder(encoder, gain), GainedDecoder(decoder, gain))
        self.prior = LogisticMixturePrior(code_size)
        self.rate_lambda = rate_lambda

    def forward(self, x: Tensor) -> Tensor:
        """Return x_hat as a receiver gets it, from the rounded code."""
        return cast(Tensor, self.decoder(self.encoder(x).round()))

    def reconstruct(self, x: Tensor, generator: torch.Generator) -> Reconstruction:
        """Return the reconstruction of the rounded code, and the bits as a penalty."""
        y = self.encoder(x)
        # Drawn on the CPU, so that all devices draw the same.
        noise = torch.rand(y.shape, generator=generator).to(y.device) - 0.5
        bits = self.prior(y + noise).sum()
        symbols = y + (y.round() - y).detach()
        return Reconstruction(self.decoder(symbols), bits / (self.rate_lambda * x.numel()))

    def start_from(self, x: Tensor) -> None:
        """Set the initial gains and prior of an untrained network, by `FITTED` images or fewer."""
        self.fit_gain(x, trained=False)

    @torch.no_grad()
    def fit_gain(self, x: Tensor, *, trained: bool) -> None:
        """Fit gains and prior to the network, by a few thousand images, float32 (N, C, H, W).

        A trained network gets the steps of high-resolution theory (Gersho and Gray 1992): rounding costs step²/12 times
        what a unit of squared change in the code adds to the squared error, and each halving of a step costs one bit,
        so the sum is least at step² = 6 / (ln 2 · rate_lambda · that sensitivity).
        """
        self.encoder.gain.logarithm.zero_()
        # In training mode, because an untrained BatchNorm has no statistics to normalise codes by in evaluation mode.
        self.train()
        y = torch.cat([self.encoder(part) for part in torch.split(x, 500)])
        self.eval()
        std = y.std(dim=0).clamp(min=1e-6)
        gain = _INITIAL_STD / std
        if trained:
            gain = (self._sensitivity(y[:_PROBED], std) * self.rate_lambda * math.log(2) / 6).sqrt()
            gain = torch.minimum(torch.maximum(gain, _MIN_STD / std), _MAX_STD / std)
        self.encoder.gain.logarithm.copy_(gain.log())
        self.prior.fit(y * gain)

    def _sensitivity(self, y: Tensor, std: Tensor) -> Tensor:
        """Return the mean squared change of x_hat, summed over values, per unit of squared change of each number."""
        x_hat = self.decoder(y)
        changes = []
        for index, change in enumerate((std / 4).tolist()):
            moved = y.clone()
            moved[:, index] += change
            changes.append((self.decoder(moved) - x_hat).square().flatten(1).sum(dim=1).mean() / change**2)
        return torch.stack(changes)
