"""A client that talks to the application inside this process, without a network."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from anyio.from_thread import start_blocking_portal

from latentwire.imaging import image
from latentwire.imaging.image import Pixels
from latentwire.registry import Registry
from service.app import create_app
from service.settings import Settings
from tests.service.client import Client
from tests.service.launching import LaunchServer, Server, stop_all
from tests.tiny_model import SHAPE, publish_tiny_model
from training.release.model_dir import draw_golden_image


@pytest.fixture(scope="session")
def models_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two models of the same shape; do not write here."""
    folder = tmp_path_factory.mktemp("models")
    publish_tiny_model(folder, tmp_path_factory.mktemp("scratch"), "tiny", seed=0)
    publish_tiny_model(folder, tmp_path_factory.mktemp("scratch"), "other", seed=1)
    return folder


@pytest.fixture
def own_models_dir(tmp_path: Path) -> Path:
    """One model, for this test alone."""
    publish_tiny_model(tmp_path / "models", tmp_path / "scratch")
    return tmp_path / "models"


@contextmanager
def serve(settings: Settings, registry: Registry | None = None) -> Iterator[Client]:
    app = create_app(settings, registry)
    with start_blocking_portal() as portal, ExitStack() as stack:
        stack.enter_context(portal.wrap_async_context_manager(app.router.lifespan_context(app)))
        client = Client(app, portal)
        stack.callback(client.close)
        yield client


@pytest.fixture
def start(models_dir: Path) -> Iterator[Callable[..., Client]]:
    """Start an application with these settings; two models, of which `tiny` is the default."""
    with ExitStack() as stack:

        def start_one(registry: Registry | None = None, **changes: object) -> Client:
            values: dict[str, object] = {"models_dir": models_dir, "default_model": "tiny", **changes}
            return stack.enter_context(serve(Settings.model_validate(values), registry))

        yield start_one


@pytest.fixture(scope="session")
def client(models_dir: Path) -> Iterator[Client]:
    """Both roles, all settings at their defaults."""
    with serve(Settings(models_dir=models_dir, default_model="tiny")) as client:
        yield client


@pytest.fixture(scope="session")
def pixels() -> Pixels:
    """A picture of the tiny models' shape."""
    return draw_golden_image(SHAPE)


@pytest.fixture(scope="session")
def png(pixels: Pixels) -> bytes:
    """The same as a PNG file."""
    return image.write_png(pixels)


@pytest.fixture(scope="session")
def bitstream(client: Client, png: bytes) -> bytes:
    """Its code by the model `tiny`."""
    return client.encode(png, accept="application/octet-stream").content


@pytest.fixture(scope="module")
def launch_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LaunchServer]:
    """Start real servers, each with these models and flags; they are stopped after the module's last test."""
    servers: list[Server] = []

    def launch(models_dir: Path, *flags: str) -> Server:
        log = (tmp_path_factory.mktemp("log") / "server.log").open("wb")
        servers.append(Server("--models-dir", str(models_dir), *flags, log=log))
        return servers[-1]

    yield launch
    stop_all(servers)
