"""Latentwire: images as bitstreams of a few bytes, by a neural autoencoder.

`Codec` encodes and decodes images with one model; `Sender` and `Receiver` load one half of it. All errors raised on
purpose derive from `CodecError`.

    from latentwire import Codec

    codec = Codec.load("models/mnist-conv-10")
    encoded = codec.encode("examples/seven.png")
    image = codec.decode(encoded.bitstream)  # uint8 (H, W, C)

Names in the library follow the papers on learned compression: `x` image, `y` code, `symbols` integers, `y_hat` code
after quantization, `x_hat` reconstruction.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from latentwire.errors import (
    CodecError,
    CodeError,
    DamagedChunk,
    GoldenMismatch,
    ImageError,
    ImageMismatch,
    ImageTooLarge,
    InvalidArray,
    InvalidCard,
    InvalidCode,
    InvalidGraph,
    InvalidImage,
    InvalidJson,
    InvalidVector,
    MissingGraph,
    ModelError,
    ModelMismatch,
    ModelNotReady,
    OutOfDistribution,
    TargetMissed,
    UncodableImage,
    UnknownModel,
    UnsupportedVersion,
    UnusableFolder,
)

if TYPE_CHECKING:
    from latentwire.codec import Codec
    from latentwire.receiver import DecodedImage, Receiver
    from latentwire.selection.assessment import LimitExceeded, OodFinding
    from latentwire.sender import Encoded, EncodedMany, ImageSource, Sender

__version__ = "0.1.0"

__all__ = [
    "CodeError",
    "Codec",
    "CodecError",
    "DamagedChunk",
    "DecodedImage",
    "Encoded",
    "EncodedMany",
    "GoldenMismatch",
    "ImageError",
    "ImageMismatch",
    "ImageSource",
    "ImageTooLarge",
    "InvalidArray",
    "InvalidCard",
    "InvalidCode",
    "InvalidGraph",
    "InvalidImage",
    "InvalidJson",
    "InvalidVector",
    "LimitExceeded",
    "MissingGraph",
    "ModelError",
    "ModelMismatch",
    "ModelNotReady",
    "OodFinding",
    "OutOfDistribution",
    "Receiver",
    "Sender",
    "TargetMissed",
    "UncodableImage",
    "UnknownModel",
    "UnsupportedVersion",
    "UnusableFolder",
    "__version__",
]

# Imported on first use: a sender must not load the decoder's code, nor the command line's `--help` numpy.
_LAZY = {
    "Codec": "latentwire.codec",
    "DecodedImage": "latentwire.receiver",
    "Encoded": "latentwire.sender",
    "EncodedMany": "latentwire.sender",
    "ImageSource": "latentwire.sender",
    "LimitExceeded": "latentwire.selection.assessment",
    "OodFinding": "latentwire.selection.assessment",
    "Receiver": "latentwire.receiver",
    "Sender": "latentwire.sender",
}

if not TYPE_CHECKING:  # a type checker would accept any name from a module with __getattr__

    def __getattr__(name: str) -> object:
        if name not in _LAZY:
            raise AttributeError(f"module 'latentwire' has no attribute '{name}'")
        value = getattr(import_module(_LAZY[name]), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY})
