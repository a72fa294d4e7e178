"""Names of losses -> functions of (x_hat, x), both float32 (N, C, H, W) in [0, 1], to one number to minimise.

The second argument is always the clean image. Knows neither networks nor recipes.
"""

from collections.abc import Callable

from torch import Tensor
from torch.nn import functional as F

from training.recipe import LossName

Loss = Callable[[Tensor, Tensor], Tensor]

LOSSES: dict[LossName, Loss] = {"mse": F.mse_loss}
