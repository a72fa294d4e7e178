import threading
from collections.abc import Callable

import pytest

from latentwire.errors import GoldenMismatch
from service.inference.registry import Registry, open_registry
from service.settings import Settings
from tests.service.client import OCTETS, Client, assert_problem


class Faults:
    """Makes golden checks fail on demand."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, registry: Registry) -> None:
        self.error: Exception | None = None
        assert registry.encoders is not None
        self.encoder = registry.encoders.by_name("tiny")
        original = self.encoder.check_golden

        def check() -> None:
            if self.error is not None:
                raise self.error
            original()

        monkeypatch.setattr(self.encoder, "check_golden", check)


@pytest.fixture
def registry(models_dir) -> Registry:  # type: ignore[no-untyped-def]
    return open_registry(Settings(models_dir=models_dir, default_model="tiny"))


def test_a_process_with_sound_models_is_alive_and_ready(client: Client) -> None:
    assert client.get("/livez").json() == {"status": "alive"}
    assert client.get("/readyz").json() == {"status": "ready"}


@pytest.mark.parametrize("error", [GoldenMismatch("the encoder of model 'tiny' is off"), RuntimeError("secret")])
def test_a_model_that_fails_its_golden_check_does_not_serve_until_it_passes(
    start: Callable[..., Client], monkeypatch: pytest.MonkeyPatch, registry: Registry, png: bytes, error: Exception
) -> None:
    faults = Faults(monkeypatch, registry)
    client = start(registry)
    bitstream = client.encode(png, accept=OCTETS).content
    faults.error = error
    response = client.get("/readyz")
    assert_problem(response, 503, "not-ready", "'tiny'")
    assert "secret" not in response.text
    assert_problem(client.encode(png), 503, "not-ready", "'tiny'")
    assert client.encode(png, model="other").status_code == 200
    assert client.decode(bitstream).status_code == 200
    assert client.get("/livez").status_code == 200
    faults.error = None
    assert client.get("/readyz").status_code == 200
    assert client.encode(png, accept=OCTETS).content == bitstream


def test_a_model_that_fails_at_startup_does_not_serve(
    start: Callable[..., Client], monkeypatch: pytest.MonkeyPatch, models_dir: object, png: bytes
) -> None:
    def fail(self: object) -> None:
        raise GoldenMismatch("the encoder is off")

    monkeypatch.setattr("latentwire.encoder.Encoder.check_golden", fail)
    client = start()
    assert_problem(client.encode(png), 503, "not-ready", "the encoder is off")
    assert_problem(client.get("/readyz"), 503, "not-ready")


def test_probes_share_a_golden_check_under_way(
    start: Callable[..., Client], monkeypatch: pytest.MonkeyPatch, registry: Registry
) -> None:
    begun, go_on, checks = threading.Event(), threading.Event(), []

    def check() -> list[str]:
        checks.append(1)
        begun.set()
        go_on.wait(10)
        return []

    client = start(registry)
    monkeypatch.setattr(registry, "check_golden", check)
    probes = [client.portal.start_task_soon(client.get_later("/readyz")) for _ in range(20)]
    assert begun.wait(10)
    assert client.get("/livez").status_code == 200
    go_on.set()
    assert {probe.result(10).status_code for probe in probes} == {200}
    assert len(checks) == 1
    assert client.get("/readyz").status_code == 200
    assert len(checks) == 2
