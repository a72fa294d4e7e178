"""The gate before all routes, where keys are asked for: it answers 401 or 403, before any of the body is read.

Sent as `Authorization: Bearer KEY`, as RFC 6750 has it, and in no other way: clients, proxies and log collectors know
that this header is secret, and know nothing of the kind of an `X-Api-Key` or a query parameter.
"""

from collections.abc import Callable, Iterable

from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from service.errors import Forbidden, Unauthenticated
from service.http.problems import PROBLEMS, problem_response
from service.middleware.api_keys import Keys
from service.settings import Settings

CHALLENGE = 'Bearer realm="latentwire"'
# A browser cannot send a key when it opens a page, and the pages tell nothing but what routes there are.
_PAGES = ("/", "/docs", "/openapi.json")
_PAGE_FILES = "/static-offline-docs/"
_PROBES = ("/livez", "/readyz")


class AuthMiddleware:
    """Passes on to `app` what asks for an open path, or brings a key that opens the path.

    Every path that is not open takes a key, whether there is a route or not; a half's routes take a key of that half.
    """

    def __init__(self, app: ASGIApp, keys: Callable[[], Keys], open_paths: Iterable[str]) -> None:
        self._app = app
        self._keys = keys
        self._open = frozenset(open_paths)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer as ASGI has it."""
        if scope["type"] != "http" or self.is_open(scope["path"]):
            await self._app(scope, receive, send)
        elif (refusal := self._refusal(scope)) is not None:
            await refusal(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def is_open(self, path: str) -> bool:
        """Whether the path takes no key."""
        return path in self._open or path.startswith(_PAGE_FILES)

    def _refusal(self, scope: Scope) -> Response | None:
        credentials = [value for name, value in scope["headers"] if name == b"authorization"]
        if not credentials:
            return _refuse(Unauthenticated("this route takes a key: send it as 'Authorization: Bearer KEY'"), CHALLENGE)
        scheme, _, key = credentials[0].partition(b" ")
        if len(credentials) > 1 or scheme.lower() != b"bearer":
            sentence = "this route takes one key, as 'Authorization: Bearer KEY', and no other credentials"
            return _refuse(Unauthenticated(sentence), CHALLENGE)
        holder = self._keys().holder_of(key.strip())
        if holder is None:
            return _refuse(Unauthenticated("the key is not valid here"), f'{CHALLENGE}, error="invalid_token"')
        needed = _needed(scope["path"])
        if needed is not None and holder not in (needed, "both"):
            error = Forbidden(f"the key is a {holder}'s; this route takes a {needed}'s")
            return _refuse(error, f'{CHALLENGE}, error="insufficient_scope"')
        return None


def open_paths(settings: Settings) -> frozenset[str]:
    """Return the paths that take no key, but for the files of the page at /docs."""
    return frozenset((*_PAGES, *_PROBES, *(("/metrics",) if settings.metrics_without_auth else ())))


def _needed(path: str) -> str | None:
    if path.startswith("/encode"):
        return "sender"
    return "receiver" if path.startswith("/decode") else None


def _refuse(error: Unauthenticated | Forbidden, challenge: str) -> Response:
    return problem_response(PROBLEMS[type(error)], str(error), {"WWW-Authenticate": challenge})
