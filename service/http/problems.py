"""Every error -> its status, its stable code and its title, in one table; sent as RFC 9457 problem documents.

The `detail` is the error's own sentence. An error that was not raised on purpose gets a general sentence, which tells
nothing about the inside of the service.
"""

import json
from typing import NamedTuple

from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from latentwire import errors as codec_errors
from service import errors
from service.http.media_types import PROBLEM
from service.observability.request_record import record_problem, response_has_started

PROBLEM_MEDIA_TYPE = PROBLEM


class Problem(NamedTuple):
    """What all responses to one kind of error have in common."""

    status: int
    code: str
    title: str

    def document(self, detail: str) -> dict[str, str | int]:
        """Return the members of the problem document; `detail` is a sentence for people."""
        # A name that cannot be opened.
        uri = f"urn:problem-type:latentwire:{self.code}"
        return {"type": uri, "title": self.title, "status": self.status, "detail": detail, "code": self.code}


NOT_READY = Problem(503, "not-ready", "Not ready")
MODEL_UNUSABLE = Problem(503, "model-unusable", "The model's files cannot be used")
NOT_FOUND = Problem(404, "not-found", "No such route")
METHOD_NOT_ALLOWED = Problem(405, "method-not-allowed", "The route does not take this method")
INTERNAL_ERROR = Problem(500, "internal-error", "Internal error")
STALLED = Problem(408, "request-timeout", "Request timed out")
# The server sends these itself, without a request.
INVALID_REQUEST = Problem(400, "invalid-request", "Not an HTTP request")
HEAD_TOO_LARGE = Problem(431, "headers-too-large", "The request's headers are too large")

PROBLEMS: dict[type[Exception], Problem] = {
    codec_errors.InvalidImage: Problem(400, "invalid-image", "Not a readable image"),
    codec_errors.ImageTooLarge: Problem(413, "image-too-large", "Too many pixels"),
    codec_errors.ImageMismatch: Problem(422, "image-mismatch", "The image does not fit the model"),
    codec_errors.UncodableImage: Problem(422, "uncodable-image", "The image's code lies too far out"),
    codec_errors.OutOfDistribution: Problem(422, "out-of-distribution", "Not of the kind that the model is for"),
    codec_errors.TargetMissed: Problem(422, "target-missed", "No code is as small, or as good, as asked for"),
    codec_errors.InvalidCode: Problem(400, "invalid-code", "Not a code, or a damaged one"),
    codec_errors.DamagedChunk: Problem(400, "damaged-chunk", "A part of a container is damaged or missing"),
    codec_errors.InvalidJson: Problem(400, "invalid-json", "Not the JSON of a code"),
    codec_errors.InvalidVector: Problem(400, "invalid-vector", "Not a code vector of this model"),
    codec_errors.UnsupportedVersion: Problem(400, "unsupported-version", "A code of another version"),
    codec_errors.ModelMismatch: Problem(409, "model-mismatch", "The code of another model"),
    codec_errors.InvalidCard: MODEL_UNUSABLE,
    codec_errors.MissingGraph: MODEL_UNUSABLE,
    codec_errors.InvalidGraph: MODEL_UNUSABLE,
    codec_errors.InvalidKeyFile: MODEL_UNUSABLE,
    codec_errors.UntrustedModel: MODEL_UNUSABLE,
    codec_errors.GoldenMismatch: NOT_READY,
    codec_errors.ModelNotReady: NOT_READY,
    codec_errors.UnusableFolder: MODEL_UNUSABLE,
    errors.BatchTooLarge: Problem(413, "batch-too-large", "Too many images in one batch"),
    errors.BodyStalled: STALLED,
    errors.BodyTooLarge: Problem(413, "body-too-large", "The body is too long"),
    errors.ClientGone: Problem(400, "incomplete-body", "The request was not sent to its end"),
    errors.Forbidden: Problem(403, "forbidden", "The key does not open this route"),
    codec_errors.InvalidArray: Problem(400, "invalid-array", "Not an npy file of the wanted kind"),
    errors.InvalidMultipart: Problem(400, "invalid-multipart", "Not a form with exactly one file"),
    errors.InvalidParameter: Problem(400, "invalid-parameter", "Not a parameter or value of this route"),
    errors.NotAcceptable: Problem(406, "not-acceptable", "No acceptable response type"),
    errors.NotReady: NOT_READY,
    errors.Overloaded: Problem(429, "overloaded", "Too many requests at the moment"),
    errors.Unauthenticated: Problem(401, "unauthenticated", "No valid key"),
    codec_errors.UnknownModel: Problem(404, "unknown-model", "No such model"),
    errors.UnsupportedMediaType: Problem(415, "unsupported-media-type", "The body is of another type"),
    errors.WrongRole: Problem(404, "wrong-role", "The route of the other role"),
}

_HEADERS: dict[type[Exception], dict[str, str]] = {
    errors.Overloaded: {"Retry-After": "1"},
    # The server does not wait for the rest of the body.
    errors.BodyStalled: {"Connection": "close"},
}

_OTHERS = (INVALID_REQUEST, HEAD_TOO_LARGE, NOT_FOUND, METHOD_NOT_ALLOWED, INTERNAL_ERROR)
ALL_PROBLEMS = frozenset({*PROBLEMS.values(), *_OTHERS})


def problem_response(problem: Problem, detail: str, headers: dict[str, str] | None = None) -> Response:
    """Return the response for a problem; `detail` is a sentence for the person who sent the request."""
    record_problem(problem.code)
    return Response(problem_json(problem, detail), problem.status, headers, PROBLEM_MEDIA_TYPE)


def problem_json(problem: Problem, detail: str) -> bytes:
    """Return the problem document as JSON."""
    return json.dumps(problem.document(detail), ensure_ascii=False).encode()


def response_to(error: Exception) -> Response:
    """Return the response to an error: of the table, of Starlette's routing, or unexpected."""
    if (problem := PROBLEMS.get(type(error))) is not None:
        return problem_response(problem, str(error), _HEADERS.get(type(error)))
    if isinstance(error, HTTPException) and error.status_code == NOT_FOUND.status:
        return problem_response(NOT_FOUND, "this route does not exist; /docs lists the routes")
    if isinstance(error, HTTPException) and error.status_code == METHOD_NOT_ALLOWED.status:
        allowed = ", ".join(sorted(method.strip() for method in (error.headers or {}).get("Allow", "").split(",")))
        return problem_response(METHOD_NOT_ALLOWED, f"this route takes {allowed}", {"Allow": allowed})
    return problem_response(INTERNAL_ERROR, "the service failed on this request; its log says why")


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
            response = response_to(error)
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
