import pytest

from training.loop.early_stopping import EarlyStopping


def _epochs(losses: list[float], patience: int, min_change: float) -> int | None:
    """Return after how many epochs of these losses training ends, or None if it goes on."""
    stopping = EarlyStopping(patience, min_change)
    for epoch, loss in enumerate(losses, 1):
        stopping.record(loss)
        if stopping.should_stop:
            return epoch
    return None


@pytest.mark.parametrize(
    ("losses", "patience", "min_change", "ends"),
    [
        # What Keras' EarlyStopping(monitor="loss", patience=…, min_delta=…) does with them.
        ([5, 4, 3, 2, 1], 1, 0, None),
        ([5, 5, 5, 5, 5], 1, 0, 2),
        ([5, 5, 5, 5, 5], 3, 0, 4),
        ([5, 6, 7, 4, 5, 6, 7], 3, 0, 7),
        ([0.06, 0.0596, 0.0592, 0.0588], 2, 0.0005, None),
        ([0.06, 0.0597, 0.0596, 0.0595], 2, 0.0005, 3),
        ([1.0, 0.5, 0.0], 1, 0.5, 2),
    ],
)
def test_training_ends_when_the_loss_has_not_fallen_for_as_long_as_patience_lasts(
    losses: list[float], patience: int, min_change: float, ends: int | None
) -> None:
    assert _epochs(losses, patience, min_change) == ends
