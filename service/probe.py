"""`python -m service.probe`: exits with 0 if the service on this host is ready, with 1 and a sentence if not.

The health check of the container images; it needs nothing but Python's own library, and knows only the port.
"""

import os
import sys
import urllib.error
import urllib.request

TIMEOUT_S = 2


def main() -> int:
    """Ask `/readyz` of the port in LATENTWIRE_PORT (default 8000)."""
    url = f"http://127.0.0.1:{os.environ.get('LATENTWIRE_PORT', '8000')}/readyz"
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT_S):
            return 0
    except (urllib.error.URLError, TimeoutError, ConnectionError) as error:
        print(f"not ready: {url}: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
