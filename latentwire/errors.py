"""Every error that the library and its service raise on purpose.

Each leaf is one thing that can be wrong. Its message is one sentence for the person who sent the input, without a path
or a traceback. Errors of Pillow, onnxruntime and pydantic are wrapped where they arise.

    CodecError
    ├── ImageError                an image cannot be encoded
    │   ├── InvalidImage          not an image file, or a damaged one
    │   ├── ImageTooLarge         more pixels than the limit, by its header
    │   ├── ImageMismatch         an image, but not of the model's size, channels or bit depth
    │   ├── UncodableImage        an image whose code has a symbol of more than 32 bits
    │   ├── OutOfDistribution     an image of another kind than the model was trained on, refused by request
    │   └── TargetMissed          no model encodes the image as small, or as well, as requested
    ├── CodeError                 a bitstream, a container or a code cannot be decoded
    │   ├── InvalidCode           not a bitstream, or a damaged one
    │   ├── UnsupportedVersion    a bitstream of a version that this library does not read
    │   ├── ModelMismatch         a complete bitstream, made by another model
    │   ├── DamagedChunk          a chunk of a container is damaged or missing
    │   └── InvalidVector         a code of the wrong length, or with a number that is not finite
    ├── InvalidArray              not an npy file of the expected type and dimensions, or cut short
    ├── InvalidTensor             not a tensor that a model's graph takes
    ├── ModelError                the files of a model cannot be used
    │   ├── InvalidCard           card.json is missing, not JSON, or contradicts itself
    │   ├── UntrustedModel        the model is not signed, or not by a trusted key
    │   ├── InvalidKeyFile        the keys for signatures cannot be read
    │   ├── MissingGraph          the ONNX file of the encoder or the decoder is missing
    │   ├── InvalidGraph          the ONNX file is not the file in the card, or has other inputs and outputs
    │   ├── GoldenMismatch        the graph runs, but does not give the golden output for its golden input
    │   ├── UnknownModel          no model has this name
    │   ├── ModelNotReady         the model could not be opened, or failed its last golden check
    │   └── UnusableFolder        a folder of models has none that can be opened, or no default
    └── ServiceError              a service does not take or answer a request, whatever its image, code or model
        ├── InvalidParameter      a parameter is unknown, or its value is invalid
        ├── Unauthenticated       the route needs a key
        ├── Forbidden             the key is for other routes
        ├── WrongRole             the route belongs to the other role
        ├── Overloaded            as many requests run and wait as allowed
        ├── NotReady              the default model cannot be used, or the process stops
        └── others                about bodies and media types

`latentwire.problems` has the status and the code that a service sends each of them with; `latentwire.client` raises the
same class again.
"""

from collections.abc import Iterator
from contextlib import contextmanager


class CodecError(Exception):
    """Base of all errors that the library and its service raise on purpose.

    Attributes:
        code: of the problem document, if a service sent the error; else None.
        status: HTTP status of that response.
        request_id: id of that request, which the log of the service has, too.
    """

    code: str | None = None
    status: int | None = None
    request_id: str | None = None


class ImageError(CodecError):
    """The image cannot be encoded."""


@contextmanager
def naming_image(number: int) -> Iterator[None]:
    """Let an `ImageError` in this `with` block say which image it is about, by its number from 0."""
    try:
        yield
    except ImageError as error:
        raise type(error)(f"image {number:,}: {error}") from error


class InvalidImage(ImageError):
    """The bytes are not an image file of a supported format, or the file is damaged."""


class ImageTooLarge(ImageError):
    """The header of the image claims more pixels than the limit. Nothing was decoded."""


class ImageMismatch(ImageError):
    """The image does not have the model's size, channels or bit depth, or has more than one frame."""


class UncodableImage(ImageError):
    """The code of the image has a number that is not finite, or a symbol of more than 32 bits."""


class OutOfDistribution(ImageError):
    """The model would not reproduce the image, as it is of another kind than the training images."""


class TargetMissed(ImageError):
    """No model encodes the image as small, or as well, as requested."""


class CodeError(CodecError):
    """The bitstream, the container or the code cannot be decoded."""


class InvalidCode(CodeError):
    """The bytes are not a bitstream, or they are damaged."""


class InvalidJson(CodeError):
    """The text is not a JSON object, or has more structure than any code needs."""


class UnsupportedVersion(CodeError):
    """The bitstream has a version that this library does not read."""


class ModelMismatch(CodeError):
    """The bitstream is complete, but another model made it."""


class DamagedChunk(CodeError):
    """A chunk of a container is damaged or missing.

    Attributes:
        chunk: number of the chunk, from 0.
        first: number of its first image, from 0.
        images: number of images lost; None if all images from `first` on are lost, as of a service's response.
    """

    def __init__(self, sentence: str, chunk: int = 0, first: int = 0, images: int | None = None) -> None:
        super().__init__(sentence)
        self.chunk = chunk
        self.first = first
        self.images = images


class InvalidVector(CodeError):
    """The code has the wrong length, or a number that is not finite."""


class InvalidArray(CodecError):
    """The bytes are not an npy file of the expected type and dimensions, or are cut short."""


class InvalidTensor(CodecError):
    """The request for a graph does not have the one tensor that it takes, or asks for another one than it gives."""


class ModelError(CodecError):
    """The files of the model cannot be used."""


class InvalidCard(ModelError):
    """The model card is missing, is not JSON, or contradicts itself."""


class UntrustedModel(ModelError):
    """The model is not signed, or its signature is not by a trusted key over this card."""


class InvalidKeyFile(ModelError):
    """The keys for signatures of models cannot be read, or are not Ed25519 keys."""


class MissingGraph(ModelError):
    """The ONNX file of the encoder or the decoder is missing from the model's folder."""


class InvalidGraph(ModelError):
    """The ONNX file is not the file in the card, or has other inputs and outputs than the card says."""


class GoldenMismatch(ModelError):
    """The graph does not give its golden output on this machine."""


class UnknownModel(ModelError):
    """No model has this name."""


class ModelNotReady(ModelError):
    """The model could not be opened, or does not reproduce its golden output on this machine."""


class UnusableFolder(ModelError):
    """The folder of models cannot be read, has no model that can be opened, or no default."""


class ServiceError(CodecError):
    """A service does not take or answer the request, whatever its image, code or model."""


class BatchTooLarge(ServiceError):
    """The batch has more images than the limit."""


class BodyStalled(ServiceError):
    """The body, or its next bytes, did not come in time."""


class BodyTooLarge(ServiceError):
    """The body has more bytes than the limit."""


class ClientGone(ServiceError):
    """The client closed the connection before its response was ready, and does not read it."""


class Forbidden(ServiceError):
    """The key opens the other role's routes only: a sender's key on a receiver's route, or the reverse."""


class InvalidMultipart(ServiceError):
    """The body is not a form with exactly one file."""


class InvalidParameter(ServiceError):
    """A query parameter is unknown, or its value is invalid."""


class NotAcceptable(ServiceError):
    """The Accept header allows none of the types that the route can send."""


class NotReady(ServiceError):
    """The process must not get requests: its default model cannot be used, or it stops."""


class Overloaded(ServiceError):
    """As many requests run and wait as allowed."""


class Unauthenticated(ServiceError):
    """The route needs a key, and the request has no valid one."""


class UnsupportedMediaType(ServiceError):
    """The Content-Type header names a type that the route does not take."""


class WrongRole(ServiceError):
    """The route belongs to the role that this process does not have."""
