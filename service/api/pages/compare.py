"""`POST /compare`: an image file enters, and what the best classical file within a number of bytes shows leaves."""

from functools import partial

from starlette.responses import JSONResponse
from starlette.types import Receive, Scope, Send

from latentwire.errors import InvalidParameter, UnsupportedMediaType
from latentwire.imaging import classical
from latentwire.imaging.formats import parse_formats
from latentwire.imaging.reader import AnySizeReader
from service.api.bodies.read_body import read_body, wait_for_disconnect
from service.api.state import state_of
from service.http.headers import client_of, parse_content_headers
from service.http.media_types import JSON
from service.http.negotiation import is_binary, media_type_of, negotiate
from service.http.query import parse_positive_integer, parse_query

PARAMETERS = frozenset({"max_bytes"})
# About as many as a search writes. A picture is admitted as one of so many times its pixels.
FILES_WRITTEN = 20


async def compare(scope: Scope, receive: Receive, send: Send) -> None:
    """Write one image as a classical file."""
    state, headers = state_of(scope), parse_content_headers(scope)
    settings = state.settings
    max_bytes = parse_positive_integer("max_bytes", parse_query(scope["query_string"], PARAMETERS).get("max_bytes"))
    if max_bytes is None:
        raise InvalidParameter("max_bytes is missing; say how many bytes the file may have")
    negotiate(headers.accept.decode("latin-1"), (JSON,))
    body_type = media_type_of(headers.content_type.decode("latin-1"))
    if not (body_type.startswith("image/") or is_binary(body_type)):
        raise UnsupportedMediaType(f"/compare takes an image file, not {body_type[:64]}; name its type, as image/png")
    max_pixels = min(classical.MAX_PIXELS, settings.max_image_pixels)
    reader = AnySizeReader("auto", max_pixels, parse_formats(settings.image_formats))
    gone = partial(wait_for_disconnect, receive)
    with state.admission.reserve(client_of(scope)) as budget:
        body = await read_body(receive, headers, settings, budget, settings.max_body_bytes)
        pixels = await state.admission.run(lambda files: [reader.read(file).pixels for file in files], body, gone)
        search = partial(classical.best_file, pixels, max_bytes)
        cost_pixels = FILES_WRITTEN * pixels.shape[0] * pixels.shape[1]
        fields = await state.admission.run_pixels(lambda: search().to_dict(), cost_pixels, gone)
    await JSONResponse(fields, headers={"Vary": "Accept"})(scope, receive, send)
