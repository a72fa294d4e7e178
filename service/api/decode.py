"""`POST /decode`: a code enters, its image leaves."""

import base64
import io
import json
from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple, cast

import numpy as np
from starlette.requests import Request
from starlette.responses import Response

from latentwire.errors import CodecError, ModelMismatch
from latentwire.format.bitstream import read_bitstream
from latentwire.imaging import image
from service import errors
from service.api.decode_body import CodeJson, read_code_json
from service.api.state import state_of
from service.api.unary import Answer, work_on_body
from service.http.headers import read_head
from service.http.negotiation import choose_answer, media_type_of
from service.http.query import parse_query, read_framing
from service.scheduling.cost_model import BatchKey

if TYPE_CHECKING:
    from latentwire.decoder import Decoder
    from latentwire.model.card import ModelCard
    from service.inference.registry import ComponentSet

JSON = "application/json"
TAKEN = frozenset({"application/octet-stream", JSON, ""})
PARAMETERS = frozenset({"model", "framing"})
# Of a body: codes have some tens, JSON and images losslessly some thousands.
QUICK_BYTES = 16_384


def _to_npy(pixels: image.Pixels, _card: "ModelCard") -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, pixels, allow_pickle=False)
    return buffer.getvalue()


def _to_json(pixels: image.Pixels, card: "ModelCard") -> bytes:
    answer = {
        "model": card.name,
        "model_id": card.model_id,
        "shape": card.image.as_tuple(),
        "image": base64.b64encode(image.write_png(pixels)).decode(),
    }
    return json.dumps(answer).encode()


WRITERS: dict[str, Callable[[image.Pixels, "ModelCard"], bytes]] = {
    "image/png": lambda pixels, _card: image.write_png(pixels),
    "image/webp": lambda pixels, _card: image.write_webp(pixels),
    "application/x-npy": _to_npy,
    JSON: _to_json,
}
OFFERED = tuple(WRITERS)


async def decode(request: Request) -> Response:
    """Decode one code; each answer names the model in `Latentwire-Model`."""
    state = state_of(request)
    decoders = cast("ComponentSet[Decoder]", state.registry.decoders)
    head = read_head(request.scope)
    asked = _read_asked(request.scope["query_string"], head.accept, head.content_type)
    if asked.raw:
        _bare_decoder(decoders, asked.wanted)
    elif asked.wanted is not None:
        decoders.by_name(asked.wanted)  # refuses an unknown name before the body is read
    work = _Work(asked, decoders).decode_all
    decoded: _Decoded = await work_on_body(
        request, head.content_length, state, work, BatchKey("/decode", asked), QUICK_BYTES
    )
    return Answer(decoded.content, asked.answer_type, decoded.card.full_name)


class _Asked(NamedTuple):
    """What the head of a request asks for: the model, the form and the type of the body, and that of the answer."""

    wanted: str | None
    raw: bool
    answer_type: str
    media_type: str


class _Decoded(NamedTuple):
    """What became of one request's code: whose it is, and the answer's body."""

    card: "ModelCard"
    content: bytes


class _Work(NamedTuple):
    """The work on bodies of requests whose heads ask for the same: what is wrong with one is told to that one only."""

    asked: _Asked
    decoders: "ComponentSet[Decoder]"

    def decode_all(self, bodies: Sequence[bytes]) -> list[_Decoded | Exception]:
        """Decode the code in each body."""
        done: dict[int, _Decoded | Exception] = {}
        payloads: defaultdict[Decoder, dict[int, bytes]] = defaultdict(dict)
        for at, body in enumerate(bodies):
            try:
                decoder, code = self._read(body)
                if isinstance(code, bytes):
                    payloads[decoder][at] = code
                else:
                    done[at] = self._finish(decoder.card, decoder.decode_vector(code))
            except (CodecError, errors.ServiceError) as error:
                done[at] = error
        for decoder, of_decoder in payloads.items():
            for at, pixels in zip(of_decoder, decoder.decode_each(list(of_decoder.values())), strict=True):
                done[at] = pixels if isinstance(pixels, Exception) else self._finish(decoder.card, pixels)
        return [done[at] for at in range(len(bodies))]

    def _finish(self, card: "ModelCard", pixels: image.Pixels) -> _Decoded:
        return _Decoded(card, WRITERS[self.asked.answer_type](pixels, card))

    def _read(self, body: bytes) -> tuple["Decoder", bytes | list[float]]:
        """Return who is to decode a body, and the payload in it, or a point of the code space."""
        if self.asked.raw:
            return _bare_decoder(self.decoders, self.asked.wanted), body
        if self.asked.media_type == JSON:
            return self._read_json(read_code_json(body))
        return self._read_wire(body)

    def _read_wire(self, bitstream: bytes) -> tuple["Decoder", bytes]:
        code, wanted = read_bitstream(bitstream), self.asked.wanted
        if wanted is None:
            return self.decoders.by_fingerprint(code.fingerprint), code.payload
        decoder = self.decoders.by_name(wanted)
        decoder.check_fingerprint(code.fingerprint)
        return decoder, code.payload

    def _read_json(self, content: CodeJson) -> tuple["Decoder", bytes | list[float]]:
        bitstream, wanted = content.decoded_bitstream(), self.asked.wanted
        code: bytes | list[float]
        if bitstream is not None:
            # `model` is not looked at here: a receiver may know the same model, of this model_id, by another name.
            decoder, code = self._read_wire(bitstream)
        elif wanted is not None and content.model is not None and content.model != wanted:
            raise errors.InvalidParameter("the query and the JSON name different models")
        else:
            decoder, code = self.decoders.by_name(wanted or content.model), content.code or []
        _check_model_id(decoder, content.model_id)
        return decoder, code


# Most requests of a client have the same head.
@lru_cache(maxsize=64)
def _read_asked(query: bytes, accept: bytes, content_type: bytes) -> _Asked:
    parameters = parse_query(query, PARAMETERS)
    raw = read_framing(parameters.get("framing", "full")) == "raw"
    answer_type = choose_answer(accept.decode("latin-1"), OFFERED)
    media_type = media_type_of(content_type.decode("latin-1"))
    if media_type not in TAKEN:
        raise errors.UnsupportedMediaType(
            f"/decode takes a code, not {media_type[:64]}; name its type, for example with curl's "
            f"-H 'Content-Type: application/octet-stream' for bitstream or -H 'Content-Type: {JSON}' for JSON"
        )
    if raw and media_type == JSON:
        raise errors.InvalidParameter("framing=raw takes the payload itself, as application/octet-stream, not in JSON")
    return _Asked(parameters.get("model"), raw, answer_type, media_type)


def _bare_decoder(decoders: "ComponentSet[Decoder]", wanted: str | None) -> "Decoder":
    """Return the decoder that `model`, a name or `name@model_id`, names for a payload that cannot tell it itself."""
    if wanted is None:
        raise errors.InvalidParameter("framing=raw needs model=, as a payload alone does not say which model made it")
    name, _, model_id = wanted.partition("@")
    decoder = decoders.by_name(name)
    if model_id and model_id != decoder.card.model_id:
        raise ModelMismatch(
            f"the code was made by a model '{name[:64]}' with the model_id {model_id[:64]}; the one here has "
            f"{decoder.card.model_id}"
        )
    return decoder


def _check_model_id(decoder: "Decoder", model_id: str | None) -> None:
    if model_id is not None and model_id != decoder.card.model_id:
        raise ModelMismatch(
            f"the JSON gives the model_id {model_id[:64]}; model '{decoder.card.name}' has {decoder.card.model_id}"
        )
