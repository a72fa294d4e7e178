"""A service with a small model, an edge in front of it, and bodies for both."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from latentwire.imaging import image
from tests.edge.launching import HAS_NGINX, Edge, run_edge
from tests.service.launching import Server, stop_all
from tests.tiny_model import SHAPE, publish_tiny_model
from training.release.model_dir import draw_golden_image

OCTETS = "application/octet-stream"


@pytest.fixture(scope="package", autouse=True)
def _needs_nginx() -> None:
    if not HAS_NGINX:
        pytest.skip("nginx is not installed")


@pytest.fixture(scope="package")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of one small model; do not write here."""
    folder = tmp_path_factory.mktemp("edge-model")
    return publish_tiny_model(folder / "models", folder / "scratch")


@pytest.fixture
def launch(model: Path, tmp_path: Path) -> Iterator[Callable[..., Server]]:
    """Start a service with these flags."""
    servers: list[Server] = []

    def launch_one(*flags: str) -> Server:
        log = (tmp_path / f"server-{len(servers)}.log").open("wb")
        servers.append(Server("--models-dir", str(model.parent), *flags, log=log))
        return servers[-1]

    yield launch_one
    stop_all(servers)


@pytest.fixture(scope="package")
def server(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A service with the defaults."""
    log = (tmp_path_factory.mktemp("edge-server") / "server.log").open("wb")
    server = Server("--models-dir", str(model.parent), log=log)
    yield server
    stop_all([server])


@pytest.fixture(scope="package")
def edge(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Edge]:
    """An edge with the defaults, in front of `server`."""
    with run_edge([server.address], tmp_path_factory.mktemp("edge")) as edge:
        yield edge


@pytest.fixture
def start_edge(server: Server, tmp_path: Path) -> Iterator[Callable[..., Edge]]:
    """Start an edge with these variables, in front of `server` unless `upstreams` says otherwise."""
    with ExitStack() as stack:

        def start(upstreams: list[tuple[str, int]] | None = None, name: str = "edge", **variables: object) -> Edge:
            given = [server.address] if upstreams is None else upstreams
            return stack.enter_context(run_edge(given, tmp_path, name, **variables))

        yield start


@pytest.fixture(scope="package")
def png() -> bytes:
    """A picture of the model's shape, as a PNG file."""
    return image.write_png(draw_golden_image(SHAPE))


@pytest.fixture(scope="package")
def encoded(server: Server, png: bytes) -> httpx.Response:
    """What the service itself answers to `png`."""
    response = server.client.post("/encode", content=png, headers={"Accept": OCTETS})
    assert response.status_code == 200
    return response
