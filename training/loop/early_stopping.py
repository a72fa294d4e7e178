"""The losses of a run's epochs, one after the other -> whether to stop."""

import math
from dataclasses import dataclass


@dataclass
class EarlyStopping:
    """Ends training when the loss has not fallen by `min_change` for `patience` epochs, as Keras does.

    An epoch counts as a fall if its loss is below the lowest one of all falls before by more than `min_change`. A loss
    that falls by less in each epoch counts as a fall as soon as the steps add up to that.
    """

    patience: int
    min_change: float
    lowest: float = math.inf
    waited: int = 0

    def record(self, loss: float) -> None:
        """Record an epoch's loss."""
        if loss < self.lowest - self.min_change:
            self.lowest, self.waited = loss, 0
        else:
            self.waited += 1

    @property
    def should_stop(self) -> bool:
        """Whether training should end now."""
        return self.waited >= self.patience
