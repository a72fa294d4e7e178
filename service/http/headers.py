"""The headers of a request that say what its body is and what is wanted for it, read in one pass."""

from typing import NamedTuple

from starlette.types import Scope


class Head(NamedTuple):
    """What was sent, undecoded; empty where a header is missing."""

    accept: bytes
    content_type: bytes
    content_length: bytes


def read_head(scope: Scope) -> Head:
    """Return the headers; of several `Accept` all, joined by commas, of the others the first."""
    accept = content_type = content_length = b""
    for name, value in scope["headers"]:
        if name == b"accept":
            accept = accept + b"," + value if accept else value
        elif name == b"content-type":
            content_type = content_type or value
        elif name == b"content-length":
            content_length = content_length or value
    return Head(accept, content_type, content_length)
