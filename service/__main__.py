"""`python -m service`: flags and environment enter, a running server leaves, or one sentence on why there is none."""

import contextlib
import logging
import socket
import sys
from collections.abc import Sequence

import uvicorn

from codec.errors import ModelError
from service.app import create_app, installed_version
from service.errors import StartupRefused
from service.logs import log_config
from service.registry import Registry, open_registry
from service.settings import Settings, read_settings

BACKLOG = 2048


def main(arguments: Sequence[str]) -> int:
    """Serve until told to stop; return the exit code, 2 if the service could not start."""
    try:
        settings = read_settings(arguments)
        # Opened before the server starts, so that what is wrong with a model is said plainly and at once.
        registry = open_registry(settings)
        app = create_app(settings, registry)
        listener = _listen(settings.host, settings.port)
    except (StartupRefused, ModelError) as error:
        print(f"latentwire: {error}", file=sys.stderr)
        return 2
    config = uvicorn.Config(
        app,
        log_config=log_config(settings.log_format),
        log_level="warning" if not settings.access_log else "info",
        # In JSON, what watches the requests writes their lines, as it knows more of them.
        access_log=settings.access_log and settings.log_format == "text",
        server_header=False,
        timeout_graceful_shutdown=settings.shutdown_timeout_s,
    )
    if settings.access_log:
        # A key that someone sends as a query parameter is not taken, and must not stand in the log either.
        logging.getLogger("uvicorn.access").addFilter(_without_query)
    greeting = _greeting(settings, registry, listener)
    if settings.log_format == "json":
        logging.getLogger("service").info(greeting)
    else:
        print(greeting, flush=True)
    # uvicorn has already ended in peace when it raises the signal again that it was told to stop by.
    with contextlib.suppress(KeyboardInterrupt):
        uvicorn.Server(config).run(sockets=[listener])
    return 0


def _without_query(record: logging.LogRecord) -> bool:
    if isinstance(record.args, tuple) and len(record.args) == 5:
        client, method, path, *rest = record.args
        record.args = (client, method, str(path).partition("?")[0], *rest)
    return True


def _listen(host: str, port: int) -> socket.socket:
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


def _greeting(settings: Settings, registry: Registry, listener: socket.socket) -> str:
    names = ", ".join(name + (" (default)" if name == registry.default else "") for name in registry.cards)
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    address = f"http://{host}:{listener.getsockname()[1]}"
    return f"Latentwire {installed_version()}, role {settings.role}, models {names}: {address} (try {address}/docs)"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
