"""What is known about the request in progress, for metrics, logs and traces.

The middleware in `service.middleware.instrumentation` opens a `RequestRecord`; routes and errors add what only they
know.
"""

from contextvars import ContextVar
from dataclasses import dataclass, field
from time import perf_counter_ns, time_ns
from typing import Literal

from latentwire.timing import StageTimer

OodOutcome = Literal["refused", "warned", "fallback"]

OTHER = "other"
OK = "ok"
CUT_OFF = "cut-off"
OUT_OF_DISTRIBUTION = "out-of-distribution"
METHODS = frozenset({"CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE"})


@dataclass(slots=True)
class RequestRecord:
    """One request."""

    request_id: str
    method: str  # one of METHODS, or OTHER
    # Path of the route, with the names of its parameters; OTHER if no route matched.
    route: str = OTHER
    # Start of the request on two clocks.
    begun_ns: int = field(default_factory=perf_counter_ns)
    begun_at_ns: int = field(default_factory=time_ns)
    duration_ns: int = 0
    timer: StageTimer = field(default_factory=StageTimer)
    status: int = 0  # of the response; 0 before it starts
    problem: str | None = None  # code of the problem in the response
    complete: bool = False  # whether the response was sent to its end
    bytes_in: int = 0  # size of the request's body
    bytes_out: int = 0  # size of the response's body
    model: str | None = None  # name and model_id of the model that did the work
    # Whether the request's body holds images and the response their bitstreams, and little else.
    maps_images_to_codes: bool = False
    # Sizes of the image files that were encoded, and of their bitstreams.
    image_bytes: int = 0
    code_bytes: int = 0
    # What was done with out-of-distribution images, and their number.
    ood: OodOutcome | None = None
    ood_images: int = 0
    trace_id: str | None = None

    @property
    def outcome(self) -> str:
        """The code of the problem in the response; `cut-off` if the response was not sent to its end; else `ok`."""
        return self.problem or (OK if self.complete else CUT_OFF)


_current: ContextVar[RequestRecord | None] = ContextVar("record", default=None)


def open_record(request_id: str, method: str) -> RequestRecord:
    """Start the record of the request that this task serves. It ends with the task."""
    record = RequestRecord(request_id, method if method in METHODS else OTHER)
    _current.set(record)
    return record


def current_record() -> RequestRecord | None:
    """Return the record of the request that this task or thread works for, if any."""
    return _current.get()


def response_has_started() -> bool:
    """Whether the response to the request of this task has a status that was sent."""
    return (record := _current.get()) is not None and record.status != 0


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
    """Record more out-of-distribution images. A refused one ends the request, and is then the only one that counts."""
    if (record := _current.get()) is not None:
        record.ood_images = images + (record.ood_images if record.ood == outcome != "refused" else 0)
        record.ood = outcome


def record_batch_of_codes() -> None:
    """Record that the request's body holds images and the response their bitstreams, and little else."""
    if (record := _current.get()) is not None:
        record.maps_images_to_codes = True
