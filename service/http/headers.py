"""The request headers that describe the body and the wanted response, read in one pass."""

from typing import NamedTuple

from starlette.types import Scope

# int() must not get megabytes of digits; a longer number is over every limit.
_MAX_LENGTH_DIGITS = 19


class ContentHeaders(NamedTuple):
    """The headers as they were sent, undecoded; empty where one is missing."""

    accept: bytes
    content_type: bytes
    content_length: bytes

    @property
    def announced_bytes(self) -> int:
        """The body length that Content-Length announces; 0 if there is none, or if it is not a number."""
        digits = self.content_length
        return int(digits[:_MAX_LENGTH_DIGITS]) if digits.isdigit() else 0


def parse_content_headers(scope: Scope) -> ContentHeaders:
    """Return the headers of a request: all `Accept` headers joined by commas, and the first of each other name."""
    accept = content_type = content_length = b""
    for name, value in scope["headers"]:
        if name == b"accept":
            accept = accept + b"," + value if accept else value
        elif name == b"content-type":
            content_type = content_type or value
        elif name == b"content-length":
            content_length = content_length or value
    return ContentHeaders(accept, content_type, content_length)
