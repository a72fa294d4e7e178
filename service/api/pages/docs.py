"""`GET /docs`, `GET /openapi.json`, `GET /`: the description of the API, and two pages to try it, without a CDN."""

from collections.abc import AsyncIterator
from functools import cache
from importlib.util import find_spec
from mimetypes import guess_type
from pathlib import Path
from typing import TYPE_CHECKING, cast

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response, StreamingResponse

from service.api.bodies.streams import PIECE_BYTES
from service.api.openapi import openapi_document
from service.api.state import state_of

if TYPE_CHECKING:
    from importlib.machinery import ModuleSpec

# The addresses in the pages are relative, so that they also work behind a proxy that adds a path prefix.
STATIC_PATH = "static-offline-docs"
# The browser runs the page's own scripts and no others. Swagger UI sets styles within its elements, draws arrows from
# `data:` and shows images of responses from `blob:`.
_CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
PAGE_HEADERS = {"Content-Security-Policy": _CONTENT_SECURITY_POLICY, "Referrer-Policy": "no-referrer"}
# The page at `/` has neither styles nor scripts within its elements. `blob:` is a picture that a visitor opens.
_HOME_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HOME_HEADERS = {**PAGE_HEADERS, "Content-Security-Policy": _HOME_POLICY}
_HOME_FOLDER = Path(__file__).parents[2] / "page"


async def show_docs(request: Request) -> Response:
    """Return the page. Its files come from this process."""
    path = request.scope["raw_path"]
    if slashes := len(path) - len(path.rstrip(b"/")):
        # The page's relative addresses would lead elsewhere.
        return RedirectResponse("../" * slashes + "docs", headers=PAGE_HEADERS)
    return HTMLResponse(_files()[f"/{STATIC_PATH}/docs.html"], headers=PAGE_HEADERS)


async def show_home(request: Request) -> Response:
    """Return the page at `/`, with the half that this process answers."""
    role = state_of(request.scope).settings.role
    html = _files()["/page/index.html"].replace(b'data-role="both"', f'data-role="{role}"'.encode())
    return HTMLResponse(html, headers=_HOME_HEADERS)


async def show_file(request: Request) -> Response:
    """Return a file of a page, from memory: a slow client keeps no file open.

    Raises:
        HTTPException: no page has such a file.
    """
    path = request.scope["path"]
    content = _files().get(path)
    if content is None:
        raise HTTPException(404)
    # Swagger UI changes rarely, and is large.
    caching = "max-age=86400" if path.startswith(f"/{STATIC_PATH}/") else "no-cache"
    headers = {"Content-Length": str(len(content)), "Cache-Control": caching}
    return StreamingResponse(_pieces_of(content), headers=headers, media_type=guess_type(path)[0])


async def _pieces_of(content: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(content), PIECE_BYTES):
        yield content[start : start + PIECE_BYTES]


@cache
def _files() -> dict[str, bytes]:
    # The package also holds code, which is not imported.
    package = cast("ModuleSpec", find_spec("fastapi_offline"))
    folder = Path(str(package.origin)).with_name("static")
    of_docs = [folder / name for name in ("swagger-ui-bundle.js", "swagger-ui.css", "favicon.png")]
    of_docs += _HOME_FOLDER.with_name("swagger").iterdir()
    files = {f"/{STATIC_PATH}/{file.name}": file.read_bytes() for file in of_docs}
    return files | {f"/page/{file.name}": file.read_bytes() for file in _HOME_FOLDER.iterdir()}


async def show_openapi(request: Request) -> Response:
    """Return the OpenAPI document of this process."""
    state = state_of(request.scope)
    return JSONResponse(openapi_document(state.settings, state.version))


async def redirect_to_docs(_request: Request) -> Response:
    """Redirect a browser that opens the bare address to the page."""
    return RedirectResponse("docs", headers=PAGE_HEADERS)
