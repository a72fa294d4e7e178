"""Encodes the images of a batch, and writes their codes as a container, as an array or as JSON."""

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple, Protocol

from latentwire.imaging import image
from latentwire.options import OnOod, Verify
from service.api.bodies.json_fields import JsonImageList, code_fields
from service.errors import BatchTooLarge
from service.http.media_types import JSON, NPY, OCTETS
from service.http.npy import npy_header
from service.observability.request_record import record_ood

if TYPE_CHECKING:
    from latentwire.encoder import Encoder
    from latentwire.selection.guard import Guard


class WriterOptions(NamedTuple):
    """What to do with out-of-distribution images, how to assess images, and how many bytes may be buffered."""

    on_ood: OnOod
    verify: Verify
    max_buffered_bytes: int


class CodeWriter(Protocol):
    """Writes the response body; each method returns the bytes that are ready."""

    def start(self, count: int | None) -> bytes:
        """Begin with the number of images, if it is known."""

    def add(self, pixels: image.Pixels) -> bytes:
        """Encode images, uint8 (N, H, W, C)."""

    def finish(self) -> bytes:
        """End."""


class _ContainerWriter:
    """A container, with out-of-distribution images losslessly in it."""

    def __init__(self, guard: "Guard", encoder: "Encoder", options: WriterOptions) -> None:
        self._guard = guard
        self._encoder = encoder
        self._options = options

    def start(self, count: int | None) -> bytes:
        self._container = self._encoder.open_container(count or 0)
        return b""

    def add(self, pixels: image.Pixels) -> bytes:
        return b"".join(map(self._add_chunk, image.slices(pixels, self._encoder.card.image)))

    def finish(self) -> bytes:
        return self._container.finish()

    def _add_chunk(self, pixels: image.Pixels) -> bytes:
        guarded = self._guard.encode_chunk(pixels, self._options.on_ood, verify=self._options.verify)
        _record_ood_images(self._options.on_ood, len(guarded.ood_images))
        return self._container.add(guarded.chunk)


class _LatentWriter:
    """Latent vectors before quantization, float32 (N, code size); buffered if their number is not known."""

    def __init__(self, guard: "Guard", encoder: "Encoder", options: WriterOptions) -> None:  # noqa: ARG002
        self._encoder = encoder
        self._max_buffered_bytes = options.max_buffered_bytes
        self._buffer: bytearray | None = None

    def start(self, count: int | None) -> bytes:
        if count is None:
            self._buffer = bytearray()
            return b""
        return npy_header("<f4", (count, self._encoder.card.code_size))

    def add(self, pixels: image.Pixels) -> bytes:
        parts = image.slices(pixels, self._encoder.card.image)
        data = b"".join(self._encoder.y(part).astype("<f4").tobytes() for part in parts)
        if self._buffer is None:
            return data
        self._buffer += data
        if len(self._buffer) > self._max_buffered_bytes:
            raise BatchTooLarge(
                f"the codes of this form need more than the {self._max_buffered_bytes:,} bytes that may be buffered "
                f"for an array; ask for {OCTETS}, or send the images as {NPY}"
            )
        return b""

    def finish(self) -> bytes:
        if self._buffer is None:
            return b""
        size = self._encoder.card.code_size
        return npy_header("<f4", (len(self._buffer) // (4 * size), size)) + self._buffer


class _JsonWriter:
    """JSON with one entry per image."""

    def __init__(self, guard: "Guard", encoder: "Encoder", options: WriterOptions) -> None:
        self._guard = guard
        self._on_ood = options.on_ood
        self._images = JsonImageList(encoder.card)

    def start(self, count: int | None) -> bytes:  # noqa: ARG002
        return self._images.header

    def add(self, pixels: image.Pixels) -> bytes:
        card = self._guard.card
        entries = []
        for part in image.slices(pixels, card.image):
            for one, assessment in zip(part, self._guard.assess(part), strict=True):
                guarded = self._guard.apply_policy(one, assessment, self._on_ood)
                _record_ood_images(self._on_ood, int(assessment.ood is not None))
                entries.append(self._images.add(code_fields(card, guarded)))
        return b"".join(entries)

    def finish(self) -> bytes:
        return self._images.trailer


def _record_ood_images(on_ood: OnOod, images: int) -> None:
    if images:
        record_ood("warned" if on_ood == "warn" else "fallback", images)


CODE_WRITERS: dict[str, Callable[["Guard", "Encoder", WriterOptions], CodeWriter]] = {
    OCTETS: _ContainerWriter,
    NPY: _LatentWriter,
    JSON: _JsonWriter,
}
