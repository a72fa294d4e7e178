"""What goes wrong between a client and a service. What a service itself says has a class in `latentwire.errors`."""

import ssl

import httpx

from latentwire.errors import ServiceError


class ConnectionFailed(ServiceError):
    """No connection to the service, or it closed before the response had ended."""


class TimedOut(ServiceError):
    """A phase of a request took longer than its limit in `Timeouts`."""


class InvalidResponse(ServiceError):
    """The response is not one that a Latentwire service sends: perhaps another server has this address."""


def transport_error(error: httpx.TransportError, request: httpx.Request) -> ServiceError:
    """Return the error of this package for an error of httpx."""
    found = _describe(error, request)
    found.request_id = request.headers["x-request-id"]
    return found


def is_lasting(error: BaseException) -> bool:
    """Whether the same request would fail in the same way a second later: the certificate is not trusted."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLError):
            return True
        cause = cause.__cause__ or cause.__context__
    return False


def _describe(error: httpx.TransportError, request: httpx.Request) -> ServiceError:
    address = f"{request.url.scheme}://{request.url.netloc.decode()}"
    if isinstance(error, httpx.TimeoutException):
        phase = type(error).__name__.removesuffix("Timeout").lower()
        limit_s = request.extensions["timeout"][phase]
        sentence = f"the phase {phase} of the request to {request.url} took more than {limit_s} s; see Timeouts"
        return TimedOut(sentence)
    reason = str(error) or type(error).__name__
    if isinstance(error, httpx.ConnectError):
        return ConnectionFailed(f"no connection to {address} ({reason}); is a service running there?")
    return ConnectionFailed(f"the connection to {address} broke ({reason})")
