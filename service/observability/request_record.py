"""What is known of the request that is being answered, for whoever counts, logs or traces it.

The middleware of `service.middleware.instrumentation` opens a `Record`, and routes and errors add what only they know.
"""

from contextvars import ContextVar
from time import perf_counter_ns, time_ns
from typing import Literal

from latentwire.timing import StageTimer

OodOutcome = Literal["refused", "warned", "fallback"]

OTHER_ROUTE = "other"
CUT_OFF = "cut-off"
OK = "ok"
OOD = "out-of-distribution"


class RequestRecord:
    """One request. `begun_ns` is of `time.perf_counter_ns`, `begun_at_ns` of `time.time_ns`; both are the same moment.

    `image_bytes` and `code_bytes` are those of images as they were sent and of the codes they became; both are 0 where
    no image became a code. `ood_images` is how many images the model is not for, and `ood` what was done with them.
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

    def __init__(self, request_id: str) -> None:
        self.request_id = request_id
        self.begun_at_ns = time_ns()
        self.begun_ns = perf_counter_ns()
        self.duration_ns = 0
        self.timer = StageTimer()
        self.route = OTHER_ROUTE
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
        """The code of the problem that was answered; `cut-off` if the answer did not come to its end; else `ok`."""
        return self.problem or (OK if self.complete else CUT_OFF)


_current: ContextVar[RequestRecord | None] = ContextVar("record", default=None)


def open_record(request_id: str) -> RequestRecord:
    """Begin the record of the request that this task answers. It ends with the task."""
    record = RequestRecord(request_id)
    _current.set(record)
    return record


def current_record() -> RequestRecord | None:
    """Return the record of the request that this task or thread works for, if it works for one."""
    return _current.get()


def record_problem(code: str) -> None:
    """Note which problem is answered."""
    if (record := _current.get()) is not None:
        record.problem = code
        if code == OOD:
            record_ood("refused", 1)


def record_code(image_bytes: int, code_bytes: int, ood: OodOutcome | None) -> None:
    """Record the bytes of an image and of its code, and what was done with it if it is out-of-distribution."""
    if (record := _current.get()) is not None:
        record.image_bytes += image_bytes
        record.code_bytes += code_bytes
        if ood is not None:
            record_ood(ood, 1)


def record_ood(outcome: OodOutcome, images: int) -> None:
    """Note that the model is not for so many more images of the request, and what was done with each.

    An out-of-distribution image that is refused ends the request, and is counted alone.
    """
    if (record := _current.get()) is not None:
        record.ood_images = images + (record.ood_images if record.ood == outcome != "refused" else 0)
        record.ood = outcome


def record_batch_of_codes() -> None:
    """Note that the body holds images and the answer their codes, and neither anything else to speak of."""
    if (record := _current.get()) is not None:
        record.answers_codes = True
