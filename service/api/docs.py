"""`GET /docs`, `GET /`: the page that shows and tries the routes, under headers that keep all else out of it."""

import base64
import hashlib
import re

from fastapi import APIRouter, Request
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import HTMLResponse, RedirectResponse

STATIC_PATH = "/static-offline-docs"
_INLINE_SCRIPT = re.compile(r"<script>(.*?)</script>", re.DOTALL)

router = APIRouter(include_in_schema=False)


@router.head("/docs")
@router.get("/docs")
async def show_docs(request: Request) -> HTMLResponse:
    """Return the page; its files come from this process."""
    root = request.scope.get("root_path", "")
    page = get_swagger_ui_html(
        openapi_url=f"{root}{request.app.openapi_url}",
        title=request.app.title,
        swagger_js_url=f"{root}{STATIC_PATH}/swagger-ui-bundle.js",
        swagger_css_url=f"{root}{STATIC_PATH}/swagger-ui.css",
        swagger_favicon_url=f"{root}{STATIC_PATH}/favicon.png",
        swagger_ui_parameters=request.app.swagger_ui_parameters,
    )
    page.headers.update(page_headers(bytes(page.body).decode()))
    return page


@router.head("/")
@router.get("/")
async def show_the_way() -> RedirectResponse:
    """Lead a browser that opens the bare address to the page."""
    return RedirectResponse("docs", headers=page_headers(""))


def page_headers(page: str) -> dict[str, str]:
    """Return the headers of a page, under which it runs its own scripts and no others.

    Swagger UI sets styles within its elements, draws its arrows from `data:` and shows images of answers from `blob:`.
    """
    hashes = [
        base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in _INLINE_SCRIPT.findall(page)
    ]
    policy = {
        "default-src": "'none'",
        "script-src": " ".join(["'self'", *(f"'sha256-{digest}'" for digest in hashes)]),
        "style-src": "'self' 'unsafe-inline'",
        "img-src": "'self' data: blob:",
        "connect-src": "'self'",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
    }
    return {
        "Content-Security-Policy": "; ".join(f"{name} {value}" for name, value in policy.items()),
        "Referrer-Policy": "no-referrer",
    }
