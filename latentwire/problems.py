"""Every error of the HTTP API -> its status, code and title, in one table for the service and its clients.

They travel as RFC 9457 problem documents, whose `detail` is the error's own sentence.
"""

from typing import NamedTuple

from latentwire import errors

PROBLEM_MEDIA_TYPE = "application/problem+json"


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

PROBLEMS: dict[type[errors.CodecError], Problem] = {
    errors.InvalidImage: Problem(400, "invalid-image", "Not a readable image"),
    errors.ImageTooLarge: Problem(413, "image-too-large", "Too many pixels"),
    errors.ImageMismatch: Problem(422, "image-mismatch", "The image does not fit the model"),
    errors.UncodableImage: Problem(422, "uncodable-image", "The image's code lies too far out"),
    errors.OutOfDistribution: Problem(422, "out-of-distribution", "Not of the kind that the model is for"),
    errors.TargetMissed: Problem(422, "target-missed", "No code is as small, or as good, as asked for"),
    errors.InvalidCode: Problem(400, "invalid-code", "Not a code, or a damaged one"),
    errors.DamagedChunk: Problem(400, "damaged-chunk", "A part of a container is damaged or missing"),
    errors.InvalidJson: Problem(400, "invalid-json", "Not the JSON of a code"),
    errors.InvalidVector: Problem(400, "invalid-vector", "Not a code vector of this model"),
    errors.UnsupportedVersion: Problem(400, "unsupported-version", "A code of another version"),
    errors.ModelMismatch: Problem(409, "model-mismatch", "The code of another model"),
    errors.InvalidCard: MODEL_UNUSABLE,
    errors.MissingGraph: MODEL_UNUSABLE,
    errors.InvalidGraph: MODEL_UNUSABLE,
    errors.InvalidKeyFile: MODEL_UNUSABLE,
    errors.UntrustedModel: MODEL_UNUSABLE,
    errors.GoldenMismatch: NOT_READY,
    errors.ModelNotReady: NOT_READY,
    errors.UnusableFolder: MODEL_UNUSABLE,
    errors.BatchTooLarge: Problem(413, "batch-too-large", "Too many images in one batch"),
    errors.BodyStalled: STALLED,
    errors.BodyTooLarge: Problem(413, "body-too-large", "The body is too long"),
    errors.ClientGone: Problem(400, "incomplete-body", "The request was not sent to its end"),
    errors.Forbidden: Problem(403, "forbidden", "The key does not open this route"),
    errors.InvalidArray: Problem(400, "invalid-array", "Not an npy file of the wanted kind"),
    errors.InvalidTensor: Problem(400, "invalid-tensor", "Not a tensor of this graph"),
    errors.InvalidMultipart: Problem(400, "invalid-multipart", "Not a form with exactly one file"),
    errors.InvalidParameter: Problem(400, "invalid-parameter", "Not a parameter or value of this route"),
    errors.NotAcceptable: Problem(406, "not-acceptable", "No acceptable response type"),
    errors.NotReady: NOT_READY,
    errors.Overloaded: Problem(429, "overloaded", "Too many requests at the moment"),
    errors.Unauthenticated: Problem(401, "unauthenticated", "No valid key"),
    errors.UnknownModel: Problem(404, "unknown-model", "No such model"),
    errors.UnsupportedMediaType: Problem(415, "unsupported-media-type", "The body is of another type"),
    errors.WrongRole: Problem(404, "wrong-role", "The route of the other role"),
}

_OTHERS = (INVALID_REQUEST, HEAD_TOO_LARGE, NOT_FOUND, METHOD_NOT_ALLOWED, INTERNAL_ERROR)
ALL_PROBLEMS = frozenset({*PROBLEMS.values(), *_OTHERS})

# Several classes share these codes; the library has no more to tell of them.
_ERRORS = {problem.code: kind for kind, problem in PROBLEMS.items()} | {MODEL_UNUSABLE.code: errors.ModelError}


def error_of(code: str, detail: str) -> errors.CodecError:
    """Return the error that a service sent with this code; a `ServiceError` for a code without a class of its own."""
    return _ERRORS.get(code, errors.ServiceError)(detail)
