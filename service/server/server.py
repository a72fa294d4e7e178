"""One process that answers on a listening socket: how it starts, renews its certificate, and stops.

Settings and a socket enter; nothing leaves before a signal has told the process to stop and the requests that it had
accepted are answered. What the requests are for is known in `service.app`.
"""

import asyncio
import faulthandler
import gc
import logging
import signal
import socket
import threading
from collections.abc import Callable
from types import FrameType
from typing import NamedTuple

import uvicorn

from service.app import create_app
from service.errors import StartupRefused
from service.inference.registry import Registry, open_registry
from service.observability.logs import log_config
from service.server.listener import Acceptor, Crowd
from service.server.protocol import bounded_protocol
from service.server.tls import Certificate, open_certificate
from service.settings import Settings

BACKLOG = 2048
# The signals that end it in peace. After the first, a second SIGINT ends it at once.
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)
# What a connection that was accepted last gets for sending its request, and kept ones for a last one.
LAST_REQUEST_S = 1.0
LAST_KEPT_REQUEST_S = 0.1
# What a request whose connection was cut off gets for noticing it.
CUT_OFF_S = 1.0
# A process that has not ended so long after its time is ended by force.
HUNG_S = 5.0

CLOSE = (b"connection", b"close")

_log = logging.getLogger(__name__)


class Seat(NamedTuple):
    """What a worker has in common with others."""

    place: int
    crowd: Crowd
    # A file that comes to its end when the workers are to stop.
    lifeline: int


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens.

    Raises:
        StartupRefused: the address is not this host's, or the port is taken.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # Only where the protocol is spelt out does asyncio turn off Nagle's delay: 40 ms an answer on a kept connection.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise StartupRefused(f"cannot listen on {host} port {port}: {error.strerror}") from error
    return listener


def serve(
    settings: Settings,
    listener: socket.socket | None,
    announce: Callable[[Registry, socket.socket], None],
    registry: Registry | None = None,
    seat: Seat | None = None,
) -> None:
    """Open the models and answer until told to stop.

    Args:
        settings: of this process.
        listener: that other processes may listen on, too; None opens one.
        announce: called when nothing can go wrong any more, with the models and the listener.
        registry: the models, if they have been opened already.
        seat: this process's among others that share the listener.

    Raises:
        StartupRefused: these settings and models cannot be served.
        ModelError: a model's card or graph is not what it should be.
    """
    stopping = threading.Event()
    certificate = open_certificate(settings)
    # Opened before the server starts, so that what is wrong with a model is said plainly and at once.
    registry = registry or open_registry(settings)
    app = create_app(settings, registry, stopping)
    listener = listener or listen(settings.host, settings.port)
    context = None if certificate is None else certificate.context
    config = uvicorn.Config(
        app,
        log_config=log_config(settings.log_format),
        log_level="warning" if not settings.access_log else "info",
        # In JSON, what watches the requests writes their lines, as it knows more of them.
        access_log=settings.access_log and settings.log_format == "text",
        server_header=False,
        http=bounded_protocol(settings, app.state.metrics),
        ws="none",
        headers=[("X-Content-Type-Options", "nosniff")],
        ssl_context_factory=None if context is None else (lambda _config, _default: context),
    )
    if settings.access_log:
        # A key that someone sends as a query parameter is not taken, and must not stand in the log either.
        logging.getLogger("uvicorn.access").addFilter(_without_query)
    announce(registry, listener)
    # What is here now stays: the collector need not look through it again and again while requests come.
    gc.freeze()
    gc.enable()
    Server(config, settings, stopping, certificate, seat).run(sockets=[listener])


class Server(uvicorn.Server):
    """uvicorn's server, which on SIGTERM goes away without losing a request.

    It says at once that it is not ready, and `Connection: close` in each answer. For `drain_period_s` it still accepts
    connections, as those who send them have not noticed yet. Then it closes its socket, and what is still being worked
    on may take until `graceful_shutdown_timeout_s` after the signal. SIGINT, from a terminal, drains nothing.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        settings: Settings,
        stopping: threading.Event,
        certificate: Certificate | None = None,
        seat: Seat | None = None,
    ) -> None:
        super().__init__(config)
        self._settings = settings
        self._stopping = stopping
        self._certificate = certificate
        self._seat = seat
        self._acceptors: list[Acceptor] = []
        # uvicorn puts these back when it has ended, and raises the signals again, which then do nothing more.
        for number in STOP_SIGNALS:
            signal.signal(number, self.handle_exit)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to stop. A signal may come at any time, so only what every request sees is changed here."""
        self._stopping.set()
        self._say_close()
        super().handle_exit(sig, frame)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to accept connections."""
        await super().startup(sockets=[])
        self._acceptors = [self._accept_from(listener) for listener in sockets or []]
        if self._seat is not None:
            lifeline = self._seat.lifeline
            asyncio.get_running_loop().add_reader(lifeline, self._end_of_lifeline, lifeline)

    async def on_tick(self, counter: int) -> bool:
        """Return whether to stop. Called ten times a second."""
        self._others_have_fewer()
        if self._certificate is not None and counter % 10 == 0:
            self._certificate.renew()
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:  # noqa: ARG002
        """Answer what has been accepted, within the time that is set."""
        timeout_s = self._settings.graceful_shutdown_timeout_s
        faulthandler.dump_traceback_later(timeout_s + HUNG_S, exit=True)
        loop = asyncio.get_running_loop()
        cut_off = loop.call_later(timeout_s, self._cut_off)
        end_s = loop.time() + timeout_s
        # Again, as the headers may just have been made anew when the signal came.
        self._say_close()
        for connection in list(self.server_state.connections):
            # A request that has begun got its headers before. This does not close its connection yet.
            if getattr(connection, "is_busy", False):
                connection.shutdown()
        while loop.time() < end_s - timeout_s + self._drain_s() and not self.force_exit:
            await asyncio.sleep(0.05)
        for acceptor in self._acceptors:
            acceptor.close()
        if self._seat is not None:
            self._seat.crowd.leave(self._seat.place)
        await asyncio.sleep(LAST_KEPT_REQUEST_S)
        last_request_s = min(end_s, loop.time() + LAST_REQUEST_S)
        while self._awaits_first_requests() and loop.time() < last_request_s and not self.force_exit:
            await asyncio.sleep(0.05)
        # Until then, all connections have been cut off.
        self.config.timeout_graceful_shutdown = max(0, end_s - loop.time()) + CUT_OFF_S  # type: ignore[assignment]
        await super().shutdown()
        cut_off.cancel()

    def _awaits_first_requests(self) -> bool:
        if any(acceptor.beginning for acceptor in self._acceptors):
            return True
        return any(getattr(connection, "cycle", None) is None for connection in self.server_state.connections)

    def _say_close(self) -> None:
        # All answers have these headers, and uvicorn does what the second one says.
        headers = self.server_state.default_headers
        if CLOSE not in headers:
            self.server_state.default_headers = [*headers, CLOSE]

    def _make_protocol(self) -> asyncio.Protocol:
        return self.config.http_protocol_class(
            config=self.config,  # type: ignore[call-arg]
            server_state=self.server_state,
            app_state=self.lifespan.state,
        )

    def _accept_from(self, listener: socket.socket) -> Acceptor:
        return Acceptor(listener, self._make_protocol, self.config.ssl, self._others_have_fewer)

    def _others_have_fewer(self) -> bool:
        if self._seat is None:
            return False
        beginning = sum(acceptor.beginning for acceptor in self._acceptors)
        self._seat.crowd.set(self._seat.place, beginning + len(self.server_state.connections))
        return self._seat.crowd.others_have_fewer(self._seat.place)

    def _drain_s(self) -> float:
        if signal.SIGINT in self._captured_signals:
            return 0
        return min(self._settings.drain_period_s, self._settings.graceful_shutdown_timeout_s)

    def _cut_off(self) -> None:
        left = list(self.server_state.connections)
        if left:
            _log.error("%d connections are cut off: their requests did not end in time", len(left))
        for connection in left:
            connection.transport.abort()

    def _end_of_lifeline(self, lifeline: int) -> None:
        asyncio.get_running_loop().remove_reader(lifeline)
        self.handle_exit(signal.SIGTERM, None)


def _without_query(record: logging.LogRecord) -> bool:
    if isinstance(record.args, tuple) and len(record.args) == 5:
        client, method, path, *rest = record.args
        record.args = (client, method, str(path).partition("?")[0], *rest)
    return True
