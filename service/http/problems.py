"""Every error -> its status, its stable code and its title, in one table; answered as RFC 9457 problem documents.

An exception enters, an `application/problem+json` response leaves. The `detail` is the error's own sentence; what was
not raised on purpose gets a sentence that says nothing of the inside.
"""

import json
from http import HTTPStatus
from typing import NamedTuple

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from latentwire import errors as codec_errors
from service import errors
from service.observability.request_record import record_problem

PROBLEM_MEDIA_TYPE = "application/problem+json"
RETRY_AFTER_S = 1


class Problem(NamedTuple):
    """What is the same each time an error is answered."""

    status: int
    code: str
    title: str

    @property
    def type_uri(self) -> str:
        """The problem's type: a name, not an address to be opened."""
        return f"urn:problem-type:latentwire:{self.code}"

    def document(self, detail: str) -> dict[str, str | int]:
        """Return the members of the problem document; `detail` is a sentence for people."""
        return {
            "type": self.type_uri,
            "title": self.title,
            "status": self.status,
            "detail": detail,
            "code": self.code,
        }


NOT_READY = Problem(503, "not-ready", "Not ready")
MODEL_UNUSABLE = Problem(503, "model-unusable", "The model's files cannot be used")
NOT_FOUND = Problem(404, "not-found", "No such route")
METHOD_NOT_ALLOWED = Problem(405, "method-not-allowed", "The route does not take this method")
INTERNAL_ERROR = Problem(500, "internal-error", "Internal error")
STALLED = Problem(408, "request-timeout", "Request timed out")
# What the server answers itself, before there is a request.
INVALID_REQUEST = Problem(400, "invalid-request", "Not an HTTP request")
HEAD_TOO_LARGE = Problem(431, "headers-too-large", "The request's head is too large")
INVALID_PARAMETER = Problem(400, "invalid-parameter", "Not a parameter or value of this route")

PROBLEMS: dict[type[Exception], Problem] = {
    codec_errors.InvalidImage: Problem(400, "invalid-image", "Not a readable image"),
    codec_errors.ImageTooLarge: Problem(413, "image-too-large", "Too many pixels"),
    codec_errors.ImageMismatch: Problem(422, "image-mismatch", "The image does not fit the model"),
    codec_errors.UncodableImage: Problem(422, "uncodable-image", "The image's code lies too far out"),
    codec_errors.OutOfDistribution: Problem(422, "out-of-distribution", "Not of the kind that the model is for"),
    codec_errors.TargetMissed: Problem(422, "target-missed", "No code is as small, or as good, as asked for"),
    codec_errors.InvalidCode: Problem(400, "invalid-code", "Not a code, or a damaged one"),
    codec_errors.DamagedChunk: Problem(400, "damaged-chunk", "A part of a container is damaged or missing"),
    codec_errors.InvalidVector: Problem(400, "invalid-vector", "Not a code vector of this model"),
    codec_errors.UnsupportedVersion: Problem(400, "unsupported-version", "A code of another version"),
    codec_errors.ModelMismatch: Problem(409, "model-mismatch", "The code of another model"),
    codec_errors.InvalidCard: MODEL_UNUSABLE,
    codec_errors.MissingGraph: MODEL_UNUSABLE,
    codec_errors.InvalidGraph: MODEL_UNUSABLE,
    codec_errors.GoldenMismatch: NOT_READY,
    errors.BatchTooLarge: Problem(413, "batch-too-large", "Too many images in one batch"),
    errors.BodyStalled: STALLED,
    errors.BodyTooLarge: Problem(413, "body-too-large", "The body is too long"),
    errors.ClientGone: Problem(400, "incomplete-body", "The request was not sent to its end"),
    errors.Forbidden: Problem(403, "forbidden", "The key does not open this route"),
    errors.InvalidArray: Problem(400, "invalid-array", "Not an npy file of the wanted kind"),
    errors.InvalidJson: Problem(400, "invalid-json", "Not the JSON of a code"),
    errors.InvalidMultipart: Problem(400, "invalid-multipart", "Not a form with exactly one file"),
    errors.InvalidParameter: INVALID_PARAMETER,
    errors.NotAcceptable: Problem(406, "not-acceptable", "No acceptable type of answer"),
    errors.NotReady: NOT_READY,
    errors.Overloaded: Problem(429, "overloaded", "Too many requests at the moment"),
    errors.Unauthenticated: Problem(401, "unauthenticated", "No valid key"),
    errors.UnknownModel: Problem(404, "unknown-model", "No such model"),
    errors.UnsupportedMediaType: Problem(415, "unsupported-media-type", "The body is of another type"),
    errors.WrongRole: Problem(404, "wrong-role", "The other half's route"),
}

_HEADERS: dict[type[Exception], dict[str, str]] = {
    errors.Overloaded: {"Retry-After": str(RETRY_AFTER_S)},
    # The rest of the body may come when it will; nobody waits for it.
    errors.BodyStalled: {"Connection": "close"},
}

_OTHERS = (INVALID_REQUEST, HEAD_TOO_LARGE, NOT_FOUND, METHOD_NOT_ALLOWED, INTERNAL_ERROR)
ALL_PROBLEMS = frozenset({*PROBLEMS.values(), *_OTHERS})


def problem_response(problem: Problem, detail: str, headers: dict[str, str] | None = None) -> Response:
    """Build the answer for one problem; `detail` is a sentence for the person who sent the request."""
    record_problem(problem.code)
    return Response(problem_json(problem, detail), problem.status, headers, PROBLEM_MEDIA_TYPE)


def problem_json(problem: Problem, detail: str) -> bytes:
    """Write the document of one problem."""
    return json.dumps(problem.document(detail)).encode()


async def answer_known(_request: Request, error: Exception) -> Response:
    """Answer an error of the table."""
    problem = PROBLEMS[type(error)]
    return problem_response(problem, str(error), _HEADERS.get(type(error)))


async def _answer_http_exception(_request: Request, error: Exception) -> Response:
    # Starlette's own routing raises these; the routes of this service raise errors of the table.
    if not isinstance(error, HTTPException):
        raise error
    headers = dict(error.headers) if error.headers else None
    if error.status_code == NOT_FOUND.status:
        return problem_response(NOT_FOUND, "there is no such route; /docs lists those there are", headers)
    if error.status_code == METHOD_NOT_ALLOWED.status:
        listed = ", ".join(sorted(method.strip() for method in (headers or {}).get("Allow", "").split(",")))
        return problem_response(METHOD_NOT_ALLOWED, f"this route takes {listed}", {"Allow": listed})
    other = Problem(error.status_code, "http-error", HTTPStatus(error.status_code).phrase)
    return problem_response(other, other.title, headers)


async def answer_unexpected(_request: Request, _error: Exception) -> Response:
    """Answer what nobody expected."""
    # The error is raised again after this answer, so that the server logs it with its traceback.
    return problem_response(INTERNAL_ERROR, "the service failed on this request; its log says why")


EXCEPTION_HANDLERS = {
    codec_errors.CodecError: answer_known,
    errors.ServiceError: answer_known,
    HTTPException: _answer_http_exception,
    Exception: answer_unexpected,
}
