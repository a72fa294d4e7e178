"""Authentication and authorization by API key: answers 401 or 403 before any of the body is read.

A key is sent as `Authorization: Bearer KEY` (RFC 6750) and in no other way: clients, proxies and log collectors treat
this header as secret, but not an `X-Api-Key` header or a query parameter.
"""

from collections.abc import Callable, Iterable

from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from latentwire.errors import Forbidden, Unauthenticated
from latentwire.problems import PROBLEMS
from service.http.problems import problem_response
from service.middleware.api_keys import Keys, role_of
from service.settings import Role, Settings

CHALLENGE = 'Bearer realm="latentwire"'
# A browser cannot send a key when it opens a page, and the pages show nothing but the list of routes.
_PAGES = ("/", "/docs", "/openapi.json")
_PAGE_FILES = ("/static-offline-docs/", "/page/")
_PROBES = ("/livez", "/readyz", "/v2/health/live", "/v2/health/ready")


class AuthMiddleware:
    """Passes on requests for open paths, and requests with a key that is valid for their path.

    Every other path needs a key, whether it has a route or not. The routes of a role need a key of that role.
    """

    def __init__(self, app: ASGIApp, keys: Callable[[], Keys], open_paths: Iterable[str]) -> None:
        """Protect `app`; `keys` returns the keys that are valid now."""
        self._app = app
        self._keys = keys
        self._open = frozenset(open_paths)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or refuse it."""
        is_open = scope["type"] != "http" or scope["path"] in self._open or scope["path"].startswith(_PAGE_FILES)
        refusal = None if is_open else self._refusal(scope)
        await (refusal or self._app)(scope, receive, send)

    def _refusal(self, scope: Scope) -> Response | None:
        path = scope["path"]
        credentials = [value for name, value in scope["headers"] if name == b"authorization"]
        if not credentials:
            return _refuse(path, Unauthenticated("this route needs a key: send it as 'Authorization: Bearer KEY'"))
        scheme, _, key = credentials[0].partition(b" ")
        if len(credentials) > 1 or scheme.lower() != b"bearer":
            message = "this route takes one key, as 'Authorization: Bearer KEY', and no other credentials"
            return _refuse(path, Unauthenticated(message))
        key_role = role_of(key.strip(), self._keys())
        if key_role is None:
            return _refuse(path, Unauthenticated("the key is not valid for this service"), "invalid_token")
        route_role = _role_of(path)
        if route_role is not None and key_role not in (route_role, "both"):
            error = Forbidden(f"the key is for a {key_role}; this route needs a key for a {route_role}")
            return _refuse(path, error, "insufficient_scope")
        return None


def open_paths(settings: Settings) -> frozenset[str]:
    """Return the paths that need no key, apart from the files of the page at /docs."""
    return frozenset((*_PAGES, *_PROBES, *(("/metrics",) if settings.metrics_without_auth else ())))


def _role_of(path: str) -> Role | None:
    if path.startswith(("/encode", "/compare")) or path.endswith(".encoder/infer"):
        return "sender"
    return "receiver" if path.startswith("/decode") or path.endswith(".decoder/infer") else None


def _refuse(path: str, error: Unauthenticated | Forbidden, code: str | None = None) -> Response:
    """Return the response to `error`; `code` is an error code of RFC 6750."""
    challenge = CHALLENGE if code is None else f'{CHALLENGE}, error="{code}"'
    return problem_response(path, PROBLEMS[type(error)], str(error), {"WWW-Authenticate": challenge})
