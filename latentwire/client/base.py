"""What both clients have in common: their arguments."""

import os
import re
import ssl
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any

import httpx

from latentwire.client.exchanges import Address, Protocol
from latentwire.client.options import Timeouts, current_trace_context

# The service closes idle connections after 75 s by default; whoever closes first loses no request.
_KEEP_ALIVE_S = 60

_KEY = re.compile(r"[\x21-\x7e]+")


class ClientBase(ABC):
    """The arguments of `Client` and `AsyncClient`.

    Args:
        sender: address of the service that encodes, such as `https://images.example.com`; a path in it precedes each
            route.
        receiver: address of the service that decodes, if it is another one.
        api_key: sent to both addresses.
        receiver_api_key: sent to the receiver in its place.
        tls: how certificates are checked, for https: a file with certificates of authorities (PEM), or an
            `ssl.SSLContext`, for example with a certificate of the client's own; None for the authorities of certifi.
        timeouts: longest time of each phase of a request.
        retries: how often a request is sent again if the service answers 429 or 503, or the connection breaks. All
            routes are safe to repeat. Pauses last as long as `Retry-After` says, else 0.25 s and twice as long each
            time, and up to half as long again at random.
        max_pause_s: longest such pause; the error is raised at once if the service asks for a longer one.
        concurrency: connections that are open at one time, each with one request.
        trace_context: returns headers for each request; by default `traceparent` and `tracestate` (W3C) of the current
            OpenTelemetry span.
        transport: of httpx, in place of the network: for tests.

    Raises:
        ValueError: an address is not that of a web server, a key has other characters than keys have, or a number is
            out of range.
    """

    def __init__(
        self,
        sender: str = "http://localhost:8000",
        *,
        receiver: str | None = None,
        api_key: str | None = None,
        receiver_api_key: str | None = None,
        tls: str | os.PathLike[str] | ssl.SSLContext | None = None,
        timeouts: Timeouts = Timeouts(),  # noqa: B008 - immutable
        retries: int = 3,
        max_pause_s: float = 30,
        concurrency: int = 8,
        trace_context: Callable[[], Mapping[str, str]] = current_trace_context,
        transport: Any = None,
    ) -> None:
        if retries < 0 or concurrency < 1:
            raise ValueError("retries must be at least 0, and concurrency at least 1")
        self._concurrency = concurrency
        here = Address(_url(sender), _key(api_key))
        there = Address(
            here.url if receiver is None else _url(receiver),
            here.api_key if receiver_api_key is None else _key(receiver_api_key),
        )
        self._protocol = Protocol({"sender": here, "receiver": there}, timeouts, retries, max_pause_s, trace_context)
        verify = tls if isinstance(tls, ssl.SSLContext) else tls is None or ssl.create_default_context(cafile=tls)
        limits = httpx.Limits(
            max_connections=concurrency, max_keepalive_connections=concurrency, keepalive_expiry=_KEEP_ALIVE_S
        )
        self._open({"verify": verify, "limits": limits, "transport": transport})

    @abstractmethod
    def _open(self, options: dict[str, Any]) -> None:
        """Open a client of httpx with these options."""

    def __repr__(self) -> str:
        addresses = self._protocol.addresses
        return f"{type(self).__name__}({addresses['sender'].url!r}, receiver={addresses['receiver'].url!r})"


def _url(address: str) -> str:
    try:
        url = httpx.URL(address)
    except (httpx.InvalidURL, TypeError) as error:
        raise ValueError(f"{address!r} is no address of a service: {error}") from error
    if url.scheme not in ("http", "https") or not url.host or url.query or url.fragment or url.userinfo:
        raise ValueError(f"{address!r} is no address of a service; give one such as http://localhost:8000")
    return str(url).rstrip("/")


def _key(key: str | None) -> str | None:
    # A key that was read from a file has a line break at its end.
    stripped = None if key is None else key.strip()
    if stripped is not None and not _KEY.fullmatch(stripped):
        raise ValueError("the key is empty or has characters that keys do not have; give one key, without its role")
    return stripped
