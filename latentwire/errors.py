"""Every error that the codec raises on purpose.

A leaf is one thing that can be wrong; its message is a sentence for the person who sent the input, without a path or a
traceback. Errors of Pillow, onnxruntime and pydantic are wrapped where they arise and never leave the codec.

    CodecError
    ├── ImageError                what was to be encoded
    │   ├── InvalidImage          not an image file, or a damaged one
    │   ├── ImageTooLarge         more pixels than the limit, by its header
    │   ├── ImageMismatch         an image, but not of the model's size, channels or bit depth
    │   ├── UncodableImage        an image whose code lies too far out to be sent
    │   ├── OutOfDistribution           not of the kind that the model is for, and to be refused then
    │   └── TargetMissed          no code of it is as small, or as good, as was asked for
    ├── CodeError                 what was to be decoded
    │   ├── InvalidCode           not bitstream, or damaged ones
    │   ├── UnsupportedVersion    bitstream of a version that this codec does not read
    │   ├── ModelMismatch           whole bitstream, made by another model
    │   ├── DamagedChunk          a part of a container of many codes is damaged or missing
    │   └── InvalidVector         a raw code vector of the wrong length, or not finite
    └── ModelError                the files of a model
        ├── InvalidCard           card.json is missing, not JSON, or contradicts itself
        ├── MissingGraph          the half that is to be opened has no file
        ├── InvalidGraph          the file is not the one that the card names, or not a graph of the card's shapes
        └── GoldenMismatch        the graph runs, but its golden input does not give its golden answer
"""


class CodecError(Exception):
    """Base of all errors that the codec raises on purpose."""


class ImageError(CodecError):
    """The image cannot be encoded."""


class InvalidImage(ImageError):
    """The bytes are not an image file of a supported format, or the file is damaged."""


class ImageTooLarge(ImageError):
    """The image's header claims more pixels than the limit; nothing was decoded."""


class ImageMismatch(ImageError):
    """The image does not have the model's size, channels, bit depth or single frame."""


class UncodableImage(ImageError):
    """The encoder gives the image a code with a number that is not finite, or whose symbol has over 32 bits."""


class OutOfDistribution(ImageError):
    """The image is not of the kind that the model is for, so that a receiver would get another picture."""


class TargetMissed(ImageError):
    """No code of the image is as small, or as good, as was asked for."""


class CodeError(CodecError):
    """The code cannot be decoded."""


class InvalidCode(CodeError):
    """The bytes are not bitstream, or were damaged on the way."""


class UnsupportedVersion(CodeError):
    """The bitstream are of a version that this codec does not read."""


class ModelMismatch(CodeError):
    """The bitstream are whole, but another model made them."""


class DamagedChunk(CodeError):
    """A part of a container is damaged or missing.

    `chunk` is its number and `first` that of its first image, both from 0; `images` is how many are lost with it, None
    if that is all from there on.
    """

    def __init__(self, sentence: str, chunk: int, first: int, images: int | None) -> None:
        super().__init__(sentence)
        self.chunk = chunk
        self.first = first
        self.images = images


class InvalidVector(CodeError):
    """The code vector has the wrong length, or an element that is not finite."""


class ModelError(CodecError):
    """The model's files cannot be used."""


class InvalidCard(ModelError):
    """The model card is missing, is not JSON, or contradicts itself."""


class MissingGraph(ModelError):
    """The graph of the wanted half is not in the model's folder."""


class InvalidGraph(ModelError):
    """The graph is not the one that the card names, or has other inputs and outputs than the card says."""


class GoldenMismatch(ModelError):
    """The graph does not give its golden answer on this machine."""
