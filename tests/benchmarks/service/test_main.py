import http.client
import shutil
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from benchmarks.service.__main__ import main
from benchmarks.service.dense import NAME, SIZES, publish_dense
from benchmarks.service.load_generator import Load, Request
from benchmarks.service.servers import Cores, Server, baseline, service
from latentwire.decoder import Decoder
from latentwire.encoder import Encoder
from service.settings import Settings, read_settings
from tests.contract.goldens import REPOSITORY
from training.data.synthetic import draw_digits

MEASURED = "mnist-conv-10"


@pytest.fixture(scope="module")
def models_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("measured")
    shutil.copytree(REPOSITORY / "models" / MEASURED, folder / MEASURED)
    return folder


@pytest.fixture(scope="module")
def dense_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dense")
    publish_dense(folder / "models", folder)
    return folder / "models"


def test_the_dense_model_works(dense_dir: Path) -> None:
    pixels, _ = draw_digits(3, 0)
    encoded = Encoder.open(dense_dir / NAME).encode(pixels)
    assert len(encoded[0].y) == SIZES[-1]
    assert Decoder.open(dense_dir / NAME).decode([one.bitstream for one in encoded]).shape == pixels.shape


def send_once(port: int, requests: Sequence[Request], _connections: int, _seconds: float, _core: int) -> Load:
    """Send each request once: a load generator that takes no time."""
    connection, refused = http.client.HTTPConnection("127.0.0.1", port), 0
    started_s = time.perf_counter()
    for request in requests[:16]:
        connection.request(request.method, request.path, request.body, request.headers)
        response = connection.getresponse()
        response.read()
        refused += response.status >= 400
    connection.close()
    return Load(len(requests[:16]), time.perf_counter() - started_s, 0.001, 0.002, 0.003, refused)


class SharedServer(Server):
    """A server that outlives the `with` blocks of the suites."""

    def __init__(self, server: Server) -> None:
        self.__dict__ = server.__dict__

    def __exit__(self, *_: object) -> None:
        pass


@pytest.fixture
def started(models_dir: Path, dense_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Settings]]:
    """Replace the load generator, and every server of one kind by one that they share; give the services' settings."""
    cores = {Cores.of_machine().measured}
    settings: list[Settings] = []
    with (
        service(models_dir, MEASURED, cores, "--drain-period-s=0") as measured,
        service(dense_dir, NAME, cores, "--drain-period-s=0") as dense,
        baseline(cores) as shared_baseline,
    ):

        def share(folder: Path, model: str, _cores: set[int], *flags: str) -> Server:
            settings.append(read_settings(["--models-dir", str(folder), "--default-model", model, *flags]))
            return SharedServer(dense if model == NAME else measured)

        monkeypatch.setattr("benchmarks.service.suites.service", share)
        monkeypatch.setattr("benchmarks.service.suites.baseline", lambda _cores: SharedServer(shared_baseline))
        monkeypatch.setattr("benchmarks.service.suites.drive", send_once)
        monkeypatch.setattr("benchmarks.service.__main__.require_wrk", lambda: None)
        yield settings


def test_every_suite_measures(
    started: list[Settings], models_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small = ["--data", str(tmp_path), "--rounds", "1", "--connections", "8", "--batch-images", "64", "--starts", "1"]
    small += ["--first-requests", "50", "--memory-requests", "100"]
    assert main([*small, "--models-dir", str(models_dir), "--default-model", MEASURED]) == 0
    text = capsys.readouterr().out
    for expected in (
        "drawn by the model",
        "| /decode, JSON to JSON",
        "| infer | entropy |",
        "images per micro-batch",
        "over HTTP",
        "start to ready",
        "under load",
        "| workers",
        "| target",
    ):
        assert expected in text
    assert {each.role for each in started} == {"both", "sender"}
    assert {each.workers for each in started} == {1, 2}
    assert {each.default_model for each in started} == {MEASURED, NAME}


def test_a_missing_wrk_is_reported(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("PATH", "")
    assert main([]) == 1
    assert "wrk is not installed" in capsys.readouterr().err


def test_an_unknown_model_is_reported(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("benchmarks.service.__main__.require_wrk", lambda: None)
    assert main(["--models-dir", str(tmp_path), "--only", "starts"]) == 1
    assert "card.json" in capsys.readouterr().err


@pytest.mark.parametrize("typed", [["--rounds", "0"], ["--seconds", "0.5"], ["--only", "nothing"], ["--seconds", "x"]])
def test_invalid_arguments_are_refused(typed: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(typed)
    assert ended.value.code == 2
