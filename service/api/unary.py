"""One single request's way: its body comes, waits for its turn, and is worked on. `streaming` is its counterpart.

What the work is, is not known here.
"""

from functools import lru_cache
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from service.api.body import read_body, wait_for_disconnect
from service.api.state import State
from service.scheduling.batching import BatchFunction
from service.scheduling.cost_model import BatchKey


async def work_on_body(
    request: Request,
    content_length: bytes,
    state: State,
    work: BatchFunction[bytes, Any],
    batch_key: BatchKey | None = None,
    quick_bytes: int = 0,
) -> Any:
    """Read the body, and return what `work` makes of it.

    Args:
        request: nothing of its body has been read.
        content_length: the header, empty where there is none.
        state: of this application.
        work: blocking, on the bodies of several requests of one kind, as `Admission.run` has it.
        batch_key: of work, likewise.
        quick_bytes: the longest body of which that is true; with a longer one, work runs in a thread.

    Raises:
        BodyStalled: the body did not come in time.
        BodyTooLarge: more than the setting.
        ClientGone: the client went away before its turn had come.
        Overloaded: no place is free, its turn did not come in time, or all bodies together are too long.
    """
    with state.admission.reserve() as budget:
        body = await read_body(request, content_length, state.settings, budget)
        if len(body) > quick_bytes:
            batch_key = None
        return await state.admission.run(work, body, lambda: wait_for_disconnect(request), batch_key)


class Answer(Response):
    """The answer to a single request that went well, with less ado than other responses make of their headers."""

    def __init__(self, content: bytes, media_type: str, model: str, figures: dict[bytes, str] | None = None) -> None:
        """Answer with `content`, made by `model`; `figures` are further headers, with small letters."""
        self.status_code = 200
        self.body = content
        self.background = None
        self.raw_headers = [(b"content-length", str(len(content)).encode()), *_usual_headers(media_type, model)]
        if figures:
            self.raw_headers += [(name, value.encode()) for name, value in figures.items()]


@lru_cache(maxsize=256)
def _usual_headers(media_type: str, model: str) -> tuple[tuple[bytes, bytes], ...]:
    return ((b"content-type", media_type.encode()), (b"latentwire-model", model.encode()), (b"vary", b"Accept"))
