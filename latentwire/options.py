"""Options that the library, its command line, the service and the training all take, each with its values.

Each option is a `Literal` for annotations and a tuple of the same values for parsers and documents. The defaults are
`strict`, `auto`, `full`, `fallback` and `latent`.
"""

from typing import Literal, get_args

# What to do with an image of another size or colour mode than the model's: refuse it, scale it, or pad it.
Fit = Literal["strict", "resize", "pad"]
FITS: tuple[Fit, ...] = get_args(Fit)

# What shows through transparent pixels, for a model without transparency: the one of black and white that differs more
# from the visible pixels, or a fixed one.
Background = Literal["auto", "white", "black"]
BACKGROUNDS: tuple[Background, ...] = get_args(Background)

# What surrounds a payload: magic, version, fingerprint and checksum (full), or nothing (raw).
Framing = Literal["full", "raw"]
FRAMINGS: tuple[Framing, ...] = get_args(Framing)

# What to do with an out-of-distribution image: refuse it, encode it with a warning, or encode it losslessly.
OnOod = Literal["refuse", "warn", "fallback"]
ON_OOD: tuple[OnOod, ...] = get_args(OnOod)

# What the guard looks at: the image and its latent, or also the reconstruction that a receiver will see.
Verify = Literal["latent", "reconstruction"]
VERIFY: tuple[Verify, ...] = get_args(Verify)
