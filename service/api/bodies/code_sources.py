"""The codes of a batch, as the bytes of the request body arrive."""

from abc import ABC, abstractmethod
from collections import deque
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from latentwire.errors import InvalidVector, UnsupportedMediaType
from latentwire.format.container import PackedImages
from latentwire.format.container_reader import FrameReader
from latentwire.format.image_source import check_batch_size
from latentwire.format.npy import NpyReader
from latentwire.imaging import image
from latentwire.registry import vector_decoder
from service.http.media_types import NPY, OCTETS
from service.http.negotiation import is_binary, media_type_of
from service.settings import Settings

if TYPE_CHECKING:
    from latentwire.any_size.decoder import AnySizeDecoder
    from latentwire.decoder import Decoder
    from latentwire.registry import ComponentSet

    Decoders: TypeAlias = ComponentSet[Decoder | AnySizeDecoder]


class CodeSource(ABC):
    """Parses and decodes a body: feed bytes, decode images, and call `finish` after the last bytes.

    `decoder` and `count`, the number of images, are None until they are known.
    """

    decoder: "Decoder | AnySizeDecoder | None" = None
    count: int | None = None
    # The number of bytes that wait to be decoded.
    buffered_bytes = 0

    @property
    def next_pixels(self) -> int:
        """Width × height of the image that is decoded next, if it is of any size; else 0."""
        return 0

    @abstractmethod
    def feed(self, data: bytes) -> None:
        """Take in the bytes that come next, and check them as far as possible without decoding them."""

    @abstractmethod
    def decode_next(self) -> image.Pixels | None:
        """Decode a few images, uint8 (N, H, W, C), N being 1 for images of any size.

        Returns:
            None if none is left, or if more bytes are needed.
        """

    @abstractmethod
    def finish(self) -> None:
        """Check that the body is complete."""


def open_code_source(content_type: str, decoders: "Decoders", model: str | None, settings: Settings) -> CodeSource:
    """Return the source for a body of this type; `model` is the name that the request gives.

    Raises:
        UnsupportedMediaType: neither a container nor an npy file.
        UnknownModel: no such model is loaded.
        ModelNotReady: the model failed its golden check.
    """
    body_type = media_type_of(content_type)
    if body_type == NPY:
        return _LatentVectors(vector_decoder(decoders.by_name(model)), settings)
    if not is_binary(body_type):
        raise UnsupportedMediaType(
            f"/decode/batch takes a container or an array, not {body_type[:64]}; send -H 'Content-Type: {OCTETS}' "
            f"with a container, or -H 'Content-Type: {NPY}' with a float32 array of latent vectors"
        )
    if model is not None:
        decoders.by_name(model)  # refuses a wrong name before the body is read
    return _ContainerCodes(decoders, model, settings)


def find_decoder(decoders: "Decoders", model: str | None, fingerprint: bytes) -> "Decoder | AnySizeDecoder":
    """Return the decoder of the model that made a code; `model` is the name that the request gives.

    It raises what `by_name`, `by_fingerprint` and `check_fingerprint` raise.
    """
    if model is None:
        return decoders.by_fingerprint(fingerprint)
    decoder = decoders.by_name(model)
    decoder.check_fingerprint(fingerprint)
    return decoder


class _ContainerCodes(CodeSource):
    """A container, which identifies its model."""

    def __init__(self, decoders: "Decoders", model: str | None, settings: Settings) -> None:
        self._decoders = decoders
        self._model = model
        self._settings = settings
        self._reader = FrameReader(max_chunk_bytes=settings.max_body_bytes)
        self._waiting: deque[PackedImages] = deque()

    def feed(self, data: bytes) -> None:
        self._reader.feed(data)
        frame = self._reader.take()
        if self.decoder is None and (header := self._reader.header) is not None:
            decoder = find_decoder(self._decoders, self._model, header.fingerprint)
            check_batch_size(header.announced, self._settings.max_batch_images)
            self.decoder = decoder
            self.count = header.announced or None
        while frame is not None and self.decoder is not None:
            for packed in self.decoder.open_frame(frame, self._settings.max_image_pixels):
                self._waiting.append(packed)
                self.buffered_bytes += packed.size
            check_batch_size(self._reader.images, self._settings.max_batch_images)
            frame = self._reader.take()

    @property
    def next_pixels(self) -> int:
        return self._waiting[0].pixels if self._waiting else 0

    def decode_next(self) -> image.Pixels | None:
        while self._waiting:
            packed = self._waiting[0]
            decoded = next(packed.decoding, None)
            if decoded is None or packed.pixels:  # an image of any size is the only one
                self.buffered_bytes -= packed.size
                self._waiting.popleft()
            if decoded is not None:
                return decoded
        return None

    def finish(self) -> None:
        self._reader.finish()
        self.count = self._reader.images


class _LatentVectors(CodeSource):
    """Points of the latent space as an array, float32 (N, code size)."""

    def __init__(self, decoder: "Decoder", settings: Settings) -> None:
        self._reader = NpyReader(["<f4", ">f4"], "float32")
        self._settings = settings
        self.decoder: Decoder = decoder

    def feed(self, data: bytes) -> None:
        self._reader.feed(data)
        self.buffered_bytes = self._reader.buffered_bytes
        if self.count is None and (shape := self._reader.shape) is not None:
            card = self.decoder.card
            if len(shape) != 2 or shape[1] != card.code_size:
                raise InvalidVector(
                    f"the array has the shape {str(shape)[:64]}; model '{card.name}' takes (N, {card.code_size})"
                )
            check_batch_size(shape[0], self._settings.max_batch_images)
            self.count = shape[0]

    def decode_next(self) -> image.Pixels | None:
        shape = self.decoder.card.image
        rows = max(1, min(image.DECODE_BATCH_SIZE, image.MAX_BATCH_VALUES // (shape.pixels * shape.channels)))
        vectors = self._reader.take(rows)
        self.buffered_bytes = self._reader.buffered_bytes
        return None if vectors is None else self.decoder.decode_vectors(vectors.astype(np.float32))

    def finish(self) -> None:
        self._reader.finish()
