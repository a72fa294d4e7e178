"""Takes connections from a listening socket, and shares them out fairly among the processes that listen on it.

asyncio's own servers take all that wait at once, so that of a few kept connections one process often gets all. Here a
process looks before each whether others have fewer, and for a moment leaves it to them.
"""

import asyncio
import contextlib
import logging
import mmap
import socket
import ssl
import time
from collections.abc import Callable

# How often, and at most how many times, a process leaves a connection to others that have fewer.
YIELD_S = 0.001
MAX_YIELDS = 5
# Under load a turn of the event loop takes some milliseconds, and with one for each of them many would wait long.
AT_ONCE = 64
# Without a free file descriptor, looking again at once would only keep the processor busy.
PAUSE_S = 1.0
TLS_HANDSHAKE_S = 10.0
# Each has a file open, and they are no connections yet that could be counted.
MAX_HANDSHAKES = 256
# More than can wait, so that what comes meanwhile does not keep it from closing.
MOST_WAITING = 4096
# The count of a process that takes none.
ABSENT = (1 << 31) - 1

_log = logging.getLogger(__name__)


class Crowd:
    """How many connections each of several processes has, and when it said so; in memory that forks share."""

    def __init__(self, places: int) -> None:
        """Begin with nobody there."""
        self._counts = memoryview(mmap.mmap(-1, 4 * places)).cast("i")
        self._said_s = memoryview(mmap.mmap(-1, 8 * places)).cast("d")
        for place in range(places):
            self.leave(place)

    def set(self, place: int, connections: int) -> None:
        """Say how many connections the process in this place has."""
        self._counts[place] = connections
        self._said_s[place] = time.monotonic()

    def leave(self, place: int) -> None:
        """Say that the process in this place takes none."""
        self._counts[place] = ABSENT

    def silent_s(self, place: int) -> float:
        """Return for how long the process in this place has said nothing; 0 if it takes no connections."""
        return 0 if self._counts[place] == ABSENT else time.monotonic() - self._said_s[place]

    def others_have_fewer(self, place: int) -> bool:
        """Return whether a process in another place has fewer connections."""
        own = self._counts[place]
        return any(count < own for count in self._counts)


class Acceptor:
    """Gives each connection a protocol of its own. Used from one event loop."""

    def __init__(
        self,
        listener: socket.socket,
        make_protocol: Callable[[], asyncio.Protocol],
        context: ssl.SSLContext | None,
        others_have_fewer: Callable[[], bool],
    ) -> None:
        """Begin to accept.

        Args:
            listener: closed when this is.
            make_protocol: called for each connection.
            context: for TLS, if it is spoken.
            others_have_fewer: whether another process should have the next connection.
        """
        self._listener = listener
        self._make_protocol = make_protocol
        self._context = context
        self._others_have_fewer = others_have_fewer
        self._yields = 0
        self._loop = asyncio.get_running_loop()
        self._beginning: dict[asyncio.Task[None], socket.socket] = {}
        self._pause: asyncio.TimerHandle | None = None
        listener.setblocking(False)
        self._listen()

    @property
    def beginning(self) -> int:
        """How many connections have been accepted and have no protocol yet."""
        return len(self._beginning)

    def close(self) -> None:
        """Accept what waits, and no more; close the socket for this process."""
        if self._pause is not None:
            self._pause.cancel()
        self._loop.remove_reader(self._listener)
        # Whoever still waited would see its connection reset, perhaps with a request on the way.
        with contextlib.suppress(OSError):
            for _ in range(MOST_WAITING):
                self._begin_with(self._listener.accept()[0])
        self._listener.close()

    def _listen(self) -> None:
        self._pause = None
        self._loop.add_reader(self._listener, self._accept)

    def _listen_later(self, pause_s: float) -> None:
        self._loop.remove_reader(self._listener)
        self._pause = self._loop.call_later(pause_s, self._listen)

    def _accept(self) -> None:
        for _ in range(AT_ONCE):
            if not self._accept_one():
                return

    def _accept_one(self) -> bool:
        """Accept a connection, unless there is none or others should have it; return whether there may be more."""
        if not self._others_have_fewer():
            self._yields = 0
        elif self._yields < MAX_YIELDS:
            self._yields += 1
            self._listen_later(YIELD_S)
            return False
        else:
            # They do not take it. For the next one they get a shorter time.
            self._yields -= 1
        try:
            connection, _ = self._listener.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            # Another process was faster, or the client has gone.
            return False
        except OSError as error:
            _log.error("no connection can be accepted: %s", error.strerror)
            self._listen_later(PAUSE_S)
            return False
        self._begin_with(connection)
        return True

    def _begin_with(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        if self._context is not None and len(self._beginning) >= MAX_HANDSHAKES:
            # The one that has waited longest. Its protocol notices, and ends.
            oldest = self._beginning.pop(next(iter(self._beginning)))
            with contextlib.suppress(OSError):
                oldest.shutdown(socket.SHUT_RDWR)
        task = self._loop.create_task(self._begin(connection))
        self._beginning[task] = connection
        task.add_done_callback(lambda ended: self._beginning.pop(ended, None))

    async def _begin(self, connection: socket.socket) -> None:
        timeout_s = None if self._context is None else TLS_HANDSHAKE_S
        # A client may have gone, or speak no TLS.
        with contextlib.suppress(OSError):
            await self._loop.connect_accepted_socket(
                self._make_protocol, connection, ssl=self._context, ssl_handshake_timeout=timeout_s
            )
