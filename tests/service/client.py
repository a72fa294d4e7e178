"""Sends requests to an application inside this process, and looks at its answers."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from functools import partial
from typing import Any

import httpx
from anyio.from_thread import BlockingPortal
from starlette.applications import Starlette

from latentwire.problems import ALL_PROBLEMS, PROBLEM_MEDIA_TYPE

OCTETS = "application/octet-stream"
JSON = "application/json"


class Client:
    """A synchronous client over httpx's ASGI transport. Safe to use from several threads."""

    def __init__(self, app: Starlette, portal: BlockingPortal) -> None:
        self.app = app
        self.portal = portal
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        self._client = httpx.AsyncClient(transport=transport, base_url="http://test")
        # httpx sends `Accept: */*` and more by itself; the tests say what they mean.
        self._client.headers.clear()

    def request(self, method: str, path: str, **options: Any) -> httpx.Response:
        return self.portal.call(partial(self._client.request, method, path, **options))

    def get(self, path: str, **options: Any) -> httpx.Response:
        return self.request("GET", path, **options)

    def post(
        self,
        path: str,
        body: bytes | AsyncIterator[bytes],
        content_type: str | None = None,
        accept: str | None = None,
        **params: str,
    ) -> httpx.Response:
        headers = {"Content-Type": content_type, "Accept": accept}
        given = {name: value for name, value in headers.items() if value is not None}
        return self.request("POST", path, content=body, headers=given, params=params)

    def encode(self, body: bytes, content_type: str | None = "image/png", **options: Any) -> httpx.Response:
        return self.post("/encode", body, content_type, **options)

    def decode(self, body: bytes, content_type: str | None = OCTETS, **options: Any) -> httpx.Response:
        return self.post("/decode", body, content_type, **options)

    def post_later(self, path: str, body: bytes | AsyncIterator[bytes]) -> Callable[[], Awaitable[httpx.Response]]:
        """Return what the portal can start as a task of its own."""
        return partial(self._client.post, path, content=body)

    def post_at_once(self, path: str, bodies: Sequence[bytes], **headers: str) -> list[httpx.Response]:
        """Send one request for each body, all before the first answer, and return the answers in this order."""

        async def post_all() -> list[httpx.Response]:
            return await asyncio.gather(*(self._client.post(path, content=body, headers=headers) for body in bodies))

        return self.portal.call(post_all)

    def get_later(self, path: str) -> Callable[[], Awaitable[httpx.Response]]:
        return partial(self._client.get, path)

    def close(self) -> None:
        self.portal.call(self._client.aclose)


async def in_chunks(chunks: Iterable[bytes]) -> AsyncIterator[bytes]:
    """Make httpx send a body without a Content-Length."""
    for chunk in chunks:
        yield chunk


def assert_problem(response: httpx.Response, status: int, code: str, says: str = "") -> None:
    """Check that `response` is this problem, complete and from the table, with `says` in its sentence."""
    found = f"{response.status_code} {response.content[:500]!r}"
    assert response.headers["content-type"] == PROBLEM_MEDIA_TYPE, found
    problem = response.json()
    assert (response.status_code, problem["code"]) == (status, code), found
    assert set(problem) == {"type", "title", "status", "detail", "code"}
    known = {each.code: each for each in ALL_PROBLEMS}[code]
    assert problem["status"] == known.status == status
    assert problem["title"] == known.title
    assert problem["type"] == f"urn:problem-type:latentwire:{code}"
    assert problem["detail"]
    assert says in problem["detail"], found
    assert "Traceback" not in response.text
