"""`python deploy/healthcheck.py`: exits with 0 if the service on this host is ready, with 1 and a sentence if not.

This is the health check of the container images. It needs only Python's standard library. It finds the service by the
variables that the service reads, and by its flags: those given to this program, or those of the first process of the
container, where that is the service.
"""

import argparse
import os
import ssl
import sys
from collections.abc import Sequence
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from pathlib import Path

TIMEOUT_S = 2
FIRST_PROCESS = Path("/proc/1/cmdline")
# What a service listens on that listens on every address.
_LOOPBACK = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104


def main(arguments: Sequence[str]) -> int:
    """Request `/readyz` and return the exit code."""
    host, port, secure = _address(arguments or _flags_of_first_process())
    # The certificate is for the public name of this host.
    context = ssl._create_unverified_context() if secure else None  # noqa: S323
    # No proxy is asked, whatever the environment says: the way is within this host.
    connection = (
        HTTPSConnection(host, port, timeout=TIMEOUT_S, context=context)
        if secure
        else HTTPConnection(host, port, timeout=TIMEOUT_S)
    )
    try:
        connection.request("GET", "/readyz")
        response = connection.getresponse()
        if response.status == 200:
            return 0
        why = f"status {response.status}: {response.read(1000).decode(errors='replace')}"
    except (OSError, HTTPException) as error:
        why = str(error) or type(error).__name__
    finally:
        connection.close()
    print(f"not ready: {host} port {port}: {why}", file=sys.stderr)
    return 1


def _address(flags: Sequence[str]) -> tuple[str, int, bool]:
    """Return the host, the port, and whether the service speaks TLS. What is empty counts as not set, as for it."""
    port = os.environ.get("LATENTWIRE_PORT", "")
    # Kubernetes sets this for a service that is named latentwire. The settings ignore it, too.
    port = "" if port.startswith("tcp://") else port
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--host", default=os.environ.get("LATENTWIRE_HOST") or "127.0.0.1")
    parser.add_argument("--port", type=int, default=port or os.environ.get("PORT") or "8000")
    parser.add_argument("--tls-certificate", default=os.environ.get("LATENTWIRE_TLS_CERTIFICATE"))
    known, _ = parser.parse_known_args(flags)
    return _LOOPBACK.get(known.host, known.host), known.port, bool(known.tls_certificate)


def _flags_of_first_process() -> list[str]:
    try:
        words = FIRST_PROCESS.read_text(encoding="utf-8", errors="replace").split("\0")
    except OSError:
        return []
    return words if ["-m", "service"] in [words[i : i + 2] for i in range(len(words))] else []


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
