"""Both clients behind one set of methods, and real services with tiny models for them."""

import asyncio
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from contextvars import copy_context
from pathlib import Path
from typing import Any, Protocol

import pytest

from latentwire.client import AsyncClient, Client
from tests.service.launching import LaunchServer, Server, stop_all
from tests.tiny_model import publish_guarded_model, publish_tiny_model

KEY, SENDER_KEY, RECEIVER_KEY = "both-0123456789abcdef", "sender-0123456789abcdef", "receiver-0123456789abcdef"


class Blocking:
    """An `AsyncClient` with blocking methods."""

    def __init__(self, client: AsyncClient, runner: asyncio.Runner) -> None:
        self._client = client
        self._runner = runner

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self._client, name)
        if not name.endswith("_many"):
            return lambda *given, **options: self._run(method(*given, **options))
        return lambda *given, **options: self._all(method(*given, **options))

    def _run(self, call: Any) -> Any:
        return self._runner.run(call, context=copy_context())

    def _all(self, results: Any) -> Iterator[Any]:
        while True:
            try:
                yield self._run(anext(results))
            except StopAsyncIteration:
                return


class MakeClient(Protocol):
    """Makes a client of either kind with these arguments; it is closed after the test."""

    def __call__(self, *given: Any, **options: Any) -> Any: ...


@pytest.fixture(params=["Client", "AsyncClient"])
def make_client(request: pytest.FixtureRequest) -> Iterator[MakeClient]:
    with ExitStack() as stack:
        runner = stack.enter_context(asyncio.Runner())

        def make(*given: Any, **options: Any) -> Any:
            if request.param == "Client":
                return stack.enter_context(Client(*given, **options))
            client = AsyncClient(*given, **options)
            stack.callback(lambda: runner.run(client.aclose()))
            return Blocking(client, runner)

        yield make


@pytest.fixture(scope="session")
def launch(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LaunchServer]:
    servers: list[Server] = []

    def start(models_dir: Path, *flags: str) -> Server:
        log = (tmp_path_factory.mktemp("log") / "server.log").open("wb")
        servers.append(Server("--models-dir", str(models_dir), *flags, log=log))
        return servers[-1]

    yield start
    stop_all(servers)


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The models `guarded`, the default, and `tiny`, which has no guard."""
    folder, scratch = tmp_path_factory.mktemp("models"), tmp_path_factory.mktemp("scratch")
    publish_guarded_model(folder, scratch)
    publish_tiny_model(folder, scratch, "tiny", seed=5)
    return folder


@pytest.fixture(scope="session")
def service(launch: LaunchServer, models: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The address of a service of both roles, with keys."""
    keys = tmp_path_factory.mktemp("keys") / "keys"
    keys.write_text(f"{KEY}\nsender:{SENDER_KEY}\nreceiver:{RECEIVER_KEY}\n", encoding="ascii")
    server = launch(models, "--default-model", "guarded", "--api-keys-file", str(keys))
    return str(server.client.base_url)


@pytest.fixture(scope="session")
def receiver(launch: LaunchServer, models: Path) -> str:
    """The address of a receiver without keys."""
    server = launch(models, "--default-model", "guarded", "--role", "receiver")
    return str(server.client.base_url)


@pytest.fixture(scope="session")
def any_size_service(
    launch: LaunchServer, any_size_model: Path, make_certificate: Callable[[str], tuple[Path, Path]]
) -> tuple[str, Path]:
    """The https address of a service with one model, which takes images of any size; and its certificate."""
    certificate, key = make_certificate("service")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SSL_CERT_FILE", str(certificate))
        server = launch(any_size_model.parent, "--tls-certificate", str(certificate), "--tls-key", str(key))
    return str(server.client.base_url), certificate


@pytest.fixture
def client(make_client: MakeClient, service: str) -> Any:
    """A client of `service`, with a key."""
    return make_client(service, api_key=KEY)


def drain(results: Iterable[Any]) -> tuple[list[Any], Exception | None]:
    """Return what an iterator yields before it ends or fails, and its error."""
    found = []
    try:
        for result in results:
            found.append(result)
    except Exception as error:  # the tests look at it
        return found, error
    return found, None
