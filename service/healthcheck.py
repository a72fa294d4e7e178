"""`python -m service.healthcheck`: exits with 0 if the service on this host is ready, with 1 and a sentence if not.

This is the health check of the container images. It needs only Python's standard library.
"""

import os
import ssl
import sys
import urllib.error
import urllib.request

TIMEOUT_S = 2


def main() -> int:
    """Request `/readyz` and return the exit code.

    LATENTWIRE_PORT has the port (default 8000). LATENTWIRE_TLS_CERTIFICATE, if it is set, means HTTPS.
    """
    port = os.environ.get("LATENTWIRE_PORT", "8000")
    # Kubernetes sets this for a service that is named latentwire. The settings ignore it, too.
    port = "8000" if port.startswith("tcp://") else port
    secure = "LATENTWIRE_TLS_CERTIFICATE" in os.environ
    url = f"{'https' if secure else 'http'}://127.0.0.1:{port}/readyz"
    # The certificate is for the public name of this host.
    context = ssl._create_unverified_context() if secure else None  # noqa: S323
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT_S, context=context):  # noqa: S310
            return 0
    except (urllib.error.URLError, TimeoutError, ConnectionError) as error:
        print(f"not ready: {url}: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
