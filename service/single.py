"""One single request's way: its body comes, waits for its turn, and is worked on. The counterpart of `service.batch`.

What the work is, is not known here.
"""

from collections.abc import Callable
from typing import TypeVar

from fastapi import Request

from service.body import read_body, wait_until_gone
from service.state import State

Result = TypeVar("Result")


async def work_on_body(request: Request, state: State, work: Callable[[bytes], Result]) -> Result:
    """Read the body, and return what `work` makes of it in a thread.

    Raises:
        BodyStalled: the body did not come in time.
        BodyTooLarge: more than the setting.
        ClientGone: the client went away before its turn had come.
        Overloaded: no place is free, its turn did not come in time, or all bodies together are too long.
    """
    settings = state.settings
    with state.admission.hold() as held:
        body = await read_body(
            request,
            settings.max_body_bytes,
            held,
            stall_timeout_s=settings.stall_timeout_s,
            receive_timeout_s=settings.receive_timeout_s,
        )
        return await state.admission.run(lambda: work(body), lambda: wait_until_gone(request))
