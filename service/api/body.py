"""A request's body, as it streams in -> bytes, never more than the limit.

One mechanism for raw bytes, JSON and forms, with or without a Content-Length. What the bytes mean is not known here.
"""

from fastapi import Request

from service.errors import BodyTooLarge, ClientGone
from service.scheduling.admission import Held
from service.scheduling.body_timeouts import Reader, Readers


async def read_body(request: Request, content_length: bytes, max_bytes: int, held: Held, readers: Readers) -> bytes:
    """Read the whole body.

    A Content-Length over the limit is refused before anything is read; a body without one as soon as it has passed the
    limit. What was not read, the server throws away as it arrives.

    Args:
        request: nothing of its body has been read.
        content_length: the header, empty where there is none.
        max_bytes: limit.
        held: is told of the bytes as they come.
        readers: know how long it may take.

    Raises:
        BodyStalled: it took too long.
        BodyTooLarge: more than `max_bytes`.
        ClientGone: the client went away in the middle.
        Overloaded: the bodies of all requests together are too long.
    """
    if announced_bytes(content_length) > max_bytes:
        raise body_too_large(max_bytes)
    body = bytearray()
    with Reader(readers) as reader:
        while True:
            message = await request.receive()
            if message["type"] == "http.disconnect":
                raise ClientGone("the connection was closed before the whole body had arrived")
            piece: bytes = message.get("body", b"")
            if len(body) + len(piece) > max_bytes:
                raise body_too_large(max_bytes)
            held.add(len(piece))
            if not message.get("more_body", False):
                return bytes(body) + piece if body else piece
            # One object, as a list of many small pieces would take many times their bytes.
            body += piece
            reader.silent_s = 0


async def wait_until_gone(request: Request) -> None:
    """Return when the client has gone away. Call it only after the whole body has been read."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def announced_bytes(content_length: bytes) -> int:
    """Return what a Content-Length announces, 0 if it is empty."""
    # Longer numbers than 18 digits are no lengths either way, and int() must not be fed with megabytes of digits.
    return int(content_length[:19]) if content_length.isdigit() else 0


def body_too_large(max_bytes: int) -> BodyTooLarge:
    """Return the error of a body over the limit."""
    return BodyTooLarge(f"the body is longer than the {max_bytes:,} bytes that are allowed")
