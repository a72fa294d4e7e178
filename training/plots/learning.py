"""A run's metrics -> its learning curve."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.ticker import MaxNLocator, NullLocator

from training.errors import InvalidRun
from training.plots.canvas import BLUE, GREY, ORANGE, figure, save


def plot_learning(metrics: Sequence[dict[str, Any]], out: Path) -> None:
    """Draw the training loss, and the RMSE of the validation images, over the epochs.

    Args:
        metrics: of each epoch, as a run folder holds them.
        out: the PNG file, 1,000 pixels wide.

    Raises:
        InvalidRun: not one epoch is run yet.
        CannotWrite: the file cannot be written.
    """
    if not metrics:
        raise InvalidRun("the run has no epoch yet, so there is no learning curve")
    epochs = [epoch["epoch"] for epoch in metrics]
    with figure(3.6) as made:
        panels = made.subplots(1, 2)
        for axes, key, label, colour in (
            (panels[0], "train_loss", "loss in training", GREY),
            (panels[1], "validation_rmse", "RMSE of the validation images", BLUE),
        ):
            axes.plot(epochs, [epoch[key] for epoch in metrics], color=colour, marker="." if len(epochs) < 60 else "")
            axes.set_title(label)
            axes.set_xlabel("epoch")
            axes.set_yscale("log")
            # Round numbers, which those of a logarithmic axis seldom are within a decade.
            axes.yaxis.set_major_locator(MaxNLocator(7))
            axes.yaxis.set_minor_locator(NullLocator())
            axes.yaxis.set_major_formatter("{x:.4g}")
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
            axes.tick_params(labelsize=9)
            axes.grid(visible=True)
        best = metrics[int(metrics[-1]["best_epoch"]) - 1]
        panels[1].plot([best["epoch"]], [best["validation_rmse"]], "o", color=ORANGE)
        panels[1].set_title(
            f"RMSE of the validation images; best: {best['validation_rmse']:.4f} in epoch {best['epoch']}"
        )
        made.tight_layout()
        save(made, out)
