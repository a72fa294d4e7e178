"""`POST /decode`: a code enters, its image leaves.

The steps of a request, in the order of this file: parse, admit, batch, decode, respond.
"""

import base64
import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache, partial
from typing import TYPE_CHECKING, NamedTuple, cast

from starlette.types import Receive, Scope, Send

from latentwire.batching.batcher import map_ok
from latentwire.batching.cost_model import BatchKey
from latentwire.errors import CodecError, InvalidParameter, ModelMismatch, UnsupportedMediaType
from latentwire.format.bitstream import read_bitstream
from latentwire.format.code_json import CodeJson, max_code_bytes, parse_code_json
from latentwire.format.npy import npy_header
from latentwire.imaging import image
from latentwire.options import FRAMINGS, Framing
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
    from latentwire.decoder import Decoder
    from latentwire.model.card import ModelCard
    from latentwire.registry import ComponentSet

PARAMETERS = frozenset({"model", "framing"})
# Longest body of predictable cost: codes have some tens of bytes, JSON and lossless images some thousands.
MAX_INLINE_BODY_BYTES = 16_384


class _RequestSpec(NamedTuple):
    """What the query and the headers of a request ask for. Requests with equal specs may share a micro-batch."""

    model: str | None
    framing: Framing
    response_type: str
    body_type: str


class _Code(NamedTuple):
    """The code of one request: the payload of a bitstream, or a point of the latent space."""

    decoder: "Decoder"
    payload: bytes | None
    vector: Sequence[float] = ()


# The model, and the response body.
_Decoded = tuple["ModelCard", bytes]


async def decode(scope: Scope, receive: Receive, send: Send) -> None:
    """Decode one code."""
    state = state_of(scope)
    decoders = cast("ComponentSet[Decoder]", state.registry.decoders)
    headers = parse_content_headers(scope)
    spec = _parse(scope["query_string"], headers.accept, headers.content_type)
    if spec.model is not None or spec.framing == "raw":
        _named_decoder(spec, decoders)  # refuses an unknown name before the body is read
    work = partial(_decode_bodies, spec, decoders)
    with state.admission.reserve(client_of(scope)) as budget:
        max_bytes = min(state.settings.max_body_bytes, _max_code_bytes(decoders))
        body = await read_body(receive, headers, state.settings, budget, max_bytes)
        batch_key = BatchKey("/decode", spec) if len(body) <= MAX_INLINE_BODY_BYTES else None
        card, content = await state.admission.run(work, body, partial(wait_for_disconnect, receive), batch_key)
    await send_content(send, content, spec.response_type, card.full_name)


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
    return _RequestSpec(parameters.get("model"), framing, response_type, body_type)


@lru_cache(maxsize=1)
def _max_code_bytes(decoders: "ComponentSet[Decoder]") -> int:
    return max_code_bytes(decoder.card for decoder in decoders.by_model.values())


def _decode_bodies(
    spec: _RequestSpec, decoders: "ComponentSet[Decoder]", bodies: Sequence[bytes]
) -> list[_Decoded | Exception]:
    """Decode the code in each body; an error takes the place of its own result only."""
    return map_ok([_read_code(spec, decoders, body) for body in bodies], partial(_decode_codes, spec))


def _read_code(spec: _RequestSpec, decoders: "ComponentSet[Decoder]", body: bytes) -> _Code | Exception:
    try:
        if spec.framing == "raw":
            return _Code(_named_decoder(spec, decoders), body)
        if spec.body_type == JSON:
            return _code_of_json(spec, decoders, parse_code_json(body))
        return _code_of_bitstream(spec, decoders, body)
    except CodecError as error:
        return error


def _code_of_bitstream(spec: _RequestSpec, decoders: "ComponentSet[Decoder]", bitstream: bytes) -> _Code:
    code = read_bitstream(bitstream)
    return _Code(find_decoder(decoders, spec.model, code.fingerprint), code.payload)


def _code_of_json(spec: _RequestSpec, decoders: "ComponentSet[Decoder]", content: CodeJson) -> _Code:
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


def _named_decoder(spec: _RequestSpec, decoders: "ComponentSet[Decoder]") -> "Decoder":
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
        if code.payload is not None:
            payloads[code.decoder][index] = code.payload
            continue
        try:
            images[index] = code.decoder.decode_vector(code.vector)
        except CodecError as error:
            images[index] = error
    for decoder, payload_of in payloads.items():
        images.update(zip(payload_of, decoder.decode_each(list(payload_of.values())), strict=True))
    write = IMAGE_WRITERS[spec.response_type]
    for index, code in enumerate(codes):
        pixels, card = images[index], code.decoder.card
        yield pixels if isinstance(pixels, CodecError) else (card, write(pixels, card))


def _to_json(pixels: image.Pixels, card: "ModelCard") -> bytes:
    return json.dumps({**model_fields(card), "image": base64.b64encode(image.write_png(pixels)).decode()}).encode()


IMAGE_WRITERS: dict[str, Callable[[image.Pixels, "ModelCard"], bytes]] = {
    PNG: lambda pixels, _card: image.write_png(pixels),
    WEBP: lambda pixels, _card: image.write_webp(pixels),
    NPY: lambda pixels, _card: npy_header(pixels.dtype, pixels.shape) + pixels.tobytes(),
    JSON: _to_json,
}
RESPONSE_TYPES = tuple(IMAGE_WRITERS)
