"""`python -m service.healthcheck`: exits with 0 if the service on this host is ready, with 1 and a sentence if not.

The health check of the container images; it needs nothing but Python's own library, and knows only the port and whether
TLS is spoken.
"""

import os
import ssl
import sys
import urllib.error
import urllib.request

TIMEOUT_S = 2


def main() -> int:
    """Ask `/readyz` of the port in LATENTWIRE_PORT (default 8000), by HTTPS if LATENTWIRE_TLS_CERTIFICATE is set."""
    port = os.environ.get("LATENTWIRE_PORT", "8000")
    # As in the service's settings: Kubernetes sets this for a service that is named latentwire.
    port = "8000" if port.startswith("tcp://") else port
    secure = "LATENTWIRE_TLS_CERTIFICATE" in os.environ
    url = f"{'https' if secure else 'http'}://127.0.0.1:{port}/readyz"
    # The certificate is for the name that others call this host by.
    context = ssl._create_unverified_context() if secure else None  # noqa: S323
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT_S, context=context):  # noqa: S310
            return 0
    except (urllib.error.URLError, TimeoutError, ConnectionError) as error:
        print(f"not ready: {url}: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
