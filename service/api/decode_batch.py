"""`POST /decode/batch`: many codes enter, their images leave.

The steps of a request, in the order of this file: parse, admit, decode, respond.
"""

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, cast

import numpy as np
from starlette.types import Receive, Scope, Send

from latentwire.errors import BatchTooLarge, NotAcceptable
from latentwire.format.npy import npy_header
from latentwire.imaging import image
from latentwire.selection.json_fields import JsonImageList
from service.api.bodies.code_sources import CodeSource, open_code_source
from service.api.bodies.streams import BatchExchange, admit_batch
from service.api.state import state_of
from service.http.headers import ContentHeaders, parse_content_headers
from service.http.media_types import JSON, NPY
from service.http.negotiation import negotiate
from service.http.query import parse_query

if TYPE_CHECKING:
    from latentwire.any_size.decoder import AnySizeDecoder
    from latentwire.decoder import Decoder
    from latentwire.model.card import ModelCard
    from latentwire.registry import AnyCard, ComponentSet

PARAMETERS = frozenset({"model"})


class _ImageWriter(NamedTuple):
    """Writes the response body: `header`, then `add(images)` for images, uint8 (N, H, W, C), then `trailer`.

    `length` is that of the whole body, or None if it is not known.
    """

    header: bytes
    add: Callable[[image.Pixels], bytes]
    trailer: bytes
    length: int | None


async def decode_batch(scope: Scope, receive: Receive, send: Send) -> None:
    """Decode many codes."""
    state = state_of(scope)
    max_buffered_bytes = state.settings.max_body_bytes
    model = parse_query(scope["query_string"], PARAMETERS).get("model")
    headers = parse_content_headers(scope)
    response_type = negotiate(headers.accept.decode("latin-1"), RESPONSE_TYPES)
    decoders = cast("ComponentSet[Decoder | AnySizeDecoder]", state.registry.decoders)
    codes = open_code_source(headers.content_type.decode("latin-1"), decoders, model, state.settings)

    async with admit_batch(scope, receive, send) as exchange:
        # Codes are small: most batches are here, with all checksums verified, before the response begins.
        while codes.buffered_bytes <= max_buffered_bytes and await _feed_next(codes, exchange):
            pass
        if codes.decoder is None or codes.count is None:
            raise BatchTooLarge(
                f"the container does not say how many images it has, and is longer than the {max_buffered_bytes:,} "
                "bytes that may be buffered to count them; send it in parts"
            )
        card = codes.decoder.card
        if card.kind == "any-size":
            response_type = _type_for_any_size(headers)
        images = IMAGE_WRITERS[response_type](card, codes.count)
        exchange.prepare(response_type, card.full_name, length=images.length)
        await exchange.write(images.header)
        while True:
            decode_part = partial(_decode_part, codes, images)
            while (decoded := await exchange.run_part(decode_part, codes.next_pixels)) is not None:
                await exchange.write(decoded)
            if not await _feed_next(codes, exchange):
                break
        await exchange.write(images.trailer)


async def _feed_next(codes: CodeSource, exchange: BatchExchange) -> bool:
    """Feed the next bytes of the body; return False if there are none."""
    if (data := await exchange.read()) is None:
        return False
    codes.feed(data)
    if exchange.body_ended:
        codes.finish()
    return True


def _decode_part(codes: CodeSource, images: _ImageWriter) -> bytes | None:
    pixels = codes.decode_next()
    return None if pixels is None else images.add(pixels)


def _type_for_any_size(headers: ContentHeaders) -> str:
    try:
        return negotiate(headers.accept.decode("latin-1"), (JSON,))
    except NotAcceptable:
        raise NotAcceptable(f"images of any size are no array; ask for 'Accept: {JSON}'") from None


def _array_writer(card: "AnyCard", count: int) -> _ImageWriter:
    shape = cast("ModelCard", card).image
    header = npy_header(np.uint8, (count, *shape.as_tuple()))
    length = len(header) + count * shape.pixels * shape.channels
    return _ImageWriter(header, lambda pixels: pixels.tobytes(), b"", length)


def _json_writer(card: "AnyCard", _count: int) -> _ImageWriter:
    """Return the writer of images as PNG files in base64."""
    entries = JsonImageList(card, card.image.as_tuple() if card.kind == "vector" else None)

    def add(pixels: image.Pixels) -> bytes:
        return b"".join(entries.add_file(image.write_png(one)) for one in pixels)

    return _ImageWriter(entries.header, add, entries.trailer, None)


IMAGE_WRITERS = {NPY: _array_writer, JSON: _json_writer}
RESPONSE_TYPES = tuple(IMAGE_WRITERS)
