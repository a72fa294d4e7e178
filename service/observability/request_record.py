"""What is known about the request in progress, for metrics, logs and traces.

The middleware in `service.middleware.instrumentation` opens a `RequestRecord`; routes and errors add what only they
know.
"""

from contextvars import ContextVar
from time import perf_counter_ns, time_ns
from typing import Literal

from latentwire.timing import StageTimer

OodOutcome = Literal["refused", "warned", "fallback"]

OTHER = "other"
OK = "ok"
CUT_OFF = "cut-off"
OUT_OF_DISTRIBUTION = "out-of-distribution"
METHODS = frozenset({"CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE"})


class RequestRecord:
    """One request.

    Attributes:
        request_id: from the client, or made here.
        method: `other` if HTTP does not define it.
        route: the route's path with its parameters' names; `other` if no route matched.
        begun_ns: start, by `time.perf_counter_ns`.
        begun_at_ns: the same moment, by `time.time_ns`.
        duration_ns: until the end of the response.
        timer: the stages of the work.
        status: of the response; 0 before the response has started.
        problem: code of the problem in the response.
        complete: whether the response was sent to its end.
        bytes_in: of the request's body.
        bytes_out: of the response's body.
        model: name and model_id of the model that did the work.
        answers_codes: whether the request's body holds images and the response their bitstreams, and little else.
        image_bytes: of the image files that were encoded.
        code_bytes: of the bitstreams that they became.
        ood: what was done with out-of-distribution images.
        ood_images: the number of those.
        trace_id: of the request's span.
    """

    __slots__ = (
        "answers_codes",
        "begun_at_ns",
        "begun_ns",
        "bytes_in",
        "bytes_out",
        "code_bytes",
        "complete",
        "duration_ns",
        "image_bytes",
        "method",
        "model",
        "ood",
        "ood_images",
        "problem",
        "request_id",
        "route",
        "status",
        "timer",
        "trace_id",
    )

    def __init__(self, request_id: str, method: str) -> None:
        self.request_id = request_id
        self.method = method if method in METHODS else OTHER
        self.route = OTHER
        self.begun_ns = perf_counter_ns()
        self.begun_at_ns = time_ns()
        self.duration_ns = 0
        self.timer = StageTimer()
        self.status = 0
        self.problem: str | None = None
        self.complete = False
        self.bytes_in = 0
        self.bytes_out = 0
        self.model: str | None = None
        self.answers_codes = False
        self.image_bytes = 0
        self.code_bytes = 0
        self.ood: OodOutcome | None = None
        self.ood_images = 0
        self.trace_id: str | None = None

    @property
    def outcome(self) -> str:
        """The code of the problem in the response; `cut-off` if the response was not sent to its end; else `ok`."""
        return self.problem or (OK if self.complete else CUT_OFF)


_current: ContextVar[RequestRecord | None] = ContextVar("record", default=None)


def open_record(request_id: str, method: str) -> RequestRecord:
    """Start the record of the request that this task serves. It ends with the task."""
    record = RequestRecord(request_id, method)
    _current.set(record)
    return record


def current_record() -> RequestRecord | None:
    """Return the record of the request that this task or thread works for; None if it works for none."""
    return _current.get()


def record_problem(code: str) -> None:
    """Record which problem the response describes."""
    if (record := _current.get()) is not None:
        record.problem = code
        if code == OUT_OF_DISTRIBUTION:
            record_ood("refused", 1)


def record_code(image_bytes: int, code_bytes: int, ood: OodOutcome | None) -> None:
    """Record the bytes of an image file and of its bitstream, and what was done if it is out-of-distribution."""
    if (record := _current.get()) is not None:
        record.image_bytes += image_bytes
        record.code_bytes += code_bytes
        if ood is not None:
            record_ood(ood, 1)


def record_ood(outcome: OodOutcome, images: int) -> None:
    """Record more out-of-distribution images, and what was done with each.

    A refused image ends the request, and is then the only one that counts.
    """
    if (record := _current.get()) is not None:
        record.ood_images = images + (record.ood_images if record.ood == outcome != "refused" else 0)
        record.ood = outcome


def record_batch_of_codes() -> None:
    """Record that the request's body holds images and the response their bitstreams, and little else."""
    if (record := _current.get()) is not None:
        record.answers_codes = True
