"""Patience with slow clients: the time that they are waited for is spent, and bytes earn some."""

import asyncio
from pathlib import Path

import pytest
from starlette.requests import Request
from starlette.types import Message

from service.api.streaming import Incoming
from service.errors import BodyStalled
from service.http.min_data_rate import Patience
from service.settings import Settings


def looks_until_it_ends(patience: Patience, waited_s: float, moved_bytes: int) -> int | None:
    for looks in range(1, 100_001):
        patience.spend(waited_s, moved_bytes)
        if patience.left_s <= 0:
            return looks
    return None


@pytest.mark.parametrize(
    ("waited_s", "moved_bytes", "looks"),
    [(1, 0, 60), (1, 125, 120), (1, 250, None), (29, 1, 3), (29, 29 * 250, None), (0, 1, None)],
)
def test_it_ends_with_the_time_that_bytes_do_not_earn(waited_s: float, moved_bytes: int, looks: int | None) -> None:
    assert looks_until_it_ends(Patience(30, 250), waited_s, moved_bytes) == looks


def test_bytes_earn_none_in_advance() -> None:
    patience = Patience(30, 250)
    patience.spend(1, 1_000_000_000)
    assert looks_until_it_ends(patience, 1, 0) == 60


def test_it_does_not_end_where_no_rate_is_asked_for() -> None:
    assert looks_until_it_ends(Patience(30, 0), 1000, 0) is None


def incoming(body: list[bytes], every_s: float = 0.0) -> Incoming:
    """A body of these pieces, each of which comes so long after it is waited for, and no end."""
    pieces = iter(body)

    async def receive() -> Message:
        await asyncio.sleep(every_s)
        return {"type": "http.request", "body": next(pieces), "more_body": True}

    settings = Settings(models_dir=Path()).model_copy(
        update={"io_idle_timeout_s": 0.5, "min_data_rate_bytes_per_s": 1 << 30}
    )
    return Incoming(Request({"type": "http", "headers": []}), receive, settings)


async def take(body: Incoming, pieces: int, work_s: float) -> None:
    for _ in range(pieces):
        assert await body.next() == b"a"
        await asyncio.sleep(work_s)


def test_a_client_is_not_to_blame_for_the_time_that_its_batch_is_worked_on() -> None:
    asyncio.run(take(incoming([b"a"] * 20), 20, 0.1))


def test_a_client_that_never_stalls_is_given_up_for_its_rate() -> None:
    with pytest.raises(BodyStalled, match="fewer than 1,073,741,824 bytes a second"):
        asyncio.run(take(incoming([b"a"] * 20, 0.1), 20, 0))
