"""Every error -> its problem document, by the table in `latentwire.problems`.

An error that was not raised on purpose gets a general sentence, which tells nothing about the inside of the service.
"""

import json

from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from latentwire.errors import BodyStalled, CodecError, Overloaded
from latentwire.problems import INTERNAL_ERROR, METHOD_NOT_ALLOWED, NOT_FOUND, PROBLEM_MEDIA_TYPE, PROBLEMS, Problem
from service.observability.request_record import record_problem, response_has_started

_HEADERS: dict[type[Exception], dict[str, str]] = {
    Overloaded: {"Retry-After": "1"},
    # The server does not wait for the rest of the body.
    BodyStalled: {"Connection": "close"},
}


def problem_response(path: str, problem: Problem, detail: str, headers: dict[str, str] | None = None) -> Response:
    """Return the response for a problem at a path; `detail` is a sentence for the person who sent the request."""
    record_problem(problem.code)
    return Response(problem_json(problem, detail, path), problem.status, headers, PROBLEM_MEDIA_TYPE)


def problem_json(problem: Problem, detail: str, path: str = "") -> bytes:
    """Return the problem document as JSON."""
    # Clients of the Open Inference Protocol read the member `error` alone.
    more = {"error": detail} if path.startswith("/v2") else {}
    return json.dumps(problem.document(detail) | more, ensure_ascii=False).encode()


def response_to(error: Exception, path: str) -> Response:
    """Return the response to an error at a path: of the table, of Starlette's routing, or unexpected."""
    if isinstance(error, CodecError) and (problem := PROBLEMS.get(type(error))) is not None:
        return problem_response(path, problem, str(error), _HEADERS.get(type(error)))
    if isinstance(error, HTTPException) and error.status_code == NOT_FOUND.status:
        return problem_response(path, NOT_FOUND, "this route does not exist; /docs lists the routes")
    if isinstance(error, HTTPException) and error.status_code == METHOD_NOT_ALLOWED.status:
        allowed = ", ".join(sorted(method.strip() for method in (error.headers or {}).get("Allow", "").split(",")))
        return problem_response(path, METHOD_NOT_ALLOWED, f"this route takes {allowed}", {"Allow": allowed})
    return problem_response(path, INTERNAL_ERROR, "the service failed on this request; its log says why")


class ProblemMiddleware:
    """ASGI middleware that sends each error of `app` as a problem document.

    It does what two layers of Starlette would do for every request, in less time.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on; raise an unexpected error after its response, for the server's log."""
        try:
            await self._app(scope, receive, send)
        except Exception as error:
            if scope["type"] != "http" or response_has_started():
                raise
            response = response_to(error, scope["path"])
            await response(scope, receive, send)
            if response.status_code == INTERNAL_ERROR.status:
                raise
            _forget_frames(error)


def _forget_frames(error: BaseException | None) -> None:
    """Free what the frames in tracebacks hold: the body, and often the error itself.

    Only the garbage collector, which comes rarely, would free such a circle.
    """
    while error is not None:
        error.__traceback__ = None
        error = error.__context__
