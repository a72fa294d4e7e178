"""`python -m service`: flags and environment enter, a running server leaves, or a sentence on why it cannot start."""

import gc
import logging
import os
import signal
import sys
import threading
from collections.abc import Sequence
from types import FrameType
from typing import TYPE_CHECKING

from latentwire import __version__

if TYPE_CHECKING:
    from service.settings import Settings

# Time for the end of a process that is told to stop while it starts.
END_S = 8.0


def main(arguments: Sequence[str]) -> int:
    """Serve until told to stop; return the exit code, 2 if the service could not start."""
    if "--version" in arguments:
        print(f"latentwire {__version__}")
        return 0
    _open_closed_streams()
    # A start leaves little garbage, and much that the collector would look at again and again.
    gc.disable()
    # The kernel does not end the first process of a container by a signal without a handler. When uvicorn has stopped,
    # it puts these handlers back, and sends the signal again.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _end)
    # numpy, when it is imported, starts a thread for each processor of the host unless this is set. None is needed.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    # An empty variable counts as not set, but not for prometheus-client.
    if not os.environ.get("PROMETHEUS_MULTIPROC_DIR"):
        os.environ.pop("PROMETHEUS_MULTIPROC_DIR", None)
    from latentwire.errors import ModelError
    from service.errors import StartupRefused
    from service.settings import read_settings

    try:
        settings = read_settings(arguments)
        from service.server.server import serve  # not earlier: --help and wrong flags do not wait for it

        return serve(settings, lambda *served: _announce(settings, *served))
    except (StartupRefused, ModelError) as error:
        print(f"latentwire: {error}", file=sys.stderr)
        return 2


def _end(_number: int, _frame: FrameType | None) -> None:
    # A start that hangs, as on a disk that does not answer, must not hold up the end.
    timer = threading.Timer(END_S, os._exit, (1,))
    timer.daemon = True
    timer.start()
    sys.exit(0)


def _open_closed_streams() -> None:
    """Open the null device where standard input, output or error is closed; a socket must not take their numbers."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            # The system gives the lowest free number, which is this one.
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # for the workers
            setattr(sys, name, open(number, "r" if name == "stdin" else "w", closefd=False))  # noqa: SIM115


def _announce(settings: "Settings", models: Sequence[str], default: str, port: int) -> None:
    names = ", ".join(name + (" (default)" if name == default else "") for name in models)
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    scheme = "http" if settings.tls_certificate is None else "https"
    address = f"{scheme}://{host}:{port}"
    greeting = f"Latentwire {__version__}, role {settings.role}, models {names}: {address} (try it in a browser)"
    logging.getLogger("service").info(greeting)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
