"""`POST /decode`: a code enters, its image leaves.

The steps of a request, in the order of this file: parse, admit, batch, decode, respond. The code of an image of any
size is admitted a second time, by its pixels.
"""

import base64
import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias, cast

from starlette.types import Receive, Scope, Send

from latentwire.any_size.bit_map import bit_map
from latentwire.batching.batcher import map_ok
from latentwire.batching.cost_model import BatchKey
from latentwire.errors import (
    CodecError,
    InvalidCode,
    InvalidParameter,
    InvalidVector,
    ModelMismatch,
    UnsupportedMediaType,
)
from latentwire.format.bitstream import read_bitstream, read_damaged_bitstream
from latentwire.format.code_json import CodeJson, max_code_bytes, parse_code_json
from latentwire.format.npy import npy_header
from latentwire.imaging import image
from latentwire.options import FRAMINGS, Framing
from latentwire.registry import vector_decoder
from latentwire.selection.json_fields import model_fields
from service.api.bodies.code_sources import find_decoder
from service.api.bodies.read_body import read_body, wait_for_disconnect
from service.api.bodies.send_content import send_content
from service.api.state import state_of
from service.http.headers import client_of, parse_content_headers
from service.http.media_types import JSON, NPY, OCTETS, PNG, WEBP
from service.http.negotiation import is_binary, media_type_of, negotiate
from service.http.query import parse_choice, parse_query

if TYPE_CHECKING:
    from latentwire.any_size.decoder import AnySizeDecoder
    from latentwire.decoder import Decoder
    from latentwire.registry import AnyCard, ComponentSet

    Decoders: TypeAlias = ComponentSet[Decoder | AnySizeDecoder]

SWITCHES = ("partial", "bit_map")
PARAMETERS = frozenset({"model", "framing", *SWITCHES})
# Longest body of predictable cost: codes have some tens of bytes, JSON and lossless images some thousands.
MAX_INLINE_BODY_BYTES = 16_384


class _RequestSpec(NamedTuple):
    """What the query and the headers of a request ask for. Requests with equal specs may share a micro-batch."""

    model: str | None
    framing: Framing
    response_type: str
    body_type: str
    partial: bool
    bit_map: bool


class _Code(NamedTuple):
    """The code of one request: the payload of a bitstream, or a point of the latent space."""

    decoder: "Decoder | AnySizeDecoder"
    payload: bytes | None
    vector: Sequence[float] = ()


class _Decoded(NamedTuple):
    """The model, the response body, and what is missing in the image, if that was asked for."""

    card: "AnyCard"
    content: bytes
    missing: str | None = None


class _OfAnySize(Exception):
    """The code is of an image of any size, which has this many pixels."""

    def __init__(self, decoder: "AnySizeDecoder", payload: bytes, max_pixels: int) -> None:
        self.decoder = decoder
        self.payload = payload
        header = decoder.header_of(payload, max_pixels)
        self.pixels = header.height * header.width


async def decode(scope: Scope, receive: Receive, send: Send) -> None:
    """Decode one code."""
    state = state_of(scope)
    decoders = cast("Decoders", state.registry.decoders)
    headers = parse_content_headers(scope)
    spec = _parse(scope["query_string"], headers.accept, headers.content_type)
    if spec.model is not None or spec.framing == "raw":
        _named_decoder(spec, decoders)  # refuses an unknown name before the body is read
    work = partial(_decode_bodies, spec, decoders, state.settings.max_image_pixels)
    with state.admission.reserve(client_of(scope)) as budget:
        max_bytes = min(state.settings.max_body_bytes, _max_code_bytes(decoders))
        body = await read_body(receive, headers, state.settings, budget, max_bytes)
        batch_key = BatchKey("/decode", spec) if len(body) <= MAX_INLINE_BODY_BYTES else None
        disconnected = partial(wait_for_disconnect, receive)
        try:
            decoded = await state.admission.run(work, body, disconnected, batch_key)
        except _OfAnySize as found:
            decode_one = partial(_decode_any_size, spec, found)
            decoded = await state.admission.run_pixels(decode_one, found.pixels, disconnected)
    missing = () if decoded.missing is None else [(b"latentwire-missing", decoded.missing)]
    await send_content(send, decoded.content, spec.response_type, decoded.card.full_name, missing)


# Most requests of a client have the same query and headers.
@lru_cache(maxsize=64)
def _parse(query: bytes, accept: bytes, content_type: bytes) -> _RequestSpec:
    parameters = parse_query(query, PARAMETERS)
    framing = parse_choice("framing", FRAMINGS, parameters.get("framing", "full"))
    response_type = negotiate(accept.decode("latin-1"), RESPONSE_TYPES)
    body_type = media_type_of(content_type.decode("latin-1"))
    if body_type != JSON and not is_binary(body_type):
        raise UnsupportedMediaType(
            f"/decode takes a code, not {body_type[:64]}; name its type, for example with curl's "
            f"-H 'Content-Type: {OCTETS}' for a bitstream or -H 'Content-Type: {JSON}' for JSON"
        )
    if framing == "raw" and body_type == JSON:
        raise InvalidParameter(f"framing=raw takes the payload itself, as {OCTETS}, not in JSON")
    is_partial, has_map = (parse_choice(name, ("0", "1"), parameters.get(name, "0")) == "1" for name in SWITCHES)
    if has_map and response_type != JSON:
        raise InvalidParameter(f"bit_map=1 is a field of JSON; ask for it with -H 'Accept: {JSON}'")
    return _RequestSpec(parameters.get("model"), framing, response_type, body_type, is_partial, has_map)


@lru_cache(maxsize=1)
def _max_code_bytes(decoders: "Decoders") -> int:
    return max_code_bytes(decoder.card for decoder in decoders.by_model.values())


def _decode_bodies(
    spec: _RequestSpec, decoders: "Decoders", max_pixels: int, bodies: Sequence[bytes]
) -> list[_Decoded | Exception]:
    """Decode the code in each body; an error takes the place of its own result only."""
    return map_ok([_read_code(spec, decoders, max_pixels, body) for body in bodies], partial(_decode_codes, spec))


def _read_code(spec: _RequestSpec, decoders: "Decoders", max_pixels: int, body: bytes) -> _Code | Exception:
    try:
        if spec.framing == "raw":
            code = _Code(_named_decoder(spec, decoders), body)
        elif spec.body_type == JSON:
            code = _code_of_json(spec, decoders, parse_code_json(body))
        else:
            code = _code_of_bitstream(spec, decoders, body)
        if code.decoder.card.kind == "vector":
            return code
        if code.payload is None:
            raise InvalidVector(f"model '{code.decoder.card.name}' takes bitstreams; it has no code of fixed length")
        return _OfAnySize(code.decoder, code.payload, max_pixels)
    except CodecError as error:
        return error


def _code_of_bitstream(spec: _RequestSpec, decoders: "Decoders", bitstream: bytes) -> _Code:
    try:
        code = read_bitstream(bitstream)
    except InvalidCode:
        if not spec.partial:
            raise
        code = read_damaged_bitstream(bitstream)
        if find_decoder(decoders, spec.model, code.fingerprint).card.kind == "vector":
            raise
    return _Code(find_decoder(decoders, spec.model, code.fingerprint), code.payload)


def _code_of_json(spec: _RequestSpec, decoders: "Decoders", content: CodeJson) -> _Code:
    bitstream = content.decoded_bitstream()
    if bitstream is not None:
        # The field `model` is not used: a receiver may have the same model, by its model_id, under another name.
        code = _code_of_bitstream(spec, decoders, bitstream)
    elif spec.model is not None and content.model is not None and content.model != spec.model:
        raise InvalidParameter("the query and the JSON name different models")
    else:
        code = _Code(decoders.by_name(spec.model or content.model), None, content.code or ())
    card = code.decoder.card
    if content.model_id is not None and content.model_id != card.model_id:
        raise ModelMismatch(
            f"the JSON gives the model_id {content.model_id[:64]}; model '{card.name}' has {card.model_id}"
        )
    return code


def _named_decoder(spec: _RequestSpec, decoders: "Decoders") -> "Decoder | AnySizeDecoder":
    """Return the decoder that the parameter `model` names; for a raw payload, it may be `name@model_id`."""
    if spec.framing == "full":
        return decoders.by_name(spec.model)
    if spec.model is None:
        raise InvalidParameter("framing=raw needs model=, because a payload alone does not identify its model")
    name, _, model_id = spec.model.partition("@")
    decoder = decoders.by_name(name)
    if model_id and model_id != decoder.card.model_id:
        raise ModelMismatch(
            f"the code was made by a model '{name[:64]}' with the model_id {model_id[:64]}; the one here has "
            f"{decoder.card.model_id}"
        )
    return decoder


def _decode_codes(spec: _RequestSpec, codes: list[_Code]) -> Iterable[_Decoded | Exception]:
    """Decode all payloads of a model by one run of its graph, and each vector by itself."""
    images: dict[int, image.Pixels | CodecError] = {}
    payloads: defaultdict[Decoder, dict[int, bytes]] = defaultdict(dict)
    for index, code in enumerate(codes):
        decoder = vector_decoder(code.decoder)
        if code.payload is not None:
            payloads[decoder][index] = code.payload
            continue
        try:
            images[index] = decoder.decode_vector(code.vector)
        except CodecError as error:
            images[index] = error
    for decoder, payload_of in payloads.items():
        images.update(zip(payload_of, decoder.decode_each(list(payload_of.values())), strict=True))
    write = IMAGE_WRITERS[spec.response_type]
    for index, code in enumerate(codes):
        pixels, card = images[index], code.decoder.card
        yield pixels if isinstance(pixels, CodecError) else _Decoded(card, write(pixels, card, {}))


def _decode_any_size(spec: _RequestSpec, code: _OfAnySize) -> _Decoded:
    card, more, missing = code.decoder.card, dict[str, Any](), None
    if spec.partial:
        pixels, areas = code.decoder.decode_partly(code.payload, code.pixels)
        more["missing"] = areas
        missing = json.dumps(areas)
    else:
        pixels = code.decoder.decode_raw(code.payload, code.pixels)
    if spec.bit_map:
        bits = bit_map(code.decoder.entropy, code.payload)
        more["bit_map"] = bits if bits is None else bits.astype(float).round(1).tolist()
    return _Decoded(card, IMAGE_WRITERS[spec.response_type](pixels, card, more), missing)


def _to_json(pixels: image.Pixels, card: "AnyCard", more: dict[str, Any]) -> bytes:
    fields = {**model_fields(card, pixels.shape), **more}
    return json.dumps({**fields, "image": base64.b64encode(image.write_png(pixels)).decode()}).encode()


# What is written of an image, its model, and further fields of JSON.
IMAGE_WRITERS: dict[str, Callable[[image.Pixels, "AnyCard", dict[str, Any]], bytes]] = {
    PNG: lambda pixels, _card, _more: image.write_png(pixels),
    WEBP: lambda pixels, _card, _more: image.write_webp(pixels),
    NPY: lambda pixels, _card, _more: npy_header(pixels.dtype, pixels.shape) + pixels.tobytes(),
    JSON: _to_json,
}
RESPONSE_TYPES = tuple(IMAGE_WRITERS)
