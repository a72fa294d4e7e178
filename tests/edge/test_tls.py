"""TLS at the edge: used when there is a certificate, and a renewed one is taken up."""

import ssl
import subprocess
from collections.abc import Callable
from pathlib import Path

import httpx

from tests.edge.launching import PROGRAM, Edge
from tests.edge.test_requests import StartEdge
from tests.service.client import OCTETS, assert_problem
from tests.service.launching import wait_until
from tests.soak.raw_responses import received


def presented(edge: Edge) -> str:
    """Return the certificate that the edge presents to a new connection."""
    return ssl.get_server_certificate(edge.address)


def test_a_certificate_is_used_and_a_renewed_one_too(
    start_edge: StartEdge, make_certificate: Callable[[str], tuple[Path, Path]], png: bytes, encoded: httpx.Response
) -> None:
    certificate, key = make_certificate("first")
    edge = start_edge(EDGE_TLS_CERTIFICATE=certificate, EDGE_TLS_KEY=key)
    context = ssl.create_default_context(cafile=str(certificate))
    with httpx.Client(base_url=edge.client.base_url, verify=context) as client:
        response = client.post("/encode", content=png, headers={"Accept": OCTETS})
        assert (response.status_code, response.content) == (200, encoded.content)
        assert response.headers["strict-transport-security"].startswith("max-age=")
    with edge.connect() as plain:
        plain.sendall(b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        (refusal,) = received(plain)
    assert_problem(refusal, 400, "invalid-request")
    assert subprocess.run(["python3", str(PROGRAM), "check"], env=edge.environment).returncode == 0

    renewed, renewed_key = make_certificate("second")
    before = presented(edge)
    renewed_key.replace(key)
    renewed.replace(certificate)
    wait_until(lambda: presented(edge) != before, "the renewed certificate is used")


def test_the_health_check_fails_without_a_service(start_edge: StartEdge) -> None:
    edge = start_edge()
    assert subprocess.run(["python3", str(PROGRAM), "check"], env=edge.environment).returncode == 0
    lonely = start_edge([("127.0.0.1", 1)], name="lonely")
    assert subprocess.run(["python3", str(PROGRAM), "check"], env=lonely.environment).returncode == 1
