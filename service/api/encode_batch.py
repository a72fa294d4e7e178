"""`POST /encode/batch`: many images enter, their codes leave.

The steps of a request, in the order of this file: parse, admit, encode, respond.
"""

from functools import partial
from typing import TYPE_CHECKING, Literal, cast

from starlette.types import Receive, Scope, Send

from latentwire.errors import ImageMismatch, NotAcceptable
from latentwire.format.image_source import ImageSource
from latentwire.options import Verify
from service.api.bodies.image_sources import open_image_source
from service.api.bodies.streams import admit_batch
from service.api.encode_options import (
    BATCH_PARAMETERS,
    EncodeOptions,
    Models,
    choose_models,
    parse_encode_options,
    parse_verify,
)
from service.api.state import state_of
from service.http.headers import parse_content_headers
from service.http.media_types import JSON, NPY, OCTETS
from service.http.negotiation import negotiate
from service.http.query import parse_query
from service.observability.request_record import record_batch_of_codes, record_ood
from service.settings import Settings

if TYPE_CHECKING:
    from latentwire.any_size.sender import AnySizeSender
    from latentwire.selection.batches import BatchEncoder

FORMS: dict[str, Literal["container", "array", "json"]] = {OCTETS: "container", NPY: "array", JSON: "json"}
RESPONSE_TYPES = tuple(FORMS)


async def encode_batch(scope: Scope, receive: Receive, send: Send) -> None:
    """Encode many images as they arrive."""
    state = state_of(scope)
    settings = state.settings
    parameters = parse_query(scope["query_string"], BATCH_PARAMETERS)
    options = parse_encode_options(parameters, settings.on_ood, has_decoder=settings.verifies)
    verify = parse_verify(parameters.get("verify", "latent"), has_decoder=settings.verifies)
    models = choose_models(state.registry, options, settings)
    headers = parse_content_headers(scope)
    response_type = negotiate(headers.accept.decode("latin-1"), RESPONSE_TYPES)
    images = open_image_source(headers.content_type.decode("latin-1"), settings)
    if response_type == OCTETS:
        record_batch_of_codes()

    async with admit_batch(scope, receive, send) as exchange:
        work: BatchEncoder | None = None
        while (data := await exchange.read()) is not None:
            images.feed(data)
            if work is None and images.opened:
                choose = partial(_open, response_type, options, verify, models, images, settings)
                work = await exchange.run_part(choose)
                exchange.prepare(response_type, work.card.full_name, max_buffered_bytes=settings.max_body_bytes)
                await exchange.write(work.start(images.count))
            more = work is not None
            while work is not None and more:
                encoded, more = await exchange.run_part(work.encode_part, work.next_pixels)
                await exchange.write(encoded)
        images.finish()
        if work is not None:
            await exchange.write(await exchange.run_part(work.finish))


def _open(
    response_type: str,
    options: EncodeOptions,
    verify: Verify,
    models: Models,
    images: ImageSource,
    settings: Settings,
) -> "BatchEncoder":
    """Return what encodes the images, as the first of them decides; see `choose_models` for the models."""
    from latentwire.selection.batches import VECTOR_BATCHES, AnySizeBatch  # a receiver must not load this code

    form = FORMS[response_type]
    if (guard := models.guard) is not None:
        reader = settings.image_reader(guard.card.image, options.fit, options.background)
        try:
            images.check_first(reader)
        except ImageMismatch:
            if not options.may_use_any_size or models.any_size() is None:
                raise
        else:
            options.check_for_vector_batch()
            encoder = VECTOR_BATCHES[form]
            return encoder(guard, images, reader, options.on_ood, verify, settings.max_body_bytes, record_ood)
    options.check_for_any_size(has_decoder=settings.verifies)
    if form == "array":
        raise NotAcceptable(f"images of any size have no latent vectors of one length; ask for {OCTETS} or {JSON}")
    any_size_reader = settings.any_size_reader(options.background)
    images.check_first(any_size_reader)
    sender = cast("AnySizeSender", models.any_size())
    encode = partial(options.encode_any_size, sender, measure=form == "json")
    work_of = partial(options.work_of, settings=settings)
    return AnySizeBatch(sender.card, images, any_size_reader, encode, work_of, form)
