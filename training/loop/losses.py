"""Names of losses -> functions of (x_hat, x), both float32 (N, C, H, W) in [0, 1], to one number to minimise.

The second argument is always the clean image.
"""

from collections.abc import Callable

from torch import Tensor
from torch.nn import functional as F

from training.recipe.recipe import LossName

Loss = Callable[[Tensor, Tensor], Tensor]

# Bound of a probability, so that a certain but wrong pixel costs a finite loss. As in Keras; 1 - 1e-7 < 1 in float32.
_LEAST_PROBABILITY = 1e-7


def _binary_cross_entropy(x_hat: Tensor, x: Tensor) -> Tensor:
    # torch's own function raises for a value that is not a number, which the trainer looks for itself.
    probability = x_hat.clamp(_LEAST_PROBABILITY, 1 - _LEAST_PROBABILITY)
    return -(x * probability.log() + (1 - x) * (-probability).log1p()).mean()


LOSSES: dict[LossName, Loss] = {
    "mse": F.mse_loss,
    "l1": F.l1_loss,
    "bce": _binary_cross_entropy,
}
