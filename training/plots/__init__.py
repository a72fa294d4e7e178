"""A model's folder and images -> pictures of what it does, as files. One subject a file; `catalogue` lists them all.

Knows no torch: a picture shows what the codec's own Encoder and Decoder make of images.
"""

from training.data.images import choose_examples
from training.plots.animation import animate_snapshots
from training.plots.code_space import plot_codes, plot_histograms
from training.plots.comparison import plot_comparison
from training.plots.denoising import plot_denoising
from training.plots.generation import plot_interpolations, plot_random_codes
from training.plots.learning import plot_learning
from training.plots.reconstructions import plot_reconstructions, plot_side_by_side, plot_two_rows
from training.plots.sweep import plot_sweep
from training.plots.worst import plot_worst

__all__ = [
    "animate_snapshots",
    "choose_examples",
    "plot_codes",
    "plot_comparison",
    "plot_denoising",
    "plot_histograms",
    "plot_interpolations",
    "plot_learning",
    "plot_random_codes",
    "plot_reconstructions",
    "plot_side_by_side",
    "plot_sweep",
    "plot_two_rows",
    "plot_worst",
]
