"""Short soaks with small models, and whether a soak finds the faults that it looks for."""

import shutil
from pathlib import Path

import httpx
import pytest

from service.inference.registry import open_registry
from service.settings import read_settings
from tests.edge.launching import HAS_NGINX
from tests.service.conftest import serve as serve_here
from tests.soak import any_size_traffic
from tests.soak.__main__ import soak
from tests.soak.expectations import (
    JSON,
    Exchange,
    IncompleteResponse,
    Interrupted,
    WrongResponse,
    gives,
    gives_json,
    interruptible,
    refuses,
    succeeds,
)
from tests.soak.known import Known
from tests.soak.memory import MIN_SAMPLES, Sample, assess
from tests.soak.run import WEIGHTS, Plan
from tests.soak.servers import serve
from tests.tiny_model import publish_guarded_model, publish_tiny_model

NEEDS_NGINX = pytest.mark.skipif(not HAS_NGINX, reason="nginx is not installed")
SHORT = Plan(seed=1, rounds=1, delay_s=0.2, burst=80, restarts=2)


@pytest.fixture(scope="module")
def models_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    publish_guarded_model(folder, tmp_path_factory.mktemp("scratch"))
    publish_tiny_model(folder, tmp_path_factory.mktemp("scratch"), "other", seed=1)
    return folder


@pytest.mark.parametrize(
    ("pair", "replicas", "flags"),
    [
        pytest.param(False, 0, (), id="one process"),
        pytest.param(False, 2, (), marks=NEEDS_NGINX, id="two replicas behind the edge"),
        pytest.param(True, 1, ("--workers", "2"), marks=NEEDS_NGINX, id="sender and receiver with workers"),
    ],
)
def test_a_short_soak_finds_nothing(
    models_dir: Path, tmp_path: Path, flags: tuple[str, ...], *, pair: bool, replicas: int
) -> None:
    with serve(models_dir, "guarded", tmp_path, flags, pair=pair, replicas=replicas) as service:
        report = soak(service, tmp_path, SHORT)
    assert report.good, report.text()
    assert report.restarts == (SHORT.restarts if replicas else 0)
    assert report.tally.of("right") > 100
    assert report.tally.of("refused") > 10


def test_wrong_responses_and_tracebacks_in_the_log_are_found(models_dir: Path, tmp_path: Path) -> None:
    publish_tiny_model(tmp_path / "models", tmp_path / "scratch", "other", seed=2)
    publish_guarded_model(tmp_path / "models", tmp_path / "scratch")
    with serve(models_dir, "guarded", tmp_path, (), pair=False, replicas=0) as service:
        settings = read_settings(["--models-dir", str(tmp_path / "models"), "--default-model", "guarded"])
        # Models of the same names and shapes, with another network in one of them.
        registry = open_registry(settings)
        service.registries = {"sender": registry, "receiver": registry}
        log = service.replicas[0].server.log
        log.write(b"Traceback\n")
        log.flush()
        report = soak(service, tmp_path, SHORT)
    assert not report.good
    assert report.tally.failures
    assert "the log of both-0 has a line with Traceback: Traceback" in report.faults
    assert "NOT GOOD" in report.text()
    assert any("model_id" in message for message in report.tally.messages)


def test_requests_about_images_of_any_size_get_right_responses(
    models_dir: Path, any_size_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(models_dir, tmp_path / "models")
    shutil.copytree(any_size_model, tmp_path / "models" / any_size_model.name)
    settings = read_settings(["--models-dir", str(tmp_path / "models"), "--default-model", "guarded"])
    registry = open_registry(settings)
    # Of two parts. A really large image takes seconds.
    monkeypatch.setattr(any_size_traffic, "LARGE", (1100, 40, 3))
    kinds = set()
    with serve_here(settings) as client:
        for kind, exchange in any_size_traffic.any_size_exchanges(Known(registry, registry, {})):
            headers = dict(exchange.headers)
            exchange.check(client.request(exchange.method, exchange.path, content=exchange.body, headers=headers))
            kinds.add(kind)
    assert kinds <= WEIGHTS.keys()


def test_only_a_batch_may_be_interrupted() -> None:
    for path, expected in (("/encode/batch?x=1", Interrupted), ("/encode", IncompleteResponse)):
        with pytest.raises(expected), interruptible(Exchange("sender", path, succeeds)):
            raise IncompleteResponse


def test_each_difference_is_a_wrong_response() -> None:
    def response(status: int, content: bytes, **headers: str) -> httpx.Response:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return httpx.Response(status, content=content, headers=named)

    whole = gives(b"right", "image/png", latentwire_model="a@b")
    whole(response(200, b"right", content_type="image/png", latentwire_model="a@b"))
    told = gives_json({"numbers": [1.5]})
    told(response(200, b'{"numbers": [1.5]}', content_type=JSON))
    problem = "application/problem+json"
    document = b'{"type": "x", "title": "x", "status": 400, "detail": "x", "code": "invalid-code"}'
    refused = refuses("invalid-code")
    refused(response(400, document, content_type=problem))
    for check, wrong in (
        (whole, response(200, b"wrong", content_type="image/png", latentwire_model="a@b")),
        (whole, response(200, b"right", content_type="image/png", latentwire_model="a@c")),
        (whole, response(206, b"right", content_type="image/png", latentwire_model="a@b")),
        (told, response(200, b'{"numbers": [1.5000001]}', content_type=JSON)),
        (told, response(200, b'{"numbers": [1.5]}', content_type="text/html")),
        (refused, response(200, document, content_type=problem)),
        (refused, response(400, document, content_type="text/plain")),
        (refused, response(400, document.replace(b"code", b"vector"), content_type=problem)),
        (refused, response(400, document.replace(b"400", b"404"), content_type=problem)),
        (refused, response(422, document, content_type=problem)),
        (refuses("invalid-image"), response(400, document, content_type=problem)),
    ):
        with pytest.raises(WrongResponse):
            check(wrong)


def test_memory_that_grows_after_warming_up_is_not_flat() -> None:
    def samples(*sizes: int) -> list[Sample]:
        return [Sample(at, at, size) for at, size in enumerate(sizes)]

    count = 2 * MIN_SAMPLES
    assert assess(samples(*([50] * 10 + [100] * count))).flat
    assert assess(samples(*[100, 100, 900] * count)).flat
    assert assess(samples(*range(1000, 1000 + count))).flat is False
    assert assess(samples(*range(1000, 1010))).flat is None
