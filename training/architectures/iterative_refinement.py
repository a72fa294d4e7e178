"""An encoder that corrects its code once, by its own reconstruction.

    x ─┬─ first ─────────────── y₀ ───────────────────────(+)── y
       │                        └─ decoder ─ x̂₀ ─┐         │
       └─ (x, x − x̂₀) ─ corrector ────────────────┴────────┘

The code of one pass has an error some per cent above that of the best code, more for images that the encoder was not
trained on. The residual shows what to correct (Marino et al. 2018, "Iterative amortized inference",
https://arxiv.org/abs/1807.09356). The decoder becomes part of the encoder's graph; the receiver's graph stays as it is.
"""

from typing import cast

import torch
from torch import Tensor, nn


class CorrectingEncoder(nn.Module):
    """x (N, C, H, W) -> y (N, code size)."""

    def __init__(self, first: nn.Module, decoder: nn.Module, corrector: nn.Module) -> None:
        """Put the halves together.

        Args:
            first: (N, C, H, W) -> (N, code size).
            decoder: the autoencoder's own; its weights are shared.
            corrector: (N, 2 C, H, W), image and residual, -> (N, code size).
        """
        super().__init__()
        self.first = first
        self.decoder = decoder
        self.corrector = corrector
        # The first correction is 0, so that a trained encoder that gets a corrector keeps its quality.
        last = [layer for layer in corrector.modules() if isinstance(layer, nn.Linear)][-1]
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Return the corrected code, float32 (N, code size)."""
        y = self.first(x)
        # The corrector learns from this reconstruction; the decoder learns from the final one alone. (Not no_grad: the
        # bfloat16 copies of weights that autocast then keeps would have no gradients in the second use either.)
        x_hat = self.decoder(y).detach()
        return cast(Tensor, y + self.corrector(torch.cat((x, x - x_hat), dim=1)))
