import dataclasses
import json
import os
import signal
import threading
from collections.abc import Generator
from pathlib import Path
from typing import Any

import onnx
import pytest
import torch

from tests.training.photo.conftest import SMALL
from training.photo.__main__ import main
from training.photo.bd_rate import bd_rate
from training.photo.crops import Batch
from training.photo.gathered import GatheredPictures
from training.photo.model import LEVELS, PhotoCodec, thousand_macs
from training.photo.trainer import (
    COOLDOWN,
    EIGHT_BITS,
    SHRINK,
    Settings,
    Training,
    branch,
    last_checkpoint,
    load_codec,
    progress,
    rate_factor,
    read_checkpoint,
    resume,
    start,
)


@pytest.fixture
def settings(photo_folder: Path) -> Settings:
    return Settings(
        data=str(photo_folder),
        widths=SMALL,
        optimizer="adam",
        rate=0.15,
        warmup=3,
        steps=6,
        crop=64,
        batch_pixels=16384,
        threads=1,
        log_steps=2,
        bf16=False,
        validation_share=0.2,
    )


def weights(folder: Path) -> dict[str, Any]:
    content = read_checkpoint(last_checkpoint(folder))
    return {**content["model"], **{f"average.{name}": value for name, value in content["average"].items()}}


def change(folder: Path, **values: object) -> None:
    path = folder / "settings.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


@pytest.mark.parametrize("optimizer", ["adam", "muon"])
def test_a_stopped_run_goes_on_to_the_bit(settings: Settings, tmp_path: Path, optimizer: str) -> None:
    settings = dataclasses.replace(settings, optimizer=optimizer, rate=0.15 if optimizer == "adam" else 0.001)
    start(settings, tmp_path / "whole")
    start(dataclasses.replace(settings, steps=3), tmp_path / "stopped")
    change(tmp_path / "stopped", steps=6)
    resume(tmp_path / "stopped")
    whole, stopped = weights(tmp_path / "whole"), weights(tmp_path / "stopped")
    assert whole.keys() == stopped.keys()
    assert all(torch.equal(whole[name], stopped[name]) for name in whole)


def test_a_cooldown_goes_on_to_the_bit(settings: Settings, tmp_path: Path) -> None:
    start(settings, tmp_path / "flat")
    shrunk = {**COOLDOWN, "crop": 64, "batch_pixels": 16384, "steps": 4, "save_minutes": 0}
    branch(tmp_path / "flat", tmp_path / "whole", shrunk)
    # Go on from the middle, as if it had been stopped there.
    middle = sorted((tmp_path / "whole").glob("checkpoint-*.pt"))[0]
    (tmp_path / "again").mkdir()
    for path in (middle, tmp_path / "whole" / "settings.json"):
        (tmp_path / "again" / path.name).write_bytes(path.read_bytes())
    resume(tmp_path / "again")
    whole, again = weights(tmp_path / "whole"), weights(tmp_path / "again")
    assert all(torch.equal(whole[name], again[name]) for name in whole)
    before = weights(tmp_path / "flat")
    assert not torch.equal(before["encoder.0.weight"], weights(tmp_path / "whole")["encoder.0.weight"])


def test_a_smaller_network_is_trained_from_a_larger_one(settings: Settings, tmp_path: Path) -> None:
    start(settings, tmp_path / "large")
    small = SMALL._replace(encoder_blocks=1, decoder_quarter_inner=5)
    changes = {**SHRINK, "widths": small, "crop": 64, "batch_pixels": 16384, "steps": 4, "save_minutes": 0}
    branch(tmp_path / "large", tmp_path / "small", changes)
    large, shrunk = load_codec(tmp_path / "large"), load_codec(tmp_path / "small")
    assert shrunk.settings.widths == small
    assert shrunk.pixels > large.pixels
    for part in ("encoder", "decoder"):
        assert thousand_macs(shrunk.codec)[part] < thousand_macs(large.codec)[part]
    scores = [
        json.loads(line)["score"]
        for folder, at in (("large", -1), ("small", 0))
        for line in [(tmp_path / folder / "validation.jsonl").read_text().splitlines()[at]]
    ]
    assert scores[1] == pytest.approx(scores[0], abs=0.05)  # little is lost by dropping what does the least


def test_a_senders_parts_are_trained_for_receivers_that_stay(settings: Settings, tmp_path: Path) -> None:
    start(settings, tmp_path / "large")
    small = SMALL._replace(encoder_quarter_inner=5, encoder_blocks=1)
    changes = {**SHRINK, "trained": "sender", "widths": small, "crop": 64, "batch_pixels": 16384, "steps": 4}
    branch(tmp_path / "large", tmp_path / "small", {**changes, "save_minutes": 0})
    before, after = weights(tmp_path / "large"), weights(tmp_path / "small")
    for name in after:
        is_sent = name.removeprefix("average.").split(".")[0] in PhotoCodec.SENDERS_PARTS
        assert is_sent or torch.equal(before[f"average.{name.removeprefix('average.')}"], after[name])
        if is_sent and "average" not in name and before[name].shape == after[name].shape:
            assert not torch.equal(before[name], after[name])
    # Go on from the middle, as if it had been stopped there.
    middle = sorted((tmp_path / "small").glob("checkpoint-*.pt"))[0]
    (tmp_path / "again").mkdir()
    for path in (middle, tmp_path / "small" / "settings.json"):
        (tmp_path / "again" / path.name).write_bytes(path.read_bytes())
    resume(tmp_path / "again")
    assert all(torch.equal(value, weights(tmp_path / "again")[name]) for name, value in after.items())


def test_training_goes_on_in_8_bits(settings: Settings, tmp_path: Path) -> None:
    start(settings, tmp_path / "float")
    changes = {**EIGHT_BITS, "crop": 64, "batch_pixels": 16384, "steps": 3, "save_minutes": 0}
    branch(tmp_path / "float", tmp_path / "bytes", changes)
    before, after = weights(tmp_path / "float"), weights(tmp_path / "bytes")
    units = [name for name in after if name.startswith("eight_bits.")]
    assert len(units) == 20
    assert all(bool((after[name] > 0).all()) for name in units)
    for name in before:
        if "average" not in name and name.split(".")[0] in ("hyper_decoder", "context", "hyper_prior", "log_gain"):
            assert torch.equal(after[name], before[f"average.{name}"])
    loaded = load_codec(tmp_path / "bytes")
    assert loaded.codec.eight_bits is not None
    # Units are chosen once, and go with the weights.
    resume(tmp_path / "bytes")
    assert all(torch.equal(after[name], weights(tmp_path / "bytes")[name]) for name in units)


def test_sigterm_saves_and_ends(settings: Settings, tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    timer = threading.Timer(3.0, lambda: os.kill(os.getpid(), signal.SIGTERM))
    timer.start()
    try:
        start(dataclasses.replace(settings, steps=0), tmp_path / "run")
    finally:
        timer.cancel()
        signal.signal(signal.SIGTERM, before[0])
        signal.signal(signal.SIGINT, before[1])
    content = read_checkpoint(last_checkpoint(tmp_path / "run"))
    assert content["step"] > 0
    assert "stopped at step" in (tmp_path / "run" / "log.txt").read_text()


def test_the_last_two_checkpoints_are_kept_and_one_for_each_so_many_pixels(settings: Settings, tmp_path: Path) -> None:
    start(dataclasses.replace(settings, save_minutes=0, keep_pixels=50_000), tmp_path / "run")
    assert len(list((tmp_path / "run").glob("checkpoint-*.pt"))) == 2
    assert len(list((tmp_path / "run").glob("kept-*.pt"))) >= 1
    lines = (tmp_path / "run" / "validation.jsonl").read_text().splitlines()
    assert json.loads(lines[-1])["step"] == 6


def test_rates_rise_then_stay_and_fall_in_a_cooldown(settings: Settings) -> None:
    assert [round(rate_factor(settings, step), 3) for step in (0, 1, 2, 3, 1000)] == [0.333, 0.667, 1, 1, 1]
    cooling = dataclasses.replace(settings, phase="cooldown", steps=100)
    at_once = dataclasses.replace(cooling, warmup=1)
    assert [round(rate_factor(at_once, step), 3) for step in (0, 50, 100)] == [1, 0.505, 0.01]
    assert [round(rate_factor(cooling, step), 3) for step in (0, 1, 50)] == [0.333, 0.667, 0.505]


def test_a_cooldown_can_be_told_its_minutes(settings: Settings) -> None:
    cooling = dataclasses.replace(settings, phase="cooldown", steps=0, minutes=10, warmup=1)
    assert [round(rate_factor(cooling, 7, minutes), 3) for minutes in (0, 5, 10, 11)] == [1, 0.505, 0.01, 0.01]
    assert progress(dataclasses.replace(settings, steps=0), 1000, 1000) == 0


def test_batches_of_a_device_train_too(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def gathered(training: Training, seed: tuple[int, int]) -> Generator[Batch, None, None]:
        return GatheredPictures(training.split.training, "cpu").batches(training.crops, LEVELS, seed, training.step)

    monkeypatch.setattr(Training, "_batches", gathered)
    start(settings, tmp_path / "run")
    assert read_checkpoint(last_checkpoint(tmp_path / "run"))["step"] == settings.steps


@pytest.fixture
def exported(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Let an export take graphs that do nothing, as torch's exporter takes seconds; collect whose are asked for."""
    asked = []

    def make_graph(module: object, inputs: object, outputs: object, together: object = ()) -> onnx.ModelProto:
        asked.append(type(module).__name__)
        x, y = (onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1]) for name in "xy")
        graph = onnx.helper.make_graph([onnx.helper.make_node("Identity", ["x"], ["y"])], "same", [x], [y])
        return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)

    monkeypatch.setattr("training.photo.export.to_onnx", make_graph)
    return asked


def test_the_command_line_trains_and_evaluates(
    photo_folder: Path, settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str], exported: list[str]
) -> None:
    start(settings, tmp_path / "run")
    change(tmp_path / "run", steps=7)
    main(["resume", str(tmp_path / "run"), "--threads", "1"])
    out = tmp_path / "figures.json"
    command = ["evaluate", str(tmp_path / "run"), "--images", str(photo_folder), "--data", str(photo_folder)]
    main([*command, "--integers", "--fit", "2", "--scale", "0.5", "--out", str(out)])
    rows = json.loads(out.read_text())["rows"]
    assert [row["quality"] for row in rows] == list(range(9))
    assert all(0 < row["hyper_bpp"] < row["bpp"] for row in rows)
    assert "dB" in capsys.readouterr().out
    main(["evaluate", str(tmp_path / "run"), "--data", str(photo_folder), "--fit", "0", "--side", "64"])
    assert "jpeg" in capsys.readouterr().out
    main(["neighbours", str(tmp_path / "run"), "--data", str(photo_folder), "--pictures", "4"])
    assert len(capsys.readouterr().out.splitlines()) == 6
    main(["export", str(tmp_path / "run"), str(tmp_path / "model"), "--data", str(photo_folder), "--fit", "2"])
    assert exported == ["Encoder", "Decoder", "Refiner"]
    assert all((tmp_path / "model" / f"{name.lower()}.onnx").exists() for name in exported)
    card = json.loads((tmp_path / "model" / "export.json").read_text())
    assert [len(card[name]) for name in ("tables", "hyper_tables")] == [64, SMALL.hyper_latents]
    assert card["origin"]["training"]["last_phase_steps"] == 7
    assert str(tmp_path.parent) not in json.dumps(card["origin"])


def test_bd_rate_of_a_curve_at_nine_tenths_of_the_bits() -> None:
    curve = [(0.1, 28.0), (0.2, 30.0), (0.5, 33.5), (1.0, 37.0)]
    assert bd_rate(curve, [(0.9 * bits, psnr) for bits, psnr in curve]) == pytest.approx(-10)
    assert bd_rate(curve, [(1.0, 40.0), (2.0, 42.0)]) is None
