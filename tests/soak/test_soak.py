"""A short soak, with models that are small; and whether a soak finds out what it is for."""

from pathlib import Path

import httpx
import pytest

from tests.soak.__main__ import soak
from tests.soak.expectations import JSON, WrongAnswer, gives, gives_json, refuses
from tests.soak.memory import LEAST_SAMPLES, Sample, assess
from tests.soak.run import Plan
from tests.soak.servers import serve
from tests.tiny_model import publish_guarded_model, publish_tiny_model

SHORT = Plan(seed=1, rounds=1, dawdle_s=0.2, burst=80)


@pytest.fixture(scope="module")
def models_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    publish_guarded_model(folder, tmp_path_factory.mktemp("scratch"))
    publish_tiny_model(folder, tmp_path_factory.mktemp("scratch"), "other", seed=1)
    return folder


@pytest.mark.parametrize("pair", [False, True], ids=["both", "pair"])
def test_a_short_soak_finds_nothing(models_dir: Path, tmp_path: Path, *, pair: bool) -> None:
    with serve(models_dir, "guarded", tmp_path, (), pair=pair) as service:
        report = soak(service, tmp_path, SHORT)
    assert report.good, report.text()
    assert report.tally.of("right") > 100
    assert report.tally.of("refused") > 10


def test_wrong_answers_and_traces_in_the_log_are_found(models_dir: Path, tmp_path: Path) -> None:
    publish_tiny_model(tmp_path / "models", tmp_path / "scratch", "other", seed=2)
    publish_guarded_model(tmp_path / "models", tmp_path / "scratch")
    with serve(models_dir, "guarded", tmp_path, (), pair=False) as service:
        with serve(tmp_path / "models", "guarded", tmp_path / "scratch", (), pair=False) as another:
            # Of the same names and shapes, with another network in one of them.
            service.registries |= another.registries
        service.processes[0].log.write(b"Traceback\n")
        service.processes[0].log.flush()
        report = soak(service, tmp_path, SHORT)
    assert not report.good
    assert report.tally.failures
    assert "the log has a line with Traceback" in report.faults
    assert "NOT GOOD" in report.text()
    assert any("model_id" in story for story in report.tally.told)


def test_each_difference_is_a_wrong_answer() -> None:
    def answer(status: int, content: bytes, **headers: str) -> httpx.Response:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return httpx.Response(status, content=content, headers=named)

    whole = gives(b"right", "image/png", latentwire_model="a@b")
    whole(answer(200, b"right", content_type="image/png", latentwire_model="a@b"))
    told = gives_json({"numbers": [1.5]})
    told(answer(200, b'{"numbers": [1.5]}', content_type=JSON))
    problem = "application/problem+json"
    document = b'{"type": "x", "title": "x", "status": 400, "detail": "x", "code": "invalid-code"}'
    refused = refuses("invalid-code")
    refused(answer(400, document, content_type=problem))
    for check, wrong in (
        (whole, answer(200, b"wrong", content_type="image/png", latentwire_model="a@b")),
        (whole, answer(200, b"right", content_type="image/png", latentwire_model="a@c")),
        (whole, answer(206, b"right", content_type="image/png", latentwire_model="a@b")),
        (told, answer(200, b'{"numbers": [1.5000001]}', content_type=JSON)),
        (told, answer(200, b'{"numbers": [1.5]}', content_type="text/html")),
        (refused, answer(200, document, content_type=problem)),
        (refused, answer(400, document, content_type="text/plain")),
        (refused, answer(400, document.replace(b"code", b"vector"), content_type=problem)),
        (refused, answer(400, document.replace(b"400", b"404"), content_type=problem)),
        (refused, answer(422, document, content_type=problem)),
        (refuses("invalid-image"), answer(400, document, content_type=problem)),
    ):
        with pytest.raises(WrongAnswer):
            check(wrong)


def test_memory_that_grows_after_warming_up_is_not_flat() -> None:
    def samples(*sizes: int) -> list[Sample]:
        return [Sample(at, at, size) for at, size in enumerate(sizes)]

    count = 2 * LEAST_SAMPLES
    assert assess(samples(*([50] * 10 + [100] * count))).flat
    assert assess(samples(*[100, 100, 900] * count)).flat
    assert assess(samples(*range(1000, 1000 + count))).flat is False
    assert assess(samples(*range(1000, 1010))).flat is None
