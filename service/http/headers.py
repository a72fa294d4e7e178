"""The request headers that describe the body and the wanted response, read in one pass; and faults of a request."""

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import NamedTuple

from starlette.types import Scope

# int() must not get megabytes of digits; a longer number is over every limit.
_MAX_LENGTH_DIGITS = 19
# A name or an address, and a port. Empty is allowed (RFC 9110, section 7.2).
_match_host = lru_cache(maxsize=256)(re.compile(rb"[A-Za-z0-9._~%!$&'()*+,;=:\[\]-]*").fullmatch)


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


def client_of(scope: Scope) -> str:
    """Return the address of the client that sent a request; empty if it is not known."""
    client = scope.get("client")
    return client[0] if client else ""


def find_fault(version: str, headers: Iterable[tuple[bytes, bytes]]) -> str | None:
    """Return what is wrong with a request's version or headers, which have lower-case names; None if nothing is.

    Whoever passes such a request on may understand it in another way than this service.
    """
    hosts: list[bytes] = []
    codings: list[bytes] = []
    for name, value in headers:
        if name == b"host":
            hosts.append(value)
        elif name == b"transfer-encoding":
            codings.append(value)
    if version not in ("1.1", "1.0"):
        return f"this is HTTP/{version}; send HTTP/1.1"
    if len(hosts) > 1 or not (hosts or version == "1.0"):
        return f"the request has {len(hosts)} Host headers; send one"
    if hosts and not _match_host(hosts[0]):
        return "the Host header is not a name or an address with a port"
    if codings and (version == "1.0" or len(codings) > 1 or codings[0].lower() != b"chunked"):
        return "the body has a Transfer-Encoding other than chunked, or is not HTTP/1.1; send it as it is, or in chunks"
    return None
