"""`POST /encode/batch`: many images enter, their codes leave, in one container or otherwise."""

import json
from collections.abc import Callable
from time import perf_counter
from typing import TYPE_CHECKING, NamedTuple, Protocol, cast

import numpy as np
from starlette.requests import Request
from starlette.responses import Response

from latentwire import errors as codec_errors
from latentwire.imaging import image
from latentwire.model.card import ImageShape
from latentwire.options import Fit, OnOod, Verify
from service import errors
from service.api.encode import image_fields
from service.api.encode_options import read_fit, read_on_ood, read_verify
from service.api.state import state_of
from service.api.streaming import BatchResponse, Incoming, Outgoing, check_count
from service.http.multipart import FileForm
from service.http.negotiation import choose_answer, media_type_of
from service.http.npy import NpyReader, npy_header
from service.http.query import read_query
from service.observability.request_record import OodOutcome, record_batch_of_codes, record_ood
from service.scheduling.admission import RunPart
from service.settings import Settings

if TYPE_CHECKING:
    from latentwire.encoder import Encoder
    from latentwire.selection.guard import Guard
    from service.inference.registry import ComponentSet

OCTETS = "application/octet-stream"
NPY = "application/x-npy"
JSON = "application/json"
FORM = "multipart/form-data"
OFFERED = (OCTETS, NPY, JSON)
PARAMETERS = frozenset({"model", "fit", "on_ood", "verify"})

# Going to a thread and back takes as long as some images; single requests wait for no more than this.
STEP_S = 0.01


class _Source(Protocol):
    """The images of a body, as they come."""

    def feed(self, data: bytes) -> None:
        """Take in the bytes that come next."""

    def take(self) -> image.Pixels | None:
        """Return uint8 (N, H, W, C) pixels of the model's shape, or None if more bytes are needed."""

    def finish(self) -> None:
        """Check that the body has come to its end."""

    @property
    def count(self) -> int | None:
        """How many images there are in all, if that is known already."""


class _NpyImages:
    """Images as an array, uint8 (N, H, W) or (N, H, W, C)."""

    def __init__(self, shape: ImageShape, fit: Fit, settings: Settings) -> None:
        self._reader = NpyReader(dict.fromkeys(("|u1", "<u1", ">u1", "u1", "uint8"), np.uint8), "uint8")
        self._shape = shape
        self._fit = fit
        self._settings = settings
        self._rows = 0
        self.count: int | None = None

    def feed(self, data: bytes) -> None:
        self._reader.feed(data)
        if self.count is None and self._reader.shape is not None:
            self._check(self._reader.shape)
            self.count = self._reader.shape[0]

    def take(self) -> image.Pixels | None:
        block = self._reader.take(self._rows) if self._rows else None
        if block is None:
            return None
        pixels = cast(image.Pixels, block.reshape(*block.shape[:3], -1))
        return image.fit_pixels(pixels, self._shape, self._fit)

    def finish(self) -> None:
        self._reader.finish()

    def _check(self, shape: tuple[int, ...]) -> None:
        if len(shape) not in (3, 4):
            raise errors.InvalidArray(
                f"the array has {len(shape)} dimensions; images have 3 (N, H, W) or 4 (N, H, W, C)"
            )
        count, height, width = shape[:3]
        check_count(count, self._settings.max_batch_images)
        if height * width > self._settings.max_image_pixels:
            raise codec_errors.ImageTooLarge(
                f"the images have {height} × {width} pixels; at most {self._settings.max_image_pixels:,} in all are "
                "allowed"
            )
        channels = shape[3] if len(shape) == 4 else 1
        if channels > max(image.MODE_OF_CHANNELS):
            raise codec_errors.ImageMismatch(f"the images have {channels:,} channels; the model takes {self._shape}")
        image.fit_pixels(np.empty((0, height, width, channels), dtype=np.uint8), self._shape, self._fit)
        values = max(1, height * width * channels)
        self._rows = max(1, min(image.ENCODE_BATCH_SIZE, image.MAX_BATCH_VALUES // values))


class _FormImages:
    """Images as the files of a form."""

    count = None

    def __init__(self, shape: ImageShape, fit: Fit, settings: Settings, content_type: str) -> None:
        self._form = FileForm(content_type, settings.max_body_bytes)
        self._shape = shape
        self._fit = fit
        self._settings = settings
        self._taken = 0

    def feed(self, data: bytes) -> None:
        self._form.feed(data)

    def take(self) -> image.Pixels | None:
        pixels: list[image.Pixels] = []
        while len(pixels) < image.ENCODE_BATCH_SIZE and (data := self._form.take()) is not None:
            check_count(self._taken + 1, self._settings.max_batch_images)
            try:
                pixels.append(image.read_image(data, self._shape, self._fit, self._settings.max_image_pixels))
            except codec_errors.ImageError as error:
                raise type(error)(f"file {self._taken} of the form: {error}") from error
            self._taken += 1
        return np.stack(pixels) if pixels else None

    def finish(self) -> None:
        self._form.finish()


class _Sink(Protocol):
    """What is made of the codes."""

    def begin(self, count: int | None) -> bytes:
        """Return the first bytes of the answer; `count` is the number of images, if it is known."""

    def add(self, pixels: image.Pixels) -> bytes:
        """Encode images, and return the bytes that are ready."""

    def finish(self) -> bytes:
        """Return the last bytes."""


class _Wishes(NamedTuple):
    on_ood: OnOod
    verify: Verify


class _ToContainer:
    def __init__(self, guard: "Guard", encoder: "Encoder", wishes: _Wishes, settings: Settings) -> None:  # noqa: ARG002
        self._guard = guard
        self._encoder = encoder
        self._wishes = wishes

    def begin(self, count: int | None) -> bytes:
        self._writer = self._encoder.open_container(count or 0)
        return b""

    def add(self, pixels: image.Pixels) -> bytes:
        return b"".join(map(self._add_part, image.slices(pixels, self._encoder.card.image)))

    def finish(self) -> bytes:
        return self._writer.finish()

    def _add_part(self, pixels: image.Pixels) -> bytes:
        guarded = self._guard.encode_chunk(pixels, self._wishes.on_ood, verify=self._wishes.verify)
        _record_ood(self._wishes.on_ood, len(guarded.ood_images))
        return self._writer.add(guarded.chunk)


class _ToNpy:
    """Codes before quantization, float32 (N, code size). Held until the end if their number is not known before."""

    def __init__(self, guard: "Guard", encoder: "Encoder", wishes: _Wishes, settings: Settings) -> None:  # noqa: ARG002
        self._encoder = encoder
        self._max_held_bytes = settings.max_body_bytes
        self._held: list[bytes] | None = None
        self._held_bytes = 0

    def begin(self, count: int | None) -> bytes:
        if count is None:
            self._held = []
            return b""
        return npy_header("<f4", (count, self._encoder.card.code_size))

    def add(self, pixels: image.Pixels) -> bytes:
        parts = image.slices(pixels, self._encoder.card.image)
        data = b"".join(self._encoder.y(part).astype("<f4").tobytes() for part in parts)
        if self._held is None:
            return data
        self._held.append(data)
        self._held_bytes += len(data)
        if self._held_bytes > self._max_held_bytes:
            raise errors.BatchTooLarge(
                f"the codes of this form need more than the {self._max_held_bytes:,} bytes that are held for an array; "
                f"ask for {OCTETS}, or send the images as {NPY}"
            )
        return b""

    def finish(self) -> bytes:
        if self._held is None:
            return b""
        size = self._encoder.card.code_size
        return b"".join([npy_header("<f4", (self._held_bytes // (4 * size), size)), *self._held])


class _ToJson:
    def __init__(self, guard: "Guard", encoder: "Encoder", wishes: _Wishes, settings: Settings) -> None:  # noqa: ARG002
        self._guard = guard
        self._encoder = encoder
        self._on_ood = wishes.on_ood
        self._separator = ""

    def begin(self, count: int | None) -> bytes:  # noqa: ARG002
        card = self._encoder.card
        start = {"model": card.name, "model_id": card.model_id, "shape": card.image.as_tuple()}
        return (json.dumps(start)[:-1] + ', "images": [').encode()

    def add(self, pixels: image.Pixels) -> bytes:
        entries = []
        for part in image.slices(pixels, self._encoder.card.image):
            for one, assessment in zip(part, self._guard.assess(part), strict=True):
                entry = image_fields(self._guard.card, self._guard.apply_policy(one, assessment, self._on_ood))
                _record_ood(self._on_ood, int(assessment.ood is not None))
                entries.append(self._separator + json.dumps(entry))
                self._separator = ",\n"
        return "".join(entries).encode()

    def finish(self) -> bytes:
        return b"]}"


def _record_ood(on_ood: OnOod, images: int) -> None:
    if images:
        done: OodOutcome = "warned" if on_ood == "warn" else "fallback"
        record_ood(done, images)


SINKS: dict[str, Callable[["Guard", "Encoder", _Wishes, Settings], _Sink]] = {
    OCTETS: _ToContainer,
    NPY: _ToNpy,
    JSON: _ToJson,
}


async def encode_batch(request: Request) -> Response:
    """Encode many images, as they arrive; the answer names the model in `Latentwire-Model`."""
    state = state_of(request)
    parameters = read_query(request, PARAMETERS)
    fit = read_fit(parameters.get("fit", "strict"))
    encoder = cast("ComponentSet[Encoder]", state.registry.encoders).by_name(parameters.get("model"))
    answer_type = choose_answer(",".join(request.headers.getlist("accept")), OFFERED)
    content_type = request.headers.get("content-type", "")
    media_type = media_type_of(content_type)
    source: _Source
    if media_type == NPY:
        source = _NpyImages(encoder.card.image, fit, state.settings)
    elif media_type == FORM:
        source = _FormImages(encoder.card.image, fit, state.settings, content_type)
    else:
        raise errors.UnsupportedMediaType(
            f"/encode/batch takes an array or a form, not {media_type[:64] or 'a body without a type'}; send "
            f"-H 'Content-Type: {NPY}' with a uint8 array, or a form of image files with -F file=@a.png -F file=@b.png"
        )
    on_ood = read_on_ood(parameters.get("on_ood", state.settings.on_ood))
    verify = read_verify(parameters.get("verify", "latent"), sees_delivered=state.settings.verifies)
    guard = state.registry.guard(encoder.card.name)
    sink = SINKS[answer_type](guard, encoder, _Wishes(on_ood, verify), state.settings)

    async def work(incoming: Incoming, outgoing: Outgoing, run_part: RunPart) -> None:
        outgoing.media_type = answer_type
        outgoing.headers["Latentwire-Model"] = encoder.card.full_name
        outgoing.hold_bytes = state.settings.max_body_bytes
        begun = False
        while (data := await incoming.next()) is not None:
            source.feed(data)
            if not begun and (source.count is not None or media_type == FORM):
                await outgoing.write(sink.begin(source.count))
                begun = True
            left = True
            while left:
                ready, left = await run_part(_step(source, sink))
                await outgoing.write(ready)
        source.finish()
        await outgoing.write(await run_part(sink.finish))

    if answer_type == OCTETS:
        record_batch_of_codes()
    return BatchResponse(request, work)


def _step(source: _Source, sink: _Sink) -> Callable[[], tuple[bytes, bool]]:
    def step() -> tuple[bytes, bool]:
        """Encode what has come, for some milliseconds at most; return the bytes, and whether images are left."""
        until_s = perf_counter() + STEP_S
        ready = []
        while (pixels := source.take()) is not None:
            try:
                ready.append(sink.add(pixels))
            except codec_errors.OutOfDistribution:
                # Where the answer has begun, no problem is answered any more that would be counted.
                record_ood("refused", 1)
                raise
            if perf_counter() > until_s:
                return b"".join(ready), True
        return b"".join(ready), False

    return step
