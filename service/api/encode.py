"""`POST /encode`: an image file enters, its code leaves.

The steps of a request, in the order of this file: parse, admit, batch, encode, respond.
"""

import json
from collections.abc import Iterable, Sequence
from contextlib import suppress
from functools import lru_cache, partial
from typing import TYPE_CHECKING, NamedTuple, cast

import numpy as np
from starlette.types import Receive, Scope, Send

from latentwire.batching.batcher import map_ok
from latentwire.batching.cost_model import BatchKey
from latentwire.errors import (
    ImageError,
    ImageMismatch,
    InvalidMultipart,
    InvalidParameter,
    ModelNotReady,
    TargetMissed,
    UnsupportedMediaType,
)
from latentwire.imaging.fitting import FittedImage, Pixels
from latentwire.imaging.reader import ImageReader
from latentwire.options import OnOod
from latentwire.selection.json_fields import code_fields
from latentwire.timing import timed_stage
from service.api.bodies.read_body import read_body, wait_for_disconnect
from service.api.bodies.send_content import send_content
from service.api.encode_any_size import ForAnySize, find_any_size
from service.api.encode_options import PARAMETERS, EncodeOptions, Models, choose_models, parse_encode_options
from service.api.state import state_of
from service.http.headers import client_of, parse_content_headers
from service.http.media_types import FORM, JSON, OCTETS
from service.http.multipart import read_single_file
from service.http.negotiation import is_binary, media_type_of, negotiate
from service.http.query import parse_query
from service.observability.request_record import OodOutcome, record_code
from service.settings import Settings

if TYPE_CHECKING:
    from latentwire.any_size.sender import AnySizeSender
    from latentwire.encoder import EncodedImage
    from latentwire.selection.assessment import GuardedImage
    from latentwire.selection.guard import Guard
    from latentwire.selection.ladder import Ladder

RESPONSE_TYPES = (JSON, OCTETS)

# Allowance for everything in an image file except pixel data.
FILE_OVERHEAD_BYTES = 1024


class _RequestSpec(NamedTuple):
    """What the query and the headers of a request ask for. Requests with equal specs may share a micro-batch."""

    options: EncodeOptions
    response_type: str
    body_type: str


class _Encoded(NamedTuple):
    """The result for one request; `content` is the response body."""

    file_bytes: int
    code_bytes: int
    guarded: "GuardedImage"
    content: bytes


async def encode(scope: Scope, receive: Receive, send: Send) -> None:
    """Encode one image file."""
    state = state_of(scope)
    settings = state.settings
    headers = parse_content_headers(scope)
    spec = _parse(scope["query_string"], headers.accept, headers.content_type, settings.on_ood, settings.verifies)
    models = choose_models(state.registry, spec.options, settings)
    work = partial(_encode_images, spec, headers.content_type, models, settings)
    with state.admission.reserve(client_of(scope)) as budget:
        body = await read_body(receive, headers, settings, budget, settings.max_body_bytes)
        batch_key = BatchKey("/encode", spec) if _has_predictable_cost(spec, models.guard, body) else None
        disconnected = partial(wait_for_disconnect, receive)
        try:
            encoded = await state.admission.run(work, body, disconnected, batch_key)
        except ForAnySize as found:
            encode_one = partial(_encode_any_size, spec, found)
            encoded = await state.admission.run_pixels(encode_one, found.pixels, disconnected)
    guarded = encoded.guarded
    outcome: OodOutcome | None = None if guarded.ood is None else "warned" if guarded.sent_as is None else "fallback"
    record_code(encoded.file_bytes, encoded.code_bytes, outcome)
    quality = () if spec.response_type == JSON else _quality_headers(guarded)
    await send_content(send, encoded.content, spec.response_type, guarded.card.full_name, quality)


# Most requests of a client have the same query and headers.
@lru_cache(maxsize=64)
def _parse(query: bytes, accept: bytes, content_type: bytes, on_ood: OnOod, has_decoder: bool) -> _RequestSpec:
    options = parse_encode_options(parse_query(query, PARAMETERS), on_ood, has_decoder=has_decoder)
    response_type = negotiate(accept.decode("latin-1"), RESPONSE_TYPES)
    if options.framing == "raw" and response_type == JSON:
        raise InvalidParameter("framing=raw goes with 'Accept: application/octet-stream'; JSON has the full framing")
    body_type = media_type_of(content_type.decode("latin-1"))
    # The codec identifies the format of an image by the bytes of its file.
    if not (body_type == FORM or body_type.startswith("image/") or is_binary(body_type)):
        raise UnsupportedMediaType(
            f"/encode takes an image file, not {body_type[:64]}; name its type, "
            "for example with curl's -H 'Content-Type: image/png', or send it as a form with -F file=@image.png"
        )
    return _RequestSpec(options, response_type, body_type)


def _has_predictable_cost(spec: _RequestSpec, guard: "Guard | None", body: bytes) -> bool:
    """Whether encoding takes about as long as for other requests with this spec, so that it may run inline."""
    if guard is None or spec.body_type == FORM or spec.options.fit != "strict" or spec.options.has_target:
        return False
    return len(body) <= guard.card.image.pixels * guard.card.image.channels + FILE_OVERHEAD_BYTES


def _encode_images(
    spec: _RequestSpec,
    content_type: bytes,
    models: Models,
    settings: Settings,
    bodies: Sequence[bytes],
) -> list[_Encoded | Exception]:
    """Encode the image in each body; an error takes the place of its own result only."""
    images = _read_images(spec, content_type, models, settings, bodies)
    return map_ok(images, partial(_encode_pixels, spec, models))


@timed_stage("image")
def _read_images(
    spec: _RequestSpec, content_type: bytes, models: Models, settings: Settings, bodies: Sequence[bytes]
) -> list[tuple[int, FittedImage] | Exception]:
    reader = None
    if models.guard is not None:
        reader = settings.image_reader(models.guard.card.image, spec.options.fit, spec.options.background)
    return [_read_image(spec, content_type, models, settings, reader, body) for body in bodies]


def _read_image(
    spec: _RequestSpec,
    content_type: bytes,
    models: Models,
    settings: Settings,
    reader: ImageReader | None,
    body: bytes,
) -> tuple[int, FittedImage] | Exception:
    """Return the size of the image file in bytes, and the image."""
    try:
        file = read_single_file(body, content_type.decode("latin-1")) if spec.body_type == FORM else body
        try:
            if reader is not None:
                return len(file), reader.read(file)
        except ImageMismatch:
            if not spec.options.may_use_any_size or models.any_size() is None:
                raise
        return find_any_size(cast("AnySizeSender", models.any_size()), spec.options, settings, file)
    except (ImageError, InvalidMultipart, InvalidParameter, ModelNotReady) as error:
        return error


def _encode_pixels(
    spec: _RequestSpec, models: Models, images: list[tuple[int, FittedImage]]
) -> Iterable[_Encoded | Exception]:
    """Encode all images by one run of each graph; or each by itself, where the model depends on the image."""
    options = spec.options
    results: Iterable[GuardedImage | ImageError]
    if models.ladder is not None:
        results = [_select_model(spec, models.ladder, read.pixels) for _, read in images]
    else:
        guard, batch = cast("Guard", models.guard), np.array([read.pixels for _, read in images])
        results = guard.encode_each(batch, options.on_ood, options.max_mse, models.above)
    for (file_bytes, read), result in zip(images, results, strict=True):
        if isinstance(result, TargetMissed):
            yield _or_any_size(options, models, file_bytes, read, result) or read.explain(result)
        elif isinstance(result, ImageError):
            yield read.explain(result)
        else:
            fitted = result.after(read.fitting)
            # An image that is not of the models' kind is sent losslessly.
            is_unknown = fitted.ood is not None and fitted.sent_as is not None
            other = _or_any_size(options, models, file_bytes, read, fitted) if is_unknown else None
            yield other or _respond(spec, file_bytes, fitted)


def _or_any_size(
    options: EncodeOptions, models: Models, file_bytes: int, read: FittedImage, result: "GuardedImage | TargetMissed"
) -> ForAnySize | None:
    """Return what a model for images of any size may do better, if one may be used."""
    is_measured = options.min_psnr_db is None or cast("Guard", models.guard).has_decoder
    if not options.may_use_any_size or options.on_ood != "fallback" or not is_measured:
        return None
    with suppress(ModelNotReady):
        if (sender := models.any_size()) is not None:
            height, width, _ = read.pixels.shape
            return ForAnySize(sender, file_bytes, height * width, lambda: read, result)
    return None


def _encode_any_size(spec: _RequestSpec, image: ForAnySize) -> _Encoded:
    guarded = spec.options.encode_any_size(image.sender, image.read(), otherwise=image.otherwise)
    return _respond(spec, image.file_bytes, guarded)


def _respond(spec: _RequestSpec, file_bytes: int, guarded: "GuardedImage") -> _Encoded:
    code = _framed(spec, guarded.encoded)
    return _Encoded(file_bytes, len(code), guarded, _to_json(guarded) if spec.response_type == JSON else code)


def _select_model(spec: _RequestSpec, ladder: "Ladder", pixels: Pixels) -> "GuardedImage | ImageError":
    options = spec.options
    try:
        if options.target_bytes is None:
            return ladder.smallest_reaching(pixels, cast(float, options.min_psnr_db), options.on_ood)
        return ladder.best_within(
            pixels, options.target_bytes, lambda code: len(_framed(spec, code)), options.on_ood, options.max_mse
        )
    except ImageError as error:
        return error


def _framed(spec: _RequestSpec, code: "EncodedImage") -> bytes:
    return code.payload if spec.options.framing == "raw" else code.bitstream


def _to_json(guarded: "GuardedImage") -> bytes:
    card, fields = guarded.card, code_fields(guarded)
    # The documented order.
    first = {"model": card.name, "model_id": card.model_id, "code": fields["code"], "shape": guarded.shape}
    return json.dumps({**first, **fields}, ensure_ascii=False).encode()


def _quality_headers(guarded: "GuardedImage") -> Iterable[tuple[bytes, str]]:
    """Return as headers what the JSON says about the reconstruction."""
    yield b"latentwire-ood", "none" if guarded.ood is None else guarded.ood.names
    if guarded.doubt is not None:
        yield b"latentwire-doubt", guarded.doubt.names
    if guarded.fitting is not None:
        yield b"latentwire-fitted", ", ".join(guarded.fitting.steps)
    if guarded.psnr_db is not None:
        yield b"latentwire-psnr-db", f"{guarded.psnr_db:.2f}"
    if guarded.max_error is not None:
        yield b"latentwire-max-error", f"{guarded.max_error:.4f}"
