"""Many images -> what is sent of them together: a container, an array of latent vectors, or JSON."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from time import perf_counter
from typing import Literal, Protocol

from latentwire.errors import BatchTooLarge, ImageError, OutOfDistribution, naming_image
from latentwire.format.any_size_container import PayloadContainerWriter
from latentwire.format.image_source import ImageSource, OneImage
from latentwire.format.npy import npy_header
from latentwire.imaging import image
from latentwire.imaging.fitting import FittedImage, FittedImages
from latentwire.imaging.reader import AnySizeReader, ImageReader
from latentwire.model.any_size_card import AnySizeCard
from latentwire.model.card import ModelCard
from latentwire.options import OnOod, Verify
from latentwire.selection.assessment import GuardedImage
from latentwire.selection.guard import Guard
from latentwire.selection.json_fields import JsonImageList, code_fields

Form = Literal["container", "array", "json"]

# Time of one part of the work: single images wait no longer, and a thread switch costs as much as some images.
PART_S = 0.01


class BatchEncoder(Protocol):
    """Encodes the images of a source; each method returns the bytes that are ready.

    Attributes:
        card: of the model.
        next_pixels: width × height of the image that `encode_part` encodes next, if it is of any size; else 0.
    """

    next_pixels: int

    @property
    def card(self) -> ModelCard | AnySizeCard:
        """Of the model."""

    def start(self, count: int | None) -> bytes:
        """Begin with the number of images, if it is known."""

    def encode_part(self) -> tuple[bytes, bool]:
        """Encode images that have arrived; return the bytes, and whether images may be left.

        Raises:
            ImageError: an image cannot be read or encoded, or is refused; the error has its number, from 0.
            BatchTooLarge: there are too many images, or the bytes of an array that must be buffered are too many.
        """

    def finish(self) -> bytes:
        """End."""


class VectorBatch(ABC):
    """Encodes images by a vector model, many at a time."""

    next_pixels = 0

    def __init__(
        self,
        guard: Guard,
        images: ImageSource,
        reader: ImageReader,
        on_ood: OnOod,
        verify: Verify,
        max_buffered_bytes: int,
        record_ood: Callable[[Literal["refused", "warned", "fallback"], int], None],
    ) -> None:
        """Encode images.

        Args:
            guard: of the model.
            images: to encode.
            reader: of the images.
            on_ood: as in `Guard.encode`.
            verify: as in `Guard.encode_chunk`; images for JSON are assessed as by `Guard.encode`.
            max_buffered_bytes: of an array whose number of rows is not known before.
            record_ood: is called with what is done with out-of-distribution images, and their number.
        """
        self.card = guard.card
        self._guard = guard
        self._source, self._reader = images, reader
        self._on_ood: OnOod = on_ood
        self._verify: Verify = verify
        self._max_buffered_bytes = max_buffered_bytes
        self._record_ood = record_ood
        self._images = 0

    @abstractmethod
    def start(self, count: int | None) -> bytes:
        """Begin with the number of images, if it is known."""

    def encode_part(self) -> tuple[bytes, bool]:
        """Encode images that have arrived, for about `PART_S`; see `BatchEncoder.encode_part`."""
        until_s = perf_counter() + PART_S
        encoded = []
        while (taken := self._source.take(self._reader)) is not None:
            try:
                encoded.append(self._add(taken))
            except OutOfDistribution:
                self._record_ood("refused", 1)
                raise
            if perf_counter() > until_s:
                return b"".join(encoded), True
        return b"".join(encoded), False

    @abstractmethod
    def finish(self) -> bytes:
        """End."""

    def _add(self, images: FittedImages) -> bytes:
        encoded, first = [], 0
        for pixels in image.slices(images.pixels, self.card.image):
            last = first + len(pixels)
            encoded.append(self._encode(FittedImages(pixels, images.fittings[first:last])))
            self._images += len(pixels)
            first = last
        return b"".join(encoded)

    @abstractmethod
    def _encode(self, images: FittedImages) -> bytes: ...

    def _record_sent(self, ood_images: int) -> None:
        if ood_images:
            self._record_ood("warned" if self._on_ood == "warn" else "fallback", ood_images)


class _ContainerBatch(VectorBatch):
    """A container, with out-of-distribution images losslessly in it."""

    def start(self, count: int | None) -> bytes:
        self._container = self._guard.open_container(count or 0)
        return b""

    def finish(self) -> bytes:
        return self._container.finish()

    def _encode(self, images: FittedImages) -> bytes:
        guarded = self._guard.encode_chunk(images.pixels, self._on_ood, self._verify, images.fittings, self._images)
        self._record_sent(len(guarded.ood_images))
        return self._container.add(guarded.chunk)


class _LatentBatch(VectorBatch):
    """Latent vectors before quantization, float32 (N, code size); buffered if their number is not known."""

    def start(self, count: int | None) -> bytes:
        self._buffer = bytearray() if count is None else None
        return b"" if count is None else self._header(count)

    def finish(self) -> bytes:
        if self._buffer is None:
            return b""
        return self._header(len(self._buffer) // (4 * self.card.code_size)) + self._buffer

    def _encode(self, images: FittedImages) -> bytes:
        data = self._guard.latents(images.pixels).astype("<f4").tobytes()
        if self._buffer is None:
            return data
        self._buffer += data
        if len(self._buffer) > self._max_buffered_bytes:
            raise BatchTooLarge(
                f"the codes of this form need more than the {self._max_buffered_bytes:,} bytes that may be buffered "
                "for an array; ask for application/octet-stream, or send the images as application/x-npy"
            )
        return b""

    def _header(self, count: int) -> bytes:
        return npy_header("<f4", (count, self.card.code_size))


class _JsonBatch(VectorBatch):
    """JSON with one entry per image."""

    def start(self, _count: int | None) -> bytes:
        self._entries = JsonImageList(self.card, self.card.image.as_tuple())
        return self._entries.header

    def finish(self) -> bytes:
        return self._entries.trailer

    def _encode(self, images: FittedImages) -> bytes:
        written = []
        assessed = zip(images.pixels, images.fittings, self._guard.assess(images.pixels), strict=True)
        for number, (one, fitting, assessment) in enumerate(assessed, self._images):
            with naming_image(number):
                try:
                    guarded = self._guard.apply_policy(one, assessment, self._on_ood).after(fitting)
                except ImageError as error:
                    raise FittedImage(one, fitting).explain(error) from None
            self._record_sent(int(assessment.ood is not None))
            written.append(self._entries.add(code_fields(guarded)))
        return b"".join(written)


VECTOR_BATCHES: dict[Form, type[VectorBatch]] = {
    "container": _ContainerBatch,
    "array": _LatentBatch,
    "json": _JsonBatch,
}


class AnySizeBatch:
    """Encodes images of any size one by one, with one of them in memory, as a container or JSON."""

    def __init__(
        self,
        card: AnySizeCard,
        images: ImageSource,
        reader: AnySizeReader,
        encode: Callable[[FittedImage], GuardedImage],
        work_of: Callable[[int], int],
        form: Literal["container", "json"],
    ) -> None:
        """Encode images.

        Args:
            card: of the model.
            images: to encode.
            reader: of the images.
            encode: encodes one image by the model.
            work_of: gives how many pixels an image of so many counts as, or raises `ImageTooLarge`.
            form: `container`, or `json` with one entry per image.
        """
        self.card = card
        self._source, self._reader, self._encode, self._work_of = images, reader, encode, work_of
        self._is_json = form == "json"
        self._found: OneImage | None = None
        self._images = self.next_pixels = 0

    def start(self, count: int | None) -> bytes:
        """Begin with the number of images, if it is known."""
        self._container = PayloadContainerWriter(self.card.fingerprint, count or 0)
        self._entries = JsonImageList(self.card, None)
        return self._entries.header if self._is_json else b""

    def encode_part(self) -> tuple[bytes, bool]:
        """Encode the image that was found last, and find the next one; see `BatchEncoder.encode_part`."""
        encoded = b""
        if self._found is not None:
            with naming_image(self._images):
                encoded = self._add(self._encode(self._found.read()))
            self._images += 1
        with naming_image(self._images):
            self._found = self._source.take_one(self._reader)
            self.next_pixels = self._work_of(self._found.pixels) if self._found else 0
        return encoded, self._found is not None

    def finish(self) -> bytes:
        """End."""
        return self._entries.trailer if self._is_json else self._container.finish()

    def _add(self, guarded: GuardedImage) -> bytes:
        if self._is_json:
            return self._entries.add({"shape": guarded.shape, **code_fields(guarded)})
        return self._container.add(guarded.encoded.payload)
