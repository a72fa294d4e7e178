"""Requests through the edge: the same responses as from the service, and nginx's own errors in the API's form."""

import json
import re
import select
import socket
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from deploy.edge import DEFAULTS, PROBLEMS, configuration
from tests.edge.launching import PROGRAM, Edge, accepts, free_port
from tests.service.client import OCTETS, assert_problem
from tests.service.launching import ROOT, Server, wait_until
from tests.soak.raw_responses import received

StartEdge = Callable[..., Edge]
MAX_BODY_BYTES = int(DEFAULTS["LATENTWIRE_MAX_BODY_BYTES"])


def head_of(path: str, length: int, *fields: str) -> bytes:
    lines = [f"POST {path} HTTP/1.1", "Host: test", f"Accept: {OCTETS}", f"Content-Length: {length}", *fields]
    return "\r\n".join([*lines, "", ""]).encode()


def exchange(edge: Edge, data: bytes) -> list[httpx.Response]:
    """Send `data`; return all responses until the edge closes the connection."""
    with edge.connect() as connection:
        connection.sendall(data)
        return received(connection)


def test_an_image_and_its_code_pass(edge: Edge, server: Server, png: bytes, encoded: httpx.Response) -> None:
    response = edge.client.post("/encode", content=png, headers={"Accept": OCTETS})
    assert (response.status_code, response.content) == (200, encoded.content)
    image = edge.client.post("/decode", content=response.content)
    assert image.content == server.client.post("/decode", content=encoded.content).content
    for name in ("latentwire-model", "vary", "content-type"):
        assert response.headers.get_list(name) == encoded.headers.get_list(name)


def test_slashes_lead_to_the_same_routes_and_not_to_metrics(edge: Edge, png: bytes, encoded: httpx.Response) -> None:
    def answer(path: str, body: bytes = b"") -> httpx.Response:
        head = head_of(path, len(body), "Connection: close")
        (response,) = exchange(edge, head + body)
        return response

    for path in ("/encode/", "//encode", "//encode//"):
        assert answer(path, png).content == encoded.content
    for path in ("/metrics", "/metrics/", "//metrics", "/metrics%2F", "/x/..//metrics//", "/%6detrics/%2f"):
        assert_problem(answer(path), 404, "not-found")
    assert_problem(answer("/encode/batch/", b"no batch"), 400, "invalid-array")
    assert_problem(answer("//decode//batch/", b"no batch"), 406, "not-acceptable", "application/x-npy")


def test_each_header_comes_once(edge: Edge, server: Server) -> None:
    for path in ("/livez", "/nope"):
        headers = edge.client.get(path, headers={"X-Request-Id": "a-1"}).headers
        assert headers.get_list("x-request-id") == ["a-1"]
        assert headers.get_list("x-content-type-options") == ["nosniff"]
        assert headers.get_list("x-frame-options") == ["DENY"]
        assert "server" not in headers or headers["server"] == "nginx"
        assert "strict-transport-security" not in headers
    own = edge.client.get("/metrics", headers={"X-Request-Id": "not a sound id"})
    assert len(own.headers["x-request-id"]) == 32


def test_a_post_that_offers_h2c_arrives_with_its_body(edge: Edge, png: bytes, encoded: httpx.Response) -> None:
    offer = ["Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAEAAEAAAAIAAAABAAMAAABkAAQBAAAA"]
    with edge.connect() as connection:
        connection.sendall(head_of("/encode", len(png), *offer) + png)
        connection.sendall(b"GET /livez HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n")
        response, _ = received(connection)
    assert (response.status_code, response.content) == (200, encoded.content)


def test_a_path_prefix_is_taken_off(start_edge: StartEdge, png: bytes, encoded: httpx.Response) -> None:
    edge = start_edge(EDGE_PATH_PREFIX="/images/v1")
    for prefix in ("/images/v1", ""):
        response = edge.client.post(f"{prefix}/encode?fit=pad", content=png, headers={"Accept": OCTETS})
        assert (response.status_code, response.content) == (200, encoded.content)
        assert edge.client.get(f"{prefix}/readyz").status_code == 200
        assert_problem(edge.client.get(f"{prefix}/metrics"), 404, "not-found")
    assert_problem(edge.client.get("/images/v2/livez"), 404, "not-found")
    page, document = edge.client.get("/images/v1/docs"), edge.client.get("/images/v1/openapi.json")
    for link in re.findall(r'(?:href|src)="(.*?)"', page.text):
        assert edge.client.get(str(page.url.join(link))).status_code == 200
        assert page.url.join(link).path.startswith("/images/v1/")
    (root,) = document.json()["servers"]
    assert document.url.join(root["url"]).path == "/images/v1/"


@pytest.mark.parametrize("path", ["/metrics", "//metrics", "/%6detrics", "/models/../metrics", "/metrics?x=1"])
def test_metrics_are_hidden(edge: Edge, server: Server, path: str) -> None:
    assert server.client.get("/metrics").status_code == 200
    (response,) = exchange(edge, f"GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n".encode())
    assert_problem(response, 404, "not-found")


def test_the_service_learns_the_clients_address_and_not_what_a_client_claims(
    launch: Callable[..., Server], start_edge: StartEdge
) -> None:
    server = launch("--log-format", "json")
    edge = start_edge([server.address])
    claimed = {"X-Forwarded-For": "192.0.2.1", "Forwarded": "for=192.0.2.1", "X-Request-Id": "claimed"}
    assert edge.client.get("/livez", headers=claimed).status_code == 200
    trusting = start_edge([server.address], EDGE_TRUSTED_PROXIES="127.0.0.1")
    assert trusting.client.get("/livez", headers=claimed | {"X-Request-Id": "trusted"}).status_code == 200
    server.stop()
    lines = [json.loads(line) for line in server.output().splitlines()]
    clients = {line["request_id"]: line["client"] for line in lines if line.get("route") == "/livez"}
    assert clients["claimed"].startswith("127.0.0.1")
    assert clients["trusted"].startswith("192.0.2.1")


@pytest.mark.parametrize(
    "data",
    [
        b"nonsense\r\n\r\n",
        b"NONSENSE /encode HTTP/9.9\r\nHost: x\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET /livez HTTP/1.1\r\n\r\n",
        b"POST /encode HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\nabc",
        b"POST /encode HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"GET /livez HTTP/0.9\r\n\r\n",
        b"GET /livez HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n",
        b"GET /livez HTTP/1.0\r\nHost: x\r\nHost: x\r\n\r\n",
        b"GET /livez HTTP/1.1\r\nHost: x y/z\r\n\r\n",
        b"POST /decode HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        b"POST /decode HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /decode HTTP/1.0\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ],
)
def test_what_is_not_http_is_an_invalid_request(edge: Edge, data: bytes) -> None:
    (response,) = exchange(edge, data)
    assert_problem(response, 400, "invalid-request")


def test_http_0_9_gets_no_response_of_the_service(edge: Edge) -> None:
    with edge.connect() as connection:
        connection.sendall(b"GET /livez\r\n\r\n")
        assert b"invalid-request" in b"".join(iter(lambda: connection.recv(1 << 16), b""))


def test_http_1_0_needs_no_host(edge: Edge) -> None:
    (response,) = exchange(edge, b"GET /livez HTTP/1.0\r\n\r\n")
    assert response.json() == {"status": "alive"}


def test_trailers_are_no_headers(edge: Edge, png: bytes, encoded: httpx.Response) -> None:
    head = head_of("/encode", 0, "Connection: close").replace(b"Content-Length: 0", b"Transfer-Encoding: chunked")
    chunks = f"{len(png):x}\r\n".encode() + png + b"\r\n0\r\n"
    (response,) = exchange(edge, head + chunks + b"Accept: text/html\r\nContent-Type: text/plain\r\n\r\n")
    assert response.content == encoded.content


@pytest.mark.parametrize(("path", "methods"), [("/encode", "POST"), ("/models?x=1", "GET, HEAD")])
def test_trace_is_no_method(edge: Edge, path: str, methods: str) -> None:
    (response,) = exchange(edge, f"TRACE {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    assert_problem(response, 405, "method-not-allowed")
    assert response.headers.get_list("allow") == [methods]


@pytest.mark.parametrize(
    "request_line",
    [
        b"GET /livez?" + b"x" * 40_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /livez HTTP/1.1\r\nHost: x\r\nX-Long: " + b"x" * 40_000 + b"\r\n\r\n",
        b"GET /livez HTTP/1.1\r\nHost: x\r\n" + b"X: yyyyyyyyyyyyyyyy\r\n" * 3000 + b"\r\n",
    ],
    ids=["line", "header", "many headers"],
)
def test_headers_over_the_limit(edge: Edge, request_line: bytes) -> None:
    (response,) = exchange(edge, request_line)
    assert_problem(response, 431, "headers-too-large")


@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
@pytest.mark.parametrize("path", ["/encode", "/decode"])
def test_a_body_over_the_limit(edge: Edge, server: Server, path: str, *, chunked: bool) -> None:
    body = bytes(MAX_BODY_BYTES + 1)
    # httpx reads nothing before it has sent everything.
    content = iter([body[: len(body) // 2], body[len(body) // 2 :]]) if chunked else body
    assert_problem(edge.client.post(path, content=content), 413, "body-too-large")
    assert edge.client.get("/livez").status_code == 200


def test_a_batch_may_be_longer_than_a_single_body(start_edge: StartEdge, png: bytes) -> None:
    edge = start_edge(MAX_BODY_BYTES=100, MAX_BATCH_BYTES=5000)
    assert_problem(edge.client.post("/encode", content=bytes(101)), 413, "body-too-large")
    # The service says what is wrong with it, so it has arrived.
    assert_problem(edge.client.post("/decode/batch", content=bytes(5000)), 400, "invalid-code")
    assert_problem(edge.client.post("/decode/batch", content=bytes(5001)), 413, "body-too-large")


def test_the_access_log_has_the_original_request_without_its_query(start_edge: StartEdge) -> None:
    edge = start_edge(MAX_BODY_BYTES=10)
    edge.client.post("/encode?key=secret", content=bytes(11), headers={"X-Request-Id": "too-long"})
    edge.stop()
    assert "secret" not in edge.output()
    (line,) = [json.loads(line) for line in edge.output().splitlines() if "too-long" in line]
    assert (line["method"], line["path"], line["status"]) == ("POST", "/encode", 413)


def test_a_body_that_cannot_be_stored_is_refused(start_edge: StartEdge) -> None:
    edge = start_edge()
    (edge.folder / "body").rmdir()
    response = edge.client.post("/encode", content=bytes(1_000_000))
    assert_problem(response, 429, "overloaded")
    assert response.headers["retry-after"] == "1"


def test_requests_over_the_limit_of_an_address(start_edge: StartEdge, png: bytes) -> None:
    edge = start_edge(EDGE_MAX_REQUESTS_PER_ADDRESS=1)
    head = head_of("/encode", len(png), "Connection: close")
    with ExitStack() as connections:
        waiting = connections.enter_context(edge.connect())
        waiting.sendall(head)
        while (response := edge.client.post("/encode", content=png)).status_code != 429:
            assert response.status_code == 200
            # The edge may have counted the other request first, and refused the waiting one.
            if select.select([waiting], [], [], 0)[0]:
                waiting = connections.enter_context(edge.connect())
                waiting.sendall(head)
        assert_problem(response, 429, "overloaded")
        assert response.headers.get_list("retry-after") == ["1"]
        assert edge.client.get("/readyz").status_code == 200
        waiting.sendall(png)
        (response,) = received(waiting)
        assert response.status_code == 200


def test_the_services_own_refusals_pass_unchanged(launch: Callable[..., Server], start_edge: StartEdge) -> None:
    server = launch("--max-buffered-body-bytes", "1")
    edge = start_edge([server.address])
    assert_problem(edge.client.post("/encode", content=b"not an image"), 400, "invalid-image")
    assert_problem(edge.client.post("/nope"), 404, "not-found")
    assert_problem(edge.client.get("/encode"), 405, "method-not-allowed")


def test_without_a_service_it_is_not_ready(start_edge: StartEdge, png: bytes) -> None:
    for upstreams in ([("127.0.0.1", free_port())], [("no-such-host.invalid", 8000)]):
        edge = start_edge(upstreams)
        assert_problem(edge.client.post("/encode", content=png), 503, "not-ready")
        assert_problem(edge.client.get("/readyz"), 503, "not-ready")
        edge.stop()


def test_each_problem_has_a_code_of_the_api() -> None:
    for code, (status, title, detail) in PROBLEMS.items():
        document = {
            "type": f"urn:problem-type:latentwire:{code}",
            "title": title,
            "status": status,
            "detail": detail,
            "code": code,
        }
        headers = {"content-type": "application/problem+json"}
        assert_problem(httpx.Response(status, headers=headers, content=json.dumps(document)), status, code)


def test_the_page_lists_each_variable_with_its_default() -> None:
    rows = (ROOT / "deploy" / "README.md").read_text(encoding="utf-8").splitlines()
    listed = {
        cells[1].strip(" `"): cells[2].strip(" `") for cells in (row.split("|") for row in rows) if len(cells) == 5
    }
    assert {name: value for name, value in listed.items() if name.startswith("LATENTWIRE")} == DEFAULTS


@pytest.mark.parametrize(
    "variables",
    [
        {"LATENTWIRE_MAX_BODY_BYTES": "10m"},
        {"LATENTWIRE_EDGE_MAX_REQUESTS": "0"},
        {"LATENTWIRE_EDGE_UPSTREAMS": "latentwire"},
        {"LATENTWIRE_EDGE_PATH_PREFIX": "/a;b"},
    ],
)
def test_a_variable_that_is_wrong_is_named(variables: dict[str, str]) -> None:
    (name,) = variables
    with pytest.raises(ValueError, match=f"{name} .*; give "):
        configuration(variables)


def test_each_address_of_a_name_is_a_replica_and_stays_when_its_name_server_fails(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    addresses = ["192.0.2.1", "192.0.2.2", "2001:db8::1"]
    variables = {"LATENTWIRE_EDGE_UPSTREAMS": "replicas.test:8000"}
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [(0, 0, 0, "", (each, 8000)) for each in addresses])
    found = configuration(variables)
    for server in ("192.0.2.1:8000", "192.0.2.2:8000", "[2001:db8::1]:8000"):
        assert f"server {server} max_fails=0;" in found
    addresses.remove("192.0.2.1")
    fewer = configuration(variables)
    assert "192.0.2.1:8000" not in fewer

    def fail(*_: object, **__: object) -> None:
        raise socket.gaierror

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    assert configuration(variables) == fewer


def test_it_writes_to_one_folder_alone(edge: Edge) -> None:
    assert PROGRAM.parent == Path(ROOT) / "deploy"
    assert {path.name for path in edge.folder.iterdir()} >= {"nginx.conf", "nginx.pid", "body"}


def test_nginx_ends_with_the_program_that_was_killed(edge: Edge) -> None:
    edge.process.kill()
    wait_until(lambda: not accepts(edge.address), "nothing listens on the edge's port")
