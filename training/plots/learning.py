"""A run's metrics -> its learning curve."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.ticker import MaxNLocator, NullLocator

from training.errors import InvalidRun
from training.plots.canvas import BLUE, GREY, ORANGE, figure, save


def plot_learning(metrics: Sequence[dict[str, Any]], out: Path) -> None:
    """Draw the training loss and the validation images' RMSE over the epochs, and their bytes if a rate was trained.

    Args:
        metrics: metrics of each epoch, as a run folder holds them.
        out: the PNG file, 1,000 pixels wide.

    Raises:
        InvalidRun: the run has no epoch yet.
        CannotWrite: the file cannot be written.
    """
    if not metrics:
        raise InvalidRun("the run has no epoch yet, so there is no learning curve")
    epochs = [epoch["epoch"] for epoch in metrics]
    with figure(3.6) as made:
        best = metrics[int(metrics[-1]["best_epoch"]) - 1]
        shown = [
            ("loss in training", [epoch["train_loss"] for epoch in metrics], GREY),
            ("RMSE of the validation images", [epoch["validation_rmse"] for epoch in metrics], BLUE),
        ]
        if "validation_bits" in best:
            shown.append(("bytes of their codes", [epoch["validation_bits"] / 8 for epoch in metrics], BLUE))
        panels = made.subplots(1, len(shown))
        for axes, (label, values, colour) in zip(panels, shown, strict=True):
            axes.plot(epochs, values, color=colour, marker="." if len(epochs) < 60 else "")
            axes.set_title(label)
            if axes is not panels[0]:
                chosen = values[best["epoch"] - 1]
                axes.plot(
                    [best["epoch"]], [chosen], "o", color=ORANGE, label=f"best: {chosen:.4g} in epoch {best['epoch']}"
                )
                axes.legend(loc="best", frameon=True, framealpha=1, edgecolor="none", handletextpad=0)
            axes.set_xlabel("epoch")
            axes.set_yscale("log")
            # Round numbers, which a logarithmic axis seldom chooses within a decade.
            axes.yaxis.set_major_locator(MaxNLocator(7))
            axes.yaxis.set_minor_locator(NullLocator())
            axes.yaxis.set_major_formatter("{x:.4g}")
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
            axes.tick_params(labelsize=9)
            axes.grid(visible=True)
        made.tight_layout()
        save(made, out)
