"""The edge proxy: nginx, configured by environment variables, in front of one service or several replicas.

`python3 edge.py` writes nginx's configuration and runs nginx until SIGTERM. `python3 edge.py check` exits with 0 if the
edge and a service behind it are alive, for the container's health check. It needs Python's own library and nginx.

While nginx runs, the names of the upstreams are resolved again and the certificate's files are looked at, each
REFRESH_S. nginx is told to reload when either has changed; requests that have begun go on.
"""

import contextlib
import json
import os
import re
import resource
import shutil
import signal
import socket
import ssl
import string
import subprocess
import sys
import urllib.request
from collections.abc import Mapping
from pathlib import Path

TEMPLATE = Path(__file__).with_name("nginx.conf.template")
REFRESH_S = 2.0
CHECK_TIMEOUT_S = 2.0
# Two processes, so that one answers while the other waits for a disk.
NGINX_WORKERS = 2
# An nginx process opens files that are not connections: logs, the listening socket, long request bodies.
SPARE_FILES = 256
# --queue-timeout-s and the longest work on one image, with a wide margin: 50 megapixels take 80 s of one core.
RESPONSE_TIMEOUT_S = 300
# nginx takes a request's headers in up to four buffers, and each line in one.
HEADER_BUFFERS = 4

# Each variable with its default. deploy/README.md says what each is for. Those without EDGE in their name are settings
# of the service, too, and have the same default there.
DEFAULTS = {
    "LATENTWIRE_EDGE_LISTEN": "0.0.0.0:8000",
    "LATENTWIRE_EDGE_UPSTREAMS": "127.0.0.1:8001",
    "LATENTWIRE_EDGE_PATH_PREFIX": "",
    "LATENTWIRE_EDGE_TLS_CERTIFICATE": "/tls/tls.crt",
    "LATENTWIRE_EDGE_TLS_KEY": "/tls/tls.key",
    "LATENTWIRE_EDGE_TRUSTED_PROXIES": "",
    "LATENTWIRE_EDGE_MAX_CONNECTIONS": "4096",
    "LATENTWIRE_EDGE_MAX_REQUESTS": "1024",
    "LATENTWIRE_EDGE_MAX_REQUESTS_PER_ADDRESS": "128",
    "LATENTWIRE_EDGE_FOLDER": "/tmp/edge",  # noqa: S108 - a container with a read-only root can write to /tmp alone
    "LATENTWIRE_MAX_HEADER_BYTES": "32768",
    "LATENTWIRE_MAX_BODY_BYTES": "10485760",
    "LATENTWIRE_MAX_BATCH_BYTES": "1073741824",
    "LATENTWIRE_HEADER_TIMEOUT_S": "10",
    "LATENTWIRE_KEEP_ALIVE_TIMEOUT_S": "75",
    "LATENTWIRE_IO_IDLE_TIMEOUT_S": "30",
    "LATENTWIRE_BATCH_TIMEOUT_S": "3600",
    "LATENTWIRE_GRACEFUL_SHUTDOWN_TIMEOUT_S": "8",
}

# The problems that nginx reports itself: their code in docs/API.md, status, title and sentence.
PROBLEMS = {
    "invalid-request": (400, "Not an HTTP request", "the request is not valid HTTP/1.1; correct it"),
    "not-found": (404, "No such route", "there is no such route; /docs lists those there are"),
    "method-not-allowed": (405, "The route does not take this method", "no route takes this method; use GET or POST"),
    "body-too-large": (413, "The body is too long", "the body is longer than this route takes; send less"),
    "headers-too-large": (431, "The request's headers are too large", "the request's headers are too long; send less"),
    "overloaded": (429, "Too many requests at the moment", "too many requests are under way; try again later"),
    "not-ready": (503, "Not ready", "no service behind the edge answers at the moment; try again later"),
}


class _Template(string.Template):
    """A template with `@{name}`; `$` is for nginx's own variables."""

    delimiter = "@"


def configuration(environment: Mapping[str, str]) -> str:
    """Return nginx's configuration.

    Args:
        environment: variables of DEFAULTS that are to differ; others are not looked at.

    Raises:
        ValueError: a variable does not have the form that it needs.
    """
    given = {name: environment.get(name) or default for name, default in DEFAULTS.items()}
    for name, default in DEFAULTS.items():
        if default.isdigit() and not (given[name].isascii() and given[name].isdigit() and int(given[name])):
            raise ValueError(f"{name} is {given[name]!r}; give a whole number above 0")
    values = {name.removeprefix("LATENTWIRE_").lower(): value for name, value in given.items()}
    connections = min(int(values["edge_max_connections"]), _most_open_files() - SPARE_FILES)
    tls = _tls(Path(values["edge_tls_certificate"]), Path(values["edge_tls_key"]))
    values |= {
        "nginx_workers": str(NGINX_WORKERS),
        "edge_max_connections": str(connections),
        "open_files": str(connections + SPARE_FILES),
        "header_buffer_bytes": str(max(1024, int(values["max_header_bytes"]) // HEADER_BUFFERS)),
        "response_timeout_s": str(RESPONSE_TIMEOUT_S),
        "listen": values["edge_listen"] + (" ssl" if tls else ""),
        "tls": tls,
        "trusted_proxies": "".join(f"set_real_ip_from {one}; " for one in values["edge_trusted_proxies"].split()),
        # Each address stands twice, so that a request can be sent again to a single replica with several workers.
        "upstreams": "".join(f"server {one} max_fails=0; " for one in 2 * _addresses(values["edge_upstreams"])),
        "path_prefix": _path_prefix(values["edge_path_prefix"]),
        "problems": "\n        ".join(_problem(code, *told) for code, told in PROBLEMS.items()),
    }
    return _Template(TEMPLATE.read_text(encoding="utf-8")).substitute(values)


def run() -> int:
    """Run nginx until a signal or its own end; return the exit code."""
    folder = Path(os.environ.get("LATENTWIRE_EDGE_FOLDER") or DEFAULTS["LATENTWIRE_EDGE_FOLDER"])
    folder.mkdir(mode=0o755, exist_ok=True)
    file = folder / "nginx.conf"
    stop_signals = {signal.SIGTERM, signal.SIGINT}
    # They wait until `sigtimedwait` takes them, so that none comes at a wrong moment.
    signal.pthread_sigmask(signal.SIG_BLOCK, {*stop_signals, signal.SIGCHLD})
    state = _state()
    file.write_text(state[0], encoding="utf-8")
    # Linux's setpriv has the kernel end nginx when this process is killed and cannot do it.
    setpriv = ["setpriv", "--pdeathsig", "TERM"] if shutil.which("setpriv") else []
    command = [*setpriv, "nginx", "-e", "stderr", "-p", str(folder), "-c", str(file)]
    # nginx opens /dev/stdout anew for its access log. Not every standard output can be opened; a pipe of this user can.
    log = subprocess.Popen(["cat"], stdin=subprocess.PIPE)  # noqa: S607
    nginx = subprocess.Popen(command, stdout=log.stdin)  # noqa: S603 - the command is ours but for the folder's name
    while nginx.poll() is None:
        received = signal.sigtimedwait({*stop_signals, signal.SIGCHLD}, REFRESH_S)
        if received is not None and received.si_signo in stop_signals:
            code = _stop(nginx)
            # The last lines of the log.
            log.communicate()
            return code
        if (now := _state()) != state:
            state = now
            file.write_text(state[0], encoding="utf-8")
            nginx.send_signal(signal.SIGHUP)
    return nginx.returncode or 1


def check() -> int:
    """Ask `/livez` through the edge; return 0 if it answers, else 1, and print why."""
    secure = Path(os.environ.get("LATENTWIRE_EDGE_TLS_CERTIFICATE") or DEFAULTS["LATENTWIRE_EDGE_TLS_CERTIFICATE"])
    port = (os.environ.get("LATENTWIRE_EDGE_LISTEN") or DEFAULTS["LATENTWIRE_EDGE_LISTEN"]).rpartition(":")[2]
    url = f"{'https' if secure.exists() else 'http'}://127.0.0.1:{port}/livez"
    # The certificate is for the name that clients use, not for this address.
    context = ssl._create_unverified_context()  # noqa: S323
    try:
        with urllib.request.urlopen(url, timeout=CHECK_TIMEOUT_S, context=context):  # noqa: S310
            return 0
    except OSError as error:
        print(f"not alive: {url}: {error}", file=sys.stderr)
        return 1


def _state() -> tuple[str, list[tuple[int, int]]]:
    """Return the configuration, and what changes when the certificate's files are replaced."""
    files = [Path(os.environ.get(name) or DEFAULTS[name]) for name in DEFAULTS if "_TLS_" in name]
    stats = [file.stat() for file in files if file.exists()]
    return configuration(os.environ), [(stat.st_ino, stat.st_mtime_ns) for stat in stats]


def _stop(nginx: subprocess.Popen[bytes]) -> int:
    """Let requests that have begun come to their end, for a limited time."""
    name = "LATENTWIRE_GRACEFUL_SHUTDOWN_TIMEOUT_S"
    nginx.send_signal(signal.SIGQUIT)
    try:
        return nginx.wait(int(os.environ.get(name) or DEFAULTS[name]))
    except subprocess.TimeoutExpired:
        nginx.terminate()
        return nginx.wait()


def _most_open_files() -> int:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    return sys.maxsize if most == resource.RLIM_INFINITY else most


# The addresses of each upstream when its name was last resolved: a name server that fails does not stop the edge.
_resolved: dict[str, set[str]] = {}


def _addresses(names: str) -> list[str]:
    """Return the addresses of all upstreams, so that a name of several replicas gives one for each."""
    for name in names.split():
        host, _, port = name.rpartition(":")
        if not host or not port.isdigit():
            raise ValueError(f"LATENTWIRE_EDGE_UPSTREAMS names {name!r}; give each as host:port")
        with contextlib.suppress(socket.gaierror):
            resolved = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM)
            hosts = {str(address[0]) for *_, address in resolved}
            _resolved[name] = {f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host in hosts}
    found = set().union(*(_resolved.get(name, set()) for name in names.split()))
    # nginx needs a server to start. A socket that is not there fails at once, which gives 503 until a name resolves.
    return sorted(found) or ["unix:/nonexistent"]


def _tls(certificate: Path, key: Path) -> str:
    if not certificate.exists():
        return ""
    return (
        f"ssl_certificate {certificate}; ssl_certificate_key {key}; ssl_protocols TLSv1.2 TLSv1.3; "
        "ssl_session_cache shared:tls:4m;"
    )


def _path_prefix(prefix: str) -> str:
    if not re.fullmatch(r"(/[\w.~-]+)*/?", prefix):
        raise ValueError(f"LATENTWIRE_EDGE_PATH_PREFIX is {prefix!r}; give a path such as /images")
    path = re.escape(prefix.rstrip("/"))
    return f"rewrite ^{path}(/.*)$ $1;" if path else ""


def _problem(code: str, status: int, title: str, detail: str) -> str:
    document = {
        "type": f"urn:problem-type:latentwire:{code}",
        "title": title,
        "status": status,
        "detail": detail,
        "code": code,
    }
    body = json.dumps(document).replace("'", r"\'")
    return (
        f"location = /problems/{code} {{ internal; default_type application/problem+json; return {status} '{body}'; }}"
    )


if __name__ == "__main__":
    try:
        sys.exit(check() if sys.argv[1:] == ["check"] else run())
    except ValueError as error:
        print(f"edge: {error}", file=sys.stderr)
        sys.exit(2)
