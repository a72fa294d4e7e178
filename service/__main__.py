"""`python -m service`: flags and environment enter, a running server leaves, or one sentence on why there is none."""

import gc
import logging
import os
import signal
import socket
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING

from latentwire.errors import ModelError
from service.errors import StartupRefused

if TYPE_CHECKING:
    from service.settings import Settings


def main(arguments: Sequence[str]) -> int:
    """Serve until told to stop; return the exit code, 2 if the service could not start."""
    # The first process of a container is not ended by a signal that it has no handler for.
    signal.signal(signal.SIGTERM, lambda _number, _frame: sys.exit(0))
    # A start leaves little behind for the collector, which would look through all that is imported again and again.
    gc.disable()
    # Before numpy is imported, which would start a thread for each of the host's processors, and none is needed.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    # Else pydantic looks through all packages that are installed for such as change what it checks.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    # What checks a class is built when it is first used: of FastAPI's many, most are for /openapi.json alone.
    import pydantic

    pydantic.BaseModel.model_config["defer_build"] = True
    from service.settings import read_settings

    try:
        settings = read_settings(arguments)
        return _serve_alone(settings) if settings.workers == 1 else _serve_with_workers(settings)
    except (StartupRefused, ModelError) as error:
        print(f"latentwire: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


def _serve_alone(settings: "Settings") -> int:
    from service.inference.registry import Registry, open_registry

    def announce(registry: Registry, listener: socket.socket) -> None:
        _greet(settings, list(registry.cards), registry.default, listener)

    from service.server.server import serve

    serve(settings, None, announce, open_registry(settings))
    return 0


def _serve_with_workers(settings: "Settings") -> int:
    from service.server.multiproc_dir import shared_folder

    with ExitStack() as stack:
        # Prometheus' client looks for this when it is imported.
        if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
            try:
                folder = stack.enter_context(shared_folder())
            except OSError as error:
                raise StartupRefused(
                    f"workers share their metrics in a folder, and none can be made: {error.strerror}"
                ) from error
            os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(folder)
        from service.server.supervisor import Opened, Supervisor

        def announce(opened: Opened, listener: socket.socket) -> None:
            _greet(settings, opened.models, opened.default, listener)

        return Supervisor(settings, announce).run()


def _greet(settings: "Settings", models: Sequence[str], default: str, listener: socket.socket) -> None:
    from service.app import installed_version

    names = ", ".join(name + (" (default)" if name == default else "") for name in models)
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    scheme = "http" if settings.tls_certificate is None else "https"
    address = f"{scheme}://{host}:{listener.getsockname()[1]}"
    greeting = f"Latentwire {installed_version()}, role {settings.role}, models {names}: {address} (try {address}/docs)"
    if settings.log_format == "json":
        logging.getLogger("service").info(greeting)
    else:
        print(greeting, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
