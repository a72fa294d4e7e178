"""The response to a single image or code."""

from collections.abc import Iterable
from functools import lru_cache

from starlette.types import Send


async def send_content(
    send: Send, content: bytes, media_type: str, model: str, headers: Iterable[tuple[bytes, str]] = ()
) -> None:
    """Send `content`, made by `model`, with status 200, in less time than Starlette's response takes.

    The names of further `headers` are in lower case.
    """
    raw_headers = [(b"content-length", str(len(content)).encode()), *_common_headers(media_type, model)]
    raw_headers += [(name, value.encode()) for name, value in headers]
    await send({"type": "http.response.start", "status": 200, "headers": raw_headers})
    await send({"type": "http.response.body", "body": content})


@lru_cache(maxsize=256)
def _common_headers(media_type: str, model: str) -> tuple[tuple[bytes, bytes], ...]:
    return ((b"content-type", media_type.encode()), (b"latentwire-model", model.encode()), (b"vary", b"Accept"))
