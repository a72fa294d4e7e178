import re
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from latentwire.encoder import Encoder
from latentwire.errors import GoldenMismatch
from latentwire.registry import Registry
from service.inference.registry import open_registry
from service.settings import Settings
from tests.service.client import OCTETS, Client, assert_problem
from tests.tiny_model import publish_tiny_model


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
    assert client.get("/readyz").json() == {"status": "ready", "unavailable_models": {}}


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


def test_a_model_other_than_the_default_does_not_make_the_process_unready(
    start: Callable[..., Client], monkeypatch: pytest.MonkeyPatch, own_models_dir: Path, png: bytes
) -> None:
    publish_tiny_model(own_models_dir, own_models_dir.parent / "more", "other", seed=1)
    (own_models_dir / "broken").mkdir()
    (own_models_dir / "broken" / "card.json").touch()
    client = start(models_dir=own_models_dir)
    answer = client.get("/readyz")
    assert answer.status_code == 200
    assert list(answer.json()["unavailable_models"]) == ["broken"]
    assert_problem(client.encode(png, model="broken"), 503, "not-ready", "card of model 'broken' is not valid")
    assert_problem(client.get("/models/broken"), 503, "not-ready")
    assert [card["name"] for card in client.get("/models").json()["models"]] == ["other", "tiny"]

    def fail(encoder: Encoder) -> None:
        if encoder.card.name == "other":
            raise GoldenMismatch("the encoder is off")

    monkeypatch.setattr("latentwire.encoder.Encoder.check_golden", fail)
    assert client.get("/readyz").json()["unavailable_models"]["other"] == "the encoder is off"
    ready = re.findall(r'^latentwire_model_ready{model="(\w+)"} ([01]).0$', client.get("/metrics").text, re.MULTILINE)
    assert dict(ready) == {"broken": "0", "other": "0", "tiny": "1"}
    assert client.encode(png).status_code == 200


def test_with_strict_models_any_model_makes_the_process_unready(
    start: Callable[..., Client], monkeypatch: pytest.MonkeyPatch, png: bytes
) -> None:
    client = start(strict_models=True)

    def fail(encoder: Encoder) -> None:
        if encoder.card.name == "other":
            raise GoldenMismatch("the encoder is off")

    monkeypatch.setattr("latentwire.encoder.Encoder.check_golden", fail)
    assert_problem(client.get("/readyz"), 503, "not-ready", "the encoder is off")
    assert client.encode(png).status_code == 200


def test_probes_share_a_golden_check_under_way(
    start: Callable[..., Client], monkeypatch: pytest.MonkeyPatch, registry: Registry
) -> None:
    begun, go_on, checks = threading.Event(), threading.Event(), []

    def check() -> dict[str, str]:
        checks.append(1)
        begun.set()
        go_on.wait(10)
        return {}

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
