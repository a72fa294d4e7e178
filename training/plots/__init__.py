"""A model's folder and images -> pictures, as files. `catalogue` lists them all.

A picture shows the results of the library's own Encoder and Decoder.
"""

# The names of `training.plots.catalogue.KINDS`, which takes a second to load.
PICTURES = (
    "reconstructions",
    "two-rows",
    "side-by-side",
    "compare",
    "denoise",
    "codes",
    "histograms",
    "random",
    "interpolate",
    "outliers",
    "sweep",
    "learning",
    "animate",
)
