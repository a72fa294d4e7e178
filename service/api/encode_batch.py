"""`POST /encode/batch`: many images enter, their codes leave.

The steps of a request, in the order of this file: parse, admit, encode, respond.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from functools import partial
from itertools import islice
from time import perf_counter
from typing import TYPE_CHECKING, cast

from starlette.types import Receive, Scope, Send

from latentwire.errors import BatchTooLarge, ImageError, OutOfDistribution
from latentwire.format.npy import npy_header
from latentwire.imaging import image
from latentwire.imaging.fitting import FittedImage, Fitting
from latentwire.options import BACKGROUNDS, FITS, ON_OOD, OnOod, Verify
from latentwire.selection.json_fields import JsonImageList, code_fields
from service.api.bodies.image_sources import ImageSource, open_image_source
from service.api.bodies.streams import admit_batch
from service.api.encode_options import parse_verify
from service.api.state import state_of
from service.http.headers import parse_content_headers
from service.http.media_types import JSON, NPY, OCTETS
from service.http.negotiation import negotiate
from service.http.query import parse_choice, parse_query
from service.observability.request_record import record_batch_of_codes, record_ood

if TYPE_CHECKING:
    from latentwire.encoder import Encoder
    from latentwire.registry import ComponentSet
    from latentwire.selection.guard import Guard

PARAMETERS = frozenset({"model", "fit", "background", "on_ood", "verify"})

# Time of one part of the work: single images wait no longer, and a thread switch costs as much as some images.
PART_S = 0.01


async def encode_batch(scope: Scope, receive: Receive, send: Send) -> None:
    """Encode many images as they arrive."""
    state = state_of(scope)
    settings = state.settings
    parameters = parse_query(scope["query_string"], PARAMETERS)
    guard = state.registry.guard(parameters.get("model"))
    encoder = cast("ComponentSet[Encoder]", state.registry.encoders).by_name(guard.card.name)
    headers = parse_content_headers(scope)
    response_type = negotiate(headers.accept.decode("latin-1"), RESPONSE_TYPES)
    fit = parse_choice("fit", FITS, parameters.get("fit", "strict"))
    background = parse_choice("background", BACKGROUNDS, parameters.get("background", "auto"))
    reader = settings.image_reader(encoder.card.image, fit, background)
    images = open_image_source(headers.content_type.decode("latin-1"), reader, settings)
    on_ood = parse_choice("on_ood", ON_OOD, parameters.get("on_ood", settings.on_ood))
    verify = parse_verify(parameters.get("verify", "latent"), has_decoder=settings.verifies)
    codes = CODE_WRITERS[response_type](guard, encoder, on_ood, verify, settings.max_body_bytes)
    if response_type == OCTETS:
        record_batch_of_codes()

    async with admit_batch(scope, receive, send) as exchange:
        exchange.prepare(response_type, encoder.card.full_name, max_buffered_bytes=settings.max_body_bytes)
        started = False
        while (data := await exchange.read()) is not None:
            images.feed(data)
            if images.opened and not started:
                await exchange.write(codes.start(images.count))
                started = True
            more = images.opened
            while more:
                encoded, more = await exchange.run_part(partial(_encode_part, images, codes))
                await exchange.write(encoded)
        images.finish()
        await exchange.write(await exchange.run_part(codes.finish))


def _encode_part(images: ImageSource, codes: "CodeWriter") -> tuple[bytes, bool]:
    """Encode images that have arrived, for about `PART_S`; return the bytes, and whether images may be left."""
    until_s = perf_counter() + PART_S
    encoded = []
    while (taken := images.take()) is not None:
        try:
            encoded.append(codes.add(*taken))
        except OutOfDistribution:
            # Once the response has begun, no problem document counts the refusal.
            record_ood("refused", 1)
            raise
        if perf_counter() > until_s:
            return b"".join(encoded), True
    return b"".join(encoded), False


class CodeWriter(ABC):
    """Writes the response body; each method returns the bytes that are ready."""

    def __init__(
        self, guard: "Guard", encoder: "Encoder", on_ood: OnOod, verify: Verify, max_buffered_bytes: int
    ) -> None:
        """Write what `encoder`, guarded by `guard`, makes of images that are assessed as `verify` and `on_ood` say."""
        self._guard, self._encoder, self._card = guard, encoder, guard.card
        self._on_ood: OnOod = on_ood
        self._verify: Verify = verify
        self._max_buffered_bytes = max_buffered_bytes

    @abstractmethod
    def start(self, count: int | None) -> bytes:
        """Begin with the number of images, if it is known."""

    def add(self, pixels: image.Pixels, fittings: Iterable[Fitting | None]) -> bytes:
        """Encode images, uint8 (N, H, W, C), each changed before as its fitting says."""
        self._fittings = iter(fittings)
        return b"".join(map(self._encode, image.slices(pixels, self._card.image)))

    @abstractmethod
    def finish(self) -> bytes:
        """End."""

    @abstractmethod
    def _encode(self, pixels: image.Pixels) -> bytes: ...

    def _record_ood(self, images: int) -> None:
        if images:
            record_ood("warned" if self._on_ood == "warn" else "fallback", images)


class _ContainerWriter(CodeWriter):
    """A container, with out-of-distribution images losslessly in it."""

    def start(self, count: int | None) -> bytes:
        self._container = self._guard.open_container(count or 0)
        return b""

    def finish(self) -> bytes:
        return self._container.finish()

    def _encode(self, pixels: image.Pixels) -> bytes:
        fittings = list(islice(self._fittings, len(pixels)))
        guarded = self._guard.encode_chunk(pixels, self._on_ood, self._verify, fittings)
        self._record_ood(len(guarded.ood_images))
        return self._container.add(guarded.chunk)


class _LatentWriter(CodeWriter):
    """Latent vectors before quantization, float32 (N, code size); buffered if their number is not known."""

    def start(self, count: int | None) -> bytes:
        self._buffer = bytearray() if count is None else None
        return b"" if count is None else self._header(count)

    def finish(self) -> bytes:
        if self._buffer is None:
            return b""
        return self._header(len(self._buffer) // (4 * self._card.code_size)) + self._buffer

    def _encode(self, pixels: image.Pixels) -> bytes:
        data = self._encoder.y(pixels).astype("<f4").tobytes()
        if self._buffer is None:
            return data
        self._buffer += data
        if len(self._buffer) > self._max_buffered_bytes:
            raise BatchTooLarge(
                f"the codes of this form need more than the {self._max_buffered_bytes:,} bytes that may be "
                f"buffered for an array; ask for {OCTETS}, or send the images as {NPY}"
            )
        return b""

    def _header(self, count: int) -> bytes:
        return npy_header("<f4", (count, self._card.code_size))


class _JsonWriter(CodeWriter):
    """JSON with one entry per image."""

    def start(self, _count: int | None) -> bytes:
        self._entries = JsonImageList(self._card)
        return self._entries.header

    def finish(self) -> bytes:
        return self._entries.trailer

    def _encode(self, pixels: image.Pixels) -> bytes:
        written = []
        for one, assessment in zip(pixels, self._guard.assess(pixels), strict=True):
            read = FittedImage(one, next(self._fittings))
            try:
                guarded = self._guard.apply_policy(one, assessment, self._on_ood).after(read.fitting)
            except ImageError as error:
                raise read.explain(error) from None
            self._record_ood(int(assessment.ood is not None))
            written.append(self._entries.add(code_fields(guarded)))
        return b"".join(written)


CODE_WRITERS: dict[str, type[CodeWriter]] = {OCTETS: _ContainerWriter, NPY: _LatentWriter, JSON: _JsonWriter}
RESPONSE_TYPES = tuple(CODE_WRITERS)
