"""The losses of a run's epochs, one after the other -> whether to go on. Knows neither networks nor images."""

import math
from dataclasses import dataclass


@dataclass
class EarlyStopping:
    """Ends training when the loss has not fallen by `min_change` for `patience` epochs, as Keras does.

    An epoch counts as a fall if its loss is below the lowest one of all falls before by more than `min_change`. So a
    loss that creeps down by less in each epoch falls too, as soon as the steps add up.
    """

    patience: int
    min_change: float
    lowest: float = math.inf
    waited: int = 0

    def see(self, loss: float) -> None:
        """Take note of an epoch's loss."""
        if loss < self.lowest - self.min_change:
            self.lowest, self.waited = loss, 0
        else:
            self.waited += 1

    @property
    def ends(self) -> bool:
        """Whether training is to end now."""
        return self.waited >= self.patience
