"""Cross-origin resource sharing (CORS): which pages of other origins may use the service in a browser, and how."""

from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp

METHODS = ("GET", "HEAD", "POST")
# Beside those that a page may always send, or read.
JSON_LENGTH = "Inference-Header-Content-Length"
REQUEST_HEADERS = ("Authorization", JSON_LENGTH, "Traceparent", "Tracestate", "X-Request-Id")
RESPONSE_HEADERS = (
    *(f"Latentwire-{name}" for name in ("Model", "Psnr-Db", "Max-Error", "Ood", "Fitted", "Doubt", "Missing")),
    *(JSON_LENGTH, "Retry-After", "WWW-Authenticate", "X-Request-Id"),
)
# Time for which a browser keeps the answer to a preflight; Chromium takes no longer one.
MAX_AGE_S = 7200


def share_with(origins: str, app: ASGIApp) -> ASGIApp:
    """Return `app` behind the middleware that answers preflights and allows `origins`, separated by commas.

    No cookie takes part: a page sends its key itself, and never with a preflight.
    """
    return CORSMiddleware(
        app,
        origins.split(","),
        METHODS,
        REQUEST_HEADERS,
        expose_headers=RESPONSE_HEADERS,
        max_age=MAX_AGE_S,
    )
