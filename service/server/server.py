"""The service as one process, or as a parent and its workers: settings enter, an exit code leaves."""

import gc
import logging
import multiprocessing
import os
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from tempfile import TemporaryDirectory
from typing import cast

import uvicorn

from service.errors import StartupRefused
from service.inference.registry import open_registry
from service.middleware.api_keys import open_keys
from service.observability.logs import log_config
from service.observability.metrics import MULTIPROC_DIR
from service.server.process import ServingProcess
from service.server.shutdown import HUNG_S
from service.server.tls import open_certificate
from service.server.workers import Workers
from service.settings import Settings

BACKLOG = 2048
# A worker that does not respond to its parent for this time is replaced. Imports take long on a busy machine.
HUNG_WORKER_S = 30
# A hung parent is ended by force this time after its workers.
AFTER_WORKERS_S = 2.0
SHARED_MEMORY = "/dev/shm"  # noqa: S108

_log = logging.getLogger(__name__)

# Called when the service answers, with the names of its models, that of the default model, and the port.
Announce = Callable[[list[str], str, int], None]


def serve(settings: Settings, announce: Announce) -> int:
    """Open the models and answer requests until told to stop; return the exit code.

    Raises:
        StartupRefused: these settings and models cannot be served.
        ModelError: a model's card or graph is not valid.
    """
    process = ServingProcess(settings)
    config = _uvicorn_config(settings, process)  # this also configures logging
    if settings.workers > 1:
        gc.enable()
        return _serve_with_workers(settings, config, announce)
    registry = open_registry(settings)
    process.open(registry)
    with listen(settings.host, settings.port) as listener:
        _log_failures(registry.failures)
        announce(list(registry.cards), registry.default, listener.getsockname()[1])
        uvicorn.Server(config).run(sockets=[listener])
    return 0


def _serve_with_workers(settings: Settings, config: uvicorn.Config, announce: Announce) -> int:
    # Each worker opens the models itself. A process that ends again does it first, so that what is wrong with them is
    # said once, and so that the parent does not keep their memory.
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as checker:
        models, default, failures = checker.submit(_check, settings).result()
    with listen(settings.host, settings.port) as listener, _metrics_folder():
        _log_failures(failures)
        announce_all = partial(announce, models, default, listener.getsockname()[1])
        stop_timeout_s = settings.graceful_shutdown_timeout_s + HUNG_S + AFTER_WORKERS_S
        return Workers(config, listener, announce_all, stop_timeout_s).serve()


def _log_failures(failures: dict[str, str]) -> None:
    for sentence in failures.values():
        _log.error("%s; this model is not served", sentence)


def _check(settings: Settings) -> tuple[list[str], str, dict[str, str]]:
    open_keys(settings)
    open_certificate(settings)
    registry = open_registry(settings)
    return list(registry.cards), registry.default, registry.failures


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens.

    Raises:
        StartupRefused: the address is not this host's, or the port is taken.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio turns off Nagle's algorithm, which delays responses by 40 ms, only if the protocol is given.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise StartupRefused(f"cannot listen on {host} port {port}: {error.strerror}") from error
    return listener


def _uvicorn_config(settings: Settings, process: ServingProcess) -> uvicorn.Config:
    return uvicorn.Config(
        process.make_app,
        factory=True,
        http=cast("type", process.make_protocol),
        ws="none",
        ssl_context_factory=None if settings.tls_certificate is None else process.make_ssl_context,
        workers=settings.workers,
        timeout_keep_alive=settings.keep_alive_timeout_s,
        timeout_worker_healthcheck=HUNG_WORKER_S,
        log_config=log_config(settings.log_format),
        log_level="info" if settings.access_log else "warning",
        # In JSON, the middleware for metrics logs requests, as it knows more of them.
        access_log=settings.access_log and settings.log_format == "text",
        server_header=False,
        headers=[("X-Content-Type-Options", "nosniff")],
    )


@contextmanager
def _metrics_folder() -> Iterator[None]:
    """Give the workers a folder to share their metrics in, unless the environment names one."""
    if MULTIPROC_DIR in os.environ:
        yield
        return
    with ExitStack() as stack:
        # A container with a read-only root may have no other folder to write to than that of its shared memory.
        for parent in (None, SHARED_MEMORY):
            with suppress(OSError):
                folder = TemporaryDirectory(prefix="latentwire-metrics-", dir=parent)
                os.environ[MULTIPROC_DIR] = stack.enter_context(folder)
                break
        else:
            _log.error("no folder can be made for the workers' metrics, so /metrics shows those of one; set TMPDIR")
        yield
