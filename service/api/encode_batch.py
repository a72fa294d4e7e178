"""`POST /encode/batch`: many images enter, their codes leave.

The steps of a request, in the order of this file: parse, admit, encode, respond.
"""

from functools import partial
from time import perf_counter
from typing import TYPE_CHECKING, cast

from starlette.types import Receive, Scope, Send

from latentwire.errors import OutOfDistribution
from latentwire.options import FITS, ON_OOD
from service.api.bodies.code_writers import CODE_WRITERS, CodeWriter
from service.api.bodies.image_sources import ImageSource, open_image_source
from service.api.bodies.streams import admit_batch
from service.api.encode_options import parse_verify
from service.api.state import state_of
from service.http.headers import parse_content_headers
from service.http.media_types import OCTETS
from service.http.negotiation import negotiate
from service.http.query import parse_choice, parse_query
from service.observability.request_record import record_batch_of_codes, record_ood

if TYPE_CHECKING:
    from latentwire.encoder import Encoder
    from service.inference.registry import ComponentSet

PARAMETERS = frozenset({"model", "fit", "on_ood", "verify"})
RESPONSE_TYPES = tuple(CODE_WRITERS)

# Time of one part of the work: single images wait no longer, and a thread switch costs as much as some images.
PART_S = 0.01


async def encode_batch(scope: Scope, receive: Receive, send: Send) -> None:
    """Encode many images as they arrive."""
    state = state_of(scope)
    settings = state.settings
    parameters = parse_query(scope["query_string"], PARAMETERS)
    encoder = cast("ComponentSet[Encoder]", state.registry.encoders).by_name(parameters.get("model"))
    headers = parse_content_headers(scope)
    response_type = negotiate(headers.accept.decode("latin-1"), RESPONSE_TYPES)
    fit = parse_choice("fit", FITS, parameters.get("fit", "strict"))
    images = open_image_source(headers.content_type.decode("latin-1"), encoder.card.image, fit, settings)
    on_ood = parse_choice("on_ood", ON_OOD, parameters.get("on_ood", settings.on_ood))
    verify = parse_verify(parameters.get("verify", "latent"), has_decoder=settings.verifies)
    guard = state.registry.guard(encoder.card.name)
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


def _encode_part(images: ImageSource, codes: CodeWriter) -> tuple[bytes, bool]:
    """Encode images that have arrived, for about `PART_S`; return the bytes, and whether images may be left."""
    until_s = perf_counter() + PART_S
    encoded = []
    while (pixels := images.take()) is not None:
        try:
            encoded.append(codes.add(pixels))
        except OutOfDistribution:
            # Once the response has begun, no problem document counts the refusal.
            record_ood("refused", 1)
            raise
        if perf_counter() > until_s:
            return b"".join(encoded), True
    return b"".join(encoded), False
