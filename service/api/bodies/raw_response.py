"""The response to a single image or code."""

from functools import lru_cache

from starlette.responses import Response


class RawResponse(Response):
    """A response with status 200, whose headers take less time to build than those of Starlette's response."""

    def __init__(self, content: bytes, media_type: str, model: str, headers: dict[bytes, str] | None = None) -> None:
        """Send `content`, made by `model`; the names of further `headers` are in lower case."""
        self.status_code = 200
        self.body = content
        self.background = None
        self.raw_headers = [(b"content-length", str(len(content)).encode()), *_common_headers(media_type, model)]
        if headers:
            self.raw_headers += [(name, value.encode()) for name, value in headers.items()]


@lru_cache(maxsize=256)
def _common_headers(media_type: str, model: str) -> tuple[tuple[bytes, bytes], ...]:
    return ((b"content-type", media_type.encode()), (b"latentwire-model", model.encode()), (b"vary", b"Accept"))
