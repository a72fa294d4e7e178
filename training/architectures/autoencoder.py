"""The shape that all architectures share: an encoder and a decoder that are trained as one and exported as two."""

from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

# Bound of the logarithm of a variance: exp(±15) is as wide or narrow as float32 can usefully express.
_MAX_LOG_VARIANCE = 15.0


class Reconstruction(NamedTuple):
    """A network's result in a training step: x_hat, and a number to add to the loss, or None."""

    x_hat: Tensor
    penalty: Tensor | None = None


class Autoencoder(nn.Module):
    """x (N, C, H, W) -> encoder -> y (N, code size) -> decoder -> x_hat (N, C, H, W).

    The decoder ends in its output activation, so x_hat is in the range of the pixels, and training, validation and the
    exported graph all compute the same.

    Attributes:
        start_images: largest number of training images that `start_from` looks at.
    """

    start_images = 0

    def __init__(self, encoder: nn.Module, decoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder
        self.decoder = decoder

    def forward(self, x: Tensor) -> Tensor:
        """Return x_hat, float32 (N, C, H, W), of x, float32 (N, C, H, W) in [0, 1]."""
        return cast(Tensor, self.decoder(self.encoder(x)))

    def start_from(self, x: Tensor) -> None:
        """Set the initial weights from training images, (N, C, H, W); networks that start at random do nothing."""

    def reconstruct(self, x: Tensor, _generator: torch.Generator) -> Reconstruction:
        """Return the reconstruction of a training step; random numbers come from the generator."""
        return Reconstruction(self(x))


class GaussianEncoder(nn.Module):
    """x -> features -> the mean of a Gaussian over codes, which is the code that is exported.

    x ─ body ─ features (N, f) ─┬─ linear ─ mean (N, code size)
                                └─ linear ─ logarithm of the variance (N, code size), in training only
    """

    def __init__(self, body: nn.Module, features: int, code_size: int) -> None:
        super().__init__()
        self.body = body
        self.mean = nn.Linear(features, code_size)
        self.log_variance = nn.Linear(features, code_size)

    def forward(self, x: Tensor) -> Tensor:
        """Return the mean, float32 (N, code size)."""
        return cast(Tensor, self.mean(self.body(x)).float())

    def posterior(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and logarithm of the variance, float32 (N, code size) each."""
        features = self.body(x)
        log_variance = self.log_variance(features).float().clamp(-_MAX_LOG_VARIANCE, _MAX_LOG_VARIANCE)
        return self.mean(features).float(), log_variance


class VariationalAutoencoder(Autoencoder):
    """Kingma and Welling 2014, https://arxiv.org/abs/1312.6114: codes are drawn around the mean while it trains.

    The penalty is kl_weight times the divergence of the codes' Gaussians from the standard normal distribution, in nats
    for each value of the image. With the loss bce, which is in that unit too, a kl_weight of 1 is the evidence bound.
    """

    encoder: GaussianEncoder

    def __init__(self, encoder: GaussianEncoder, decoder: nn.Module, kl_weight: float) -> None:
        super().__init__(encoder, decoder)
        self.kl_weight = kl_weight

    def reconstruct(self, x: Tensor, generator: torch.Generator) -> Reconstruction:
        """Return the reconstruction of a code that is drawn, and the penalty."""
        mean, log_variance = self.encoder.posterior(x)
        # Drawn on the CPU, so that all devices draw the same.
        noise = torch.randn(mean.shape, generator=generator).to(mean.device)
        y = mean + noise * (0.5 * log_variance).exp()
        divergence = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum()
        return Reconstruction(self.decoder(y), self.kl_weight * divergence / x.numel())
