"""What one process serves: the application, its connections, its certificate, and how it stops."""

import asyncio
import gc
import multiprocessing
import ssl
import sys
import threading
from collections.abc import Callable
from typing import Any, NamedTuple

from starlette.applications import Starlette
from uvicorn.config import STARTUP_FAILURE

from latentwire.errors import ModelError
from latentwire.registry import Registry
from service.app import create_app
from service.errors import StartupRefused
from service.inference.registry import open_registry
from service.server.connections import ConnectionPool
from service.server.http_limits import LimitedHttpProtocol
from service.server.shutdown import GracefulShutdown
from service.server.tls import Certificate, open_certificate
from service.settings import Settings


class _Parts(NamedTuple):
    """What is opened in the process that serves it, and cannot be pickled."""

    app: Starlette
    connections: ConnectionPool
    certificate: Certificate | None
    stopping: threading.Event


class ServingProcess:
    """Gives uvicorn what it asks for. A worker gets a pickled copy, which opens everything itself."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._parts: _Parts | None = None
        self._tasks: list[object] = []

    def open(self, registry: Registry) -> None:
        """Make the application, so that nothing can go wrong later.

        Raises:
            StartupRefused: the settings cannot be served.
        """
        settings = self._settings
        stopping = threading.Event()
        certificate = open_certificate(settings)
        app = create_app(settings, registry, stopping)
        self._parts = _Parts(app, ConnectionPool(settings, app.state.metrics), certificate, stopping)

    def make_app(self) -> Starlette:
        """Return the application. uvicorn calls this once, in the event loop that serves it."""
        app, connections, certificate, stopping = self._opened()
        # The event loop itself keeps weak references only.
        self._tasks.append(GracefulShutdown(self._settings, stopping, connections))
        if certificate is not None:
            self._tasks.append(asyncio.get_running_loop().create_task(certificate.keep_current()))
        # What has been opened stays; the garbage collector need not look at it again.
        gc.freeze()
        gc.enable()
        return app

    def make_protocol(self, **of_uvicorn: Any) -> asyncio.Protocol:
        """Return the protocol of a new connection."""
        return LimitedHttpProtocol(self._opened().connections, **of_uvicorn)

    def make_ssl_context(self, _config: object, _default: Callable[[], ssl.SSLContext]) -> ssl.SSLContext:
        """Return the TLS context; call it only if the settings have a certificate."""
        certificate = self._opened().certificate
        if certificate is None:
            raise ValueError("the settings have no certificate")
        return certificate.context

    def _opened(self) -> _Parts:
        if self._parts is None:
            self._open_in_worker()
        if self._parts is None:
            raise RuntimeError("call open() first")
        return self._parts

    def _open_in_worker(self) -> None:
        try:
            self.open(open_registry(self._settings))
        except (StartupRefused, ModelError) as error:
            name = multiprocessing.current_process().name
            print(f"latentwire: {name} cannot start: {error}", file=sys.stderr)
            sys.exit(STARTUP_FAILURE)
