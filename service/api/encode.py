"""`POST /encode`: an image file enters, its code leaves.

The steps of a request, in the order of this file: parse, admit, batch, encode, respond.
"""

import json
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache, partial
from typing import TYPE_CHECKING, NamedTuple, cast

import numpy as np
from starlette.types import Receive, Scope, Send

from latentwire.batching.batcher import map_ok
from latentwire.batching.cost_model import BatchKey
from latentwire.errors import ImageError, InvalidMultipart, InvalidParameter, UnsupportedMediaType
from latentwire.imaging.fitting import FittedImage, Pixels
from latentwire.imaging.reader import ImageReader
from latentwire.options import OnOod
from latentwire.selection.json_fields import code_fields
from service.api.bodies.read_body import read_body, wait_for_disconnect
from service.api.bodies.send_content import send_content
from service.api.encode_options import PARAMETERS, EncodeOptions, parse_encode_options
from service.api.state import state_of
from service.http.headers import client_of, parse_content_headers
from service.http.media_types import FORM, JSON, OCTETS
from service.http.multipart import read_single_file
from service.http.negotiation import is_binary, media_type_of, negotiate
from service.http.query import parse_query
from service.observability.request_record import OodOutcome, record_code
from service.settings import Settings

if TYPE_CHECKING:
    from latentwire.encoder import EncodedImage
    from latentwire.model.card import ModelCard
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


class _Models(NamedTuple):
    """The models for a request: the first, those that it is chosen from, and those above it if it is left open."""

    guard: "Guard"
    ladder: "Ladder | None"
    above: "Callable[[Guard], list[Guard]] | None"


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
    guard = state.registry.guard(spec.options.model)
    ladder = state.registry.ladder() if spec.options.selects_model else None
    # A raw payload does not name its model.
    is_open = spec.options.model is None and spec.options.framing == "full"
    models = _Models(guard, ladder, state.registry.above if is_open else None)
    work = partial(_encode_images, spec, headers.content_type, models, settings)
    with state.admission.reserve(client_of(scope)) as budget:
        body = await read_body(receive, headers, settings, budget, settings.max_body_bytes)
        batch_key = BatchKey("/encode", spec) if _has_predictable_cost(spec, guard.card, body) else None
        encoded = await state.admission.run(work, body, partial(wait_for_disconnect, receive), batch_key)
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


def _has_predictable_cost(spec: _RequestSpec, card: "ModelCard", body: bytes) -> bool:
    """Whether encoding takes about as long as for other requests with this spec, so that it may run inline."""
    is_plain = spec.body_type != FORM and spec.options.fit == "strict" and not spec.options.selects_model
    return is_plain and len(body) <= card.image.pixels * card.image.channels + FILE_OVERHEAD_BYTES


def _encode_images(
    spec: _RequestSpec,
    content_type: bytes,
    models: _Models,
    settings: Settings,
    bodies: Sequence[bytes],
) -> list[_Encoded | Exception]:
    """Encode the image in each body; an error takes the place of its own result only."""
    reader = settings.image_reader(models.guard.card.image, spec.options.fit, spec.options.background)
    images = [_read_image(spec, content_type, reader, body) for body in bodies]
    return map_ok(images, partial(_encode_pixels, spec, models))


def _read_image(
    spec: _RequestSpec, content_type: bytes, reader: ImageReader, body: bytes
) -> tuple[int, FittedImage] | Exception:
    """Return the size of the image file in bytes, and the image."""
    try:
        file = read_single_file(body, content_type.decode("latin-1")) if spec.body_type == FORM else body
        return len(file), reader.read(file)
    except (ImageError, InvalidMultipart) as error:
        return error


def _encode_pixels(
    spec: _RequestSpec, models: _Models, images: list[tuple[int, FittedImage]]
) -> Iterable[_Encoded | Exception]:
    """Encode all images by one run of each graph; or each by itself, where the model depends on the image."""
    options = spec.options
    results: Iterable[GuardedImage | Exception]
    if models.ladder is not None:
        results = [_select_model(spec, models.ladder, read.pixels) for _, read in images]
    else:
        batch = np.stack([read.pixels for _, read in images])
        results = models.guard.encode_each(batch, options.on_ood, options.max_mse, models.above)
    for (file_bytes, read), result in zip(images, results, strict=True):
        if isinstance(result, Exception):
            yield result
        else:
            code, guarded = _framed(spec, result.encoded), result.after(read.fitting)
            content = _to_json(guarded) if spec.response_type == JSON else code
            yield _Encoded(file_bytes, len(code), guarded, content)


def _select_model(spec: _RequestSpec, ladder: "Ladder", pixels: Pixels) -> "GuardedImage":
    options = spec.options
    if options.target_bytes is None:
        return ladder.smallest_reaching(pixels, cast(float, options.min_psnr_db), options.on_ood)
    return ladder.best_within(
        pixels, options.target_bytes, lambda code: len(_framed(spec, code)), options.on_ood, options.max_mse
    )


def _framed(spec: _RequestSpec, code: "EncodedImage") -> bytes:
    return code.payload if spec.options.framing == "raw" else code.bitstream


def _to_json(guarded: "GuardedImage") -> bytes:
    card, fields = guarded.card, code_fields(guarded)
    # The documented order.
    first = {"model": card.name, "model_id": card.model_id, "code": fields["code"], "shape": card.image.as_tuple()}
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
