"""`POST /decode/batch`: many codes enter, their images leave.

The steps of a request, in the order of this file: parse, admit, decode, respond.
"""

from functools import partial
from typing import TYPE_CHECKING, cast

from starlette.requests import Request
from starlette.types import Send

from service.api.bodies.code_sources import CodeSource, open_code_source
from service.api.bodies.image_writers import IMAGE_WRITERS, ImageWriter
from service.api.bodies.streams import BodyStream, admit_batch
from service.api.state import state_of
from service.errors import BatchTooLarge
from service.http.headers import parse_content_headers
from service.http.negotiation import negotiate
from service.http.query import parse_query

if TYPE_CHECKING:
    from latentwire.decoder import Decoder
    from service.inference.registry import ComponentSet

PARAMETERS = frozenset({"model"})
RESPONSE_TYPES = tuple(IMAGE_WRITERS)


async def decode_batch(request: Request, send: Send) -> None:
    """Decode many codes."""
    state = state_of(request)
    settings = state.settings
    model = parse_query(request.scope["query_string"], PARAMETERS).get("model")
    headers = parse_content_headers(request.scope)
    response_type = negotiate(headers.accept.decode("latin-1"), RESPONSE_TYPES)
    decoders = cast("ComponentSet[Decoder]", state.registry.decoders)
    codes = open_code_source(headers.content_type.decode("latin-1"), decoders, model, settings)

    async with admit_batch(request, send) as (body, response, run_part):
        # Codes are small: most batches are here, with all checksums verified, before the response begins.
        await _read_ahead(codes, body, settings.max_body_bytes)
        if codes.decoder is None or codes.count is None:
            raise BatchTooLarge(
                f"the container does not say how many images it has, and is longer than the "
                f"{settings.max_body_bytes:,} bytes that may be buffered to count them; send it in parts"
            )
        images = IMAGE_WRITERS[response_type](codes.decoder.card, codes.count)
        response.prepare(response_type, codes.decoder.card.full_name, length=images.length)
        await response.write(images.header)
        while True:
            while (decoded := await run_part(partial(_decode_part, codes, images))) is not None:
                await response.write(decoded)
            if not await _feed_next(codes, body):
                break
        await response.write(images.trailer)


async def _read_ahead(codes: CodeSource, body: BodyStream, max_bytes: int) -> None:
    while codes.buffered_bytes <= max_bytes and await _feed_next(codes, body):
        pass


async def _feed_next(codes: CodeSource, body: BodyStream) -> bool:
    """Feed the next bytes of the body; return False if there are none."""
    if (data := await body.next()) is None:
        return False
    codes.feed(data)
    if body.ended:
        codes.finish()
    return True


def _decode_part(codes: CodeSource, images: ImageWriter) -> bytes | None:
    pixels = codes.decode_next()
    return None if pixels is None else images.add(pixels)
