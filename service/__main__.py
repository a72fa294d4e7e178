"""`python -m service`: flags and environment enter, a running server leaves, or one sentence on why there is none."""

import contextlib
import logging
import socket
import ssl
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
        tls = _open_tls(settings)
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
        headers=[("X-Content-Type-Options", "nosniff")],
        ssl_context_factory=None if tls is None else (lambda _config, _default: tls),
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


def _open_tls(settings: Settings) -> ssl.SSLContext | None:
    if settings.tls_certificate is None:
        if settings.tls_key is not None:
            raise StartupRefused("the setting tls_key goes with tls_certificate, which is not set")
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        # With no password given, an encrypted key would be asked for at the terminal.
        context.load_cert_chain(settings.tls_certificate, settings.tls_key, password="")
    except OSError as error:
        reason = (
            "not a certificate and its key, in PEM and not encrypted"
            if isinstance(error, ssl.SSLError)
            else error.strerror
        )
        files = " and ".join(f"'{path}'" for path in (settings.tls_certificate, settings.tls_key) if path is not None)
        raise StartupRefused(f"TLS cannot be spoken with {files}: {reason}") from error
    return context


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
    scheme = "http" if settings.tls_certificate is None else "https"
    address = f"{scheme}://{host}:{listener.getsockname()[1]}"
    return f"Latentwire {installed_version()}, role {settings.role}, models {names}: {address} (try {address}/docs)"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
