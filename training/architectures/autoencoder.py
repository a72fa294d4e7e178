"""The shape that all architectures share: an encoder and a decoder that are trained as one and exported as two."""

from typing import cast

from torch import Tensor, nn


class Autoencoder(nn.Module):
    """x (N, C, H, W) -> encoder -> y (N, code size) -> decoder -> x_hat (N, C, H, W).

    The decoder ends in its output activation, so x_hat is in the range of the pixels, and training, validation and the
    exported graph all compute the same.
    """

    def __init__(self, encoder: nn.Module, decoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder
        self.decoder = decoder

    def forward(self, x: Tensor) -> Tensor:
        """Return x_hat, float32 (N, C, H, W), of x, float32 (N, C, H, W) in [0, 1]."""
        return cast(Tensor, self.decoder(self.encoder(x)))
