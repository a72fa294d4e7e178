"""The command line, as a user types it: mostly inside this process, and in processes of its own where pipes count."""

import errno
import io
import json
import os
import pty
import re
import shutil
import subprocess
import sys
from collections import Counter
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from latentwire.decoder import Decoder
from latentwire.encoder import Encoder
from latentwire.format import container
from latentwire.format.chunk_coder import ChunkCoder
from latentwire.format.container_writer import FrameWriter
from latentwire.imaging.formats import describe, installed_formats, suffixes_of
from latentwire.imaging.image import read_image, write_png
from latentwire.model.card import DECODER_FILE, ENCODER_FILE, ImageShape, load_card
from service.settings import Role, Settings
from tests.latentwire.cli.conftest import Run
from tests.service.conftest import serve
from tests.tiny_model import (
    SHAPE,
    familiar_pixels,
    publish_guarded_model,
    publish_tiny_model,
    strange_pixels,
    with_quality,
)
from training.release.model_dir import write_model

ROOT = Path(__file__).parents[3]


@pytest.fixture
def models(guarded_model: Path) -> Path:
    """A folder with the one model `guarded`."""
    return guarded_model.parent


@pytest.fixture
def digits(tmp_path: Path) -> Path:
    """A folder of 40 images, in two folders."""
    folder = tmp_path / "digits"
    (folder / "more").mkdir(parents=True)
    for number, pixels in enumerate(familiar_pixels(40, seed=1)):
        (folder / ("more" if number >= 30 else ".") / f"{number:02d}.png").write_bytes(write_png(pixels))
    (folder / "notes.txt").write_text("not an image")
    (folder / ".hidden.png").write_text("nor this")
    return folder


@pytest.fixture
def one(tmp_path: Path) -> Path:
    path = tmp_path / "one.png"
    path.write_bytes(write_png(familiar_pixels(1)[0]))
    return path


@pytest.fixture
def ood(tmp_path: Path) -> Path:
    path = tmp_path / "ood.png"
    path.write_bytes(write_png(strange_pixels(1)[0]))
    return path


def tree(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_an_image_goes_there_and_back(run: Run, one: Path, tmp_path: Path, guarded_model: Path) -> None:
    code, out, err = run("encode", "one.png")
    assert (code, err) == (0, "")
    bitstream = (tmp_path / "one.lw").read_bytes()
    assert out == f"one.lw: {len(bitstream)} bytes, {float(out.split()[-2]):.2f} dB\n"
    assert run("decode", "one.lw", "--out", "back.png")[0] == 0
    assert (tmp_path / "back.png").read_bytes() == write_png(Decoder.open(guarded_model).decode([bitstream])[0])


def test_a_folder_goes_there_and_back_with_its_names(run: Run, digits: Path, tmp_path: Path) -> None:
    code, out, _ = run("encode", "digits", "--out", "codes")
    assert code == 0
    assert out.startswith("40 images in ")
    codes = tree(tmp_path / "codes")
    assert (len(codes), codes[0], codes[-1]) == (40, "00.lw", "more/39.lw")
    assert run("decode", "codes", "--out", "back", "--format", "webp") == (0, "40 images of 40 files\n", "")
    assert tree(tmp_path / "back") == [name.replace(".lw", ".webp") for name in codes]


def test_results_lie_beside_their_sources_where_nothing_else_is_said(run: Run, digits: Path) -> None:
    assert run("encode", "digits/00.png", "digits/more")[0] == 0
    assert (digits / "00.lw").is_file()
    assert (digits / "more" / "39.lw").is_file()


def test_a_container_s_images_are_numbered_in_order(run: Run, digits: Path, tmp_path: Path) -> None:
    assert run("encode", "digits", "--container", "all.lwb")[0] == 0
    assert run("encode", "digits", "--out", "codes")[0] == 0
    assert run("decode", "all.lwb") == (0, "all: 40 images\n", "")
    assert run("decode", "all.lwb", "--format", "npy") == (0, "all.npy: 40 images\n", "")
    assert run("decode", "codes", "--out", "back")[0] == 0
    array = np.load(tmp_path / "all.npy", allow_pickle=False)
    assert array.shape == (40, *SHAPE.as_tuple())
    for number in range(40):
        numbered = (tmp_path / "all" / f"{number:06d}.png").read_bytes()
        np.testing.assert_array_equal(read_image(numbered, SHAPE), array[number])
        alone = (tmp_path / "back" / ("more" if number >= 30 else ".") / f"{number:02d}.png").read_bytes()
        # A graph may round a little differently when it runs on more images at once.
        assert np.abs(read_image(alone, SHAPE).astype(int) - array[number]).max() <= 1


def test_names_beside_a_container_come_back_though_an_image_is_left_out(run: Run, digits: Path, tmp_path: Path) -> None:
    (digits / "10.png").write_text("no image")
    shutil.copy(digits / "11.png", digits / "12.bmp")
    assert run("encode", "digits", "--container", "all.lwb", "--names", "all.names")[0] == 1
    lines = (tmp_path / "all.names").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line) for line in lines[9:13]] == ["09.png", "11.png", "12.bmp", "12.png"]
    assert run("decode", "all.lwb", "--names", "all.names", "--format", "webp", "--out", "back")[0] == 0
    expected = [name.replace(".png", ".webp") for name in tree(digits) if name.endswith(".png")]
    # Two images that would get the same name keep their own suffixes.
    twice = {"12.bmp.webp", "12.png.webp"}
    assert set(tree(tmp_path / "back")) == {*expected, *twice} - {"10.webp", "12.webp", ".hidden.webp"}
    assert run("decode", "all.lwb", "--out", "numbered", "--format", "webp")[0] == 0
    assert (tmp_path / "back" / "11.webp").read_bytes() == (tmp_path / "numbered" / "000010.webp").read_bytes()


@pytest.mark.parametrize(
    "line",
    [
        '"../a.png"',
        '"/a.png"',
        '"a/../../b"',
        '""',
        '"."',
        "7",
        "a.png",
        '"a\\u001b.png"',
        '"c:\\\\a"',
        '"' + "a" * 2000,
    ],
)
def test_names_that_could_lead_elsewhere_are_refused(run: Run, digits: Path, tmp_path: Path, line: str) -> None:
    assert run("encode", "digits", "--container", "all.lwb")[0] == 0
    (tmp_path / "names").write_text(line + "\n", encoding="utf-8")
    code, _, err = run("decode", "all.lwb", "--names", "names", "--out", "back")
    assert code == 2
    assert "--names names cannot be read" in err
    assert not (tmp_path / "back").exists()


def test_names_without_a_container_are_refused(run: Run, digits: Path, tmp_path: Path) -> None:
    assert run("encode", "digits", "--names", "names")[0] == 2
    assert run("decode", "nothing.lwb", "--names", "nowhere")[0] == 2


@pytest.mark.parametrize("framing", ["full", "raw"])
@pytest.mark.parametrize("format_", ["png", "webp", "npy"])
@pytest.mark.parametrize("name", ["one.png", "ood.png"])
def test_one_image_has_the_bytes_that_the_service_answers(
    run: Run, one: Path, ood: Path, tmp_path: Path, models: Path, framing: str, format_: str, name: str
) -> None:
    assert run("encode", name, "--framing", framing, "--out", "code")[0] == 0
    model = ["--model", "guarded"] if framing == "raw" else []
    assert run("decode", "code", "--framing", framing, "--format", format_, *model, "--out", "image")[0] == 0
    octets = "application/octet-stream"
    with serve(Settings(models_dir=models)) as client:
        code = client.encode((tmp_path / name).read_bytes(), accept=octets, framing=framing).content
        named = {"model": "guarded"} if framing == "raw" else {}
        accept = "application/x-npy" if format_ == "npy" else f"image/{format_}"
        decoded = client.decode(code, framing=framing, accept=accept, **named).content
    assert (tmp_path / "code").read_bytes() == code
    assert (tmp_path / "image").read_bytes() == decoded


def test_a_container_has_the_bytes_that_the_service_answers(
    run: Run, digits: Path, ood: Path, tmp_path: Path, models: Path
) -> None:
    ood.replace(digits / "12.png")
    assert run("encode", "digits", "--container", "all.lwb")[0] == 0
    assert run("decode", "all.lwb", "--format", "npy")[0] == 0
    images = [digits / f"{number:02d}.png" for number in range(30)]
    images += [digits / "more" / f"{number:02d}.png" for number in range(30, 40)]
    files = [("file", (path.name, path.read_bytes())) for path in images]
    with serve(Settings(models_dir=models)) as client:
        together = client.request("POST", "/encode/batch", files=files).content
        decoded = client.post("/decode/batch", together, "application/octet-stream").content
    assert (tmp_path / "all.lwb").read_bytes() == together
    assert (tmp_path / "all.npy").read_bytes() == decoded


@pytest.fixture(scope="module")
def rungs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of three models for the same images, which differ in quality, and one for images of another shape."""
    root = tmp_path_factory.mktemp("rungs")
    for seed, (name, mse) in enumerate({"low": 0.05, "high": 0.005, "middle": 0.02}.items()):
        folder = publish_guarded_model(root / "models", root / "scratch", name, seed)
        card = with_quality(load_card(folder), mse)
        write_model(root / "models", card, folder / ENCODER_FILE, folder / DECODER_FILE, replace=True)
    publish_tiny_model(root / "models", root / "scratch", "other", shape=ImageShape(height=4, width=4, channels=1))
    return root / "models"


@pytest.mark.parametrize("role", ["both", "sender"])
@pytest.mark.parametrize("framing", ["full", "raw"])
@pytest.mark.parametrize("name", ["one.png", "ood.png"])
def test_the_model_that_is_chosen_for_an_image_is_that_of_the_service(
    run: Run,
    one: Path,
    ood: Path,
    tmp_path: Path,
    rungs: Path,
    monkeypatch: pytest.MonkeyPatch,
    role: Role,
    framing: str,
    name: str,
) -> None:
    monkeypatch.setenv("LATENTWIRE_MODELS_DIR", str(rungs))
    monkeypatch.setenv("LATENTWIRE_DEFAULT_MODEL", "low")
    wishes = [("target_bytes", str(value)) for value in (1, 3, 4, 5, 11, 12, 13, 60)]
    wishes += [("min_psnr", value) for value in ("0", "8", "10.5", "11", "13", "20", "60")]
    if role == "both":
        wishes += [("target_bytes", "12"), ("max_mse", "0.04")]
    chosen = set()
    with serve(Settings(models_dir=rungs, default_model="low", role=role)) as client:
        for (wish, value), on_ood in product(wishes, ("refuse", "warn", "fallback")):
            asked = {wish: value, "on_ood": on_ood, "framing": framing}
            options = [part for key, given in asked.items() for part in (f"--{key.replace('_', '-')}", given)]
            guard = [] if role == "both" else ["--no-verify-reconstruction"]
            code, _, err = run("encode", name, *options, *guard, "--out", "code", "--force")
            answer = client.encode((tmp_path / name).read_bytes(), accept="application/octet-stream", **asked)
            if answer.status_code == 200:
                assert (code, (tmp_path / "code").read_bytes()) == (0, answer.content)
                chosen.add(answer.headers["latentwire-model"])
            else:
                assert (code, err) == (1, f"latentwire: {name}: {answer.json()['detail']}\n")
    assert len(chosen) > (1 if name == "one.png" else 0)


def test_the_model_that_is_chosen_is_told(
    run: Run, one: Path, digits: Path, tmp_path: Path, rungs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LATENTWIRE_MODELS_DIR", str(rungs))
    monkeypatch.setenv("LATENTWIRE_DEFAULT_MODEL", "low")
    code, out, err = run("encode", "one.png", "--target-bytes", "13")
    model = out.rsplit(maxsplit=1)[-1]
    assert (code, err) == (0, "")
    assert json.loads(run("inspect", "one.lw", "--json")[1])["model"] == model
    code, out, err = run("encode", "digits", "--min-psnr", "10", "--out", "codes")
    assert (code, err) == (0, "")
    told = Counter({name: int(count) for count, name in re.findall(r"; (\d+) of model (\w+)", out)})
    files = run("inspect", "codes", "--json")[1].splitlines()
    assert told == Counter(json.loads(line)["model"] for line in files)
    assert told.total() == 40
    code, out, err = run("encode", "digits", "--min-psnr", "10", "--out", "payloads", "--framing", "raw")
    assert (code, err, out.count(", of model ")) == (0, "", 40)
    assert run("encode", "one.png", "--min-psnr", "10", "--framing", "raw")[1].startswith("one.raw: ")


def test_a_payload_that_goes_to_standard_output_is_told_of_beside_it(models: Path, one: Path, tmp_path: Path) -> None:
    tool = [
        sys.executable,
        "-m",
        "latentwire",
        "encode",
        "one.png",
        "--target-bytes",
        "20",
        "--framing",
        "raw",
        "--out",
        "-",
    ]
    done = subprocess.run(tool, cwd=tmp_path, env=_environment(models), capture_output=True, check=True)
    assert 0 < len(done.stdout) <= 20
    assert done.stderr.startswith(f"python -m latentwire: one.png: {len(done.stdout)} bytes, ".encode())
    assert done.stderr.endswith(b" dB, of model guarded\n")


def test_without_a_default_the_models_of_one_shape_are_chosen_from(
    run: Run, one: Path, rungs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run("encode", "one.png", "--target-bytes", "20")[0] == 0
    monkeypatch.setenv("LATENTWIRE_MODELS_DIR", str(rungs))
    code, _, err = run("encode", "one.png", "--target-bytes", "20", "--force")
    assert (code, err.count("\n")) == (2, 1)
    assert "take images of several shapes; name a model of the wanted shape in LATENTWIRE_DEFAULT_MODEL" in err


def test_an_ood_image_is_sent_losslessly_by_default(run: Run, ood: Path, tmp_path: Path) -> None:
    code, out, err = run("encode", "ood.png")
    assert (code, err) == (0, "")
    assert "lossless (raw): the image is not of the kind that model 'guarded' is for" in out
    assert run("decode", "ood.lw", "--out", "back.png")[0] == 0
    back = read_image((tmp_path / "back.png").read_bytes(), SHAPE)
    np.testing.assert_array_equal(back, strange_pixels(1)[0])
    code, _, err = run("encode", "ood.png", "--on-ood", "refuse", "--force")
    assert code == 1
    assert err.startswith("latentwire: ood.png: the image is not of the kind")
    code, out, err = run("encode", "ood.png", "--on-ood", "warn", "--force")
    assert code == 0
    assert err.startswith("latentwire: ood.png: warning: the image is not of the kind")
    assert " dB" in out


def test_ood_images_are_in_a_container_as_they_are_alone(run: Run, digits: Path, tmp_path: Path) -> None:
    for number in (3, 29):
        (digits / f"{number:02d}.png").write_bytes(write_png(strange_pixels(1, seed=number)[0]))
    _, out, _ = run("encode", "digits", "--container", "all.lwb")
    assert out.endswith("; 2 of them losslessly\n")
    assert run("decode", "all.lwb", "--format", "npy")[0] == 0
    array = np.load(tmp_path / "all.npy", allow_pickle=False)
    np.testing.assert_array_equal(array[3], strange_pixels(1, seed=3)[0])
    code, _, err = run("encode", "digits", "--container", "all.lwb", "--on-ood", "refuse", "--force")
    assert code == 1
    assert [line.split(": ")[1] for line in err.splitlines()] == ["digits/03.png", "digits/29.png"]
    assert "  images    38, " in run("inspect", "all.lwb")[1]


def test_ood_images_in_a_container_are_named_under_warn(run: Run, digits: Path, ood: Path) -> None:
    ood.replace(digits / "12.png")
    code, out, err = run("encode", "digits", "--container", "all.lwb", "--on-ood", "warn")
    assert (code, err.count("\n")) == (0, 1)
    assert err.startswith("latentwire: digits/12.png: warning: the image is not of the kind")
    assert "lossless" not in out


def test_images_for_a_container_are_decoded_to_judge_them_where_that_is_asked_for(
    run: Run, digits: Path, ood: Path, tmp_path: Path, guarded_model: Path
) -> None:
    card = load_card(guarded_model)
    assert card.guard is not None
    exact = card.model_copy(update={"guard": card.guard.model_copy(update={"max_mse": 1e-9})})
    folder = tmp_path / "exact"
    write_model(folder, exact, guarded_model / ENCODER_FILE, guarded_model / DECODER_FILE)
    ood.replace(digits / "12.png")
    models = ["--models-dir", str(folder)]
    assert run("encode", "digits", "--container", "a.lwb", *models)[1].endswith("; 1 of them losslessly\n")
    assert run("encode", "digits", "--container", "b.lwb", "--verify-reconstruction", *models)[1].endswith(
        "; 40 of them losslessly\n"
    )
    names = [f"{number:02d}.png" for number in range(30)] + [f"more/{number:02d}.png" for number in range(30, 40)]
    files = [("file", (name, (digits / name).read_bytes())) for name in names]
    with serve(Settings(models_dir=folder)) as client:
        together = client.request("POST", "/encode/batch", files=files, params={"verify": "reconstruction"}).content
    assert (tmp_path / "b.lwb").read_bytes() == together


def test_the_largest_error_can_be_limited(run: Run, one: Path, tmp_path: Path) -> None:
    assert run("encode", "one.png", "--max-mse", "0")[1].count("lossless (") == 1
    code, _, err = run("encode", "one.png", "--max-mse", "0", "--no-verify-reconstruction", "--force")
    assert (code, err) == (
        2,
        "latentwire: --max-mse needs the reconstruction; leave out --no-verify-reconstruction\n",
    )
    for value in ("-1", "nan", "inf", "1.5", "x"):
        code, _, err = run("encode", "one.png", f"--max-mse={value}")
        assert code == 2
        assert f"'{value}' is not a number from 0 to 1" in err


@pytest.mark.parametrize("command", ["encode", "decode"])
def test_nothing_is_overwritten_unless_that_is_asked_for(run: Run, one: Path, tmp_path: Path, command: str) -> None:
    run("encode", "one.png")
    source, result = ("one.png", "one.lw") if command == "encode" else ("one.lw", "one.png")
    before = (tmp_path / result).read_bytes()
    (tmp_path / result).write_bytes(b"mine")
    code, _, err = run(command, source)
    assert (code, (tmp_path / result).read_bytes()) == (1, b"mine")
    assert err == (
        f"latentwire: {source}: {result} exists already; overwrite it with --force, or choose another --out\n"
    )
    assert run(command, source, "--force")[0] == 0
    assert command == "decode" or (tmp_path / result).read_bytes() == before


def test_two_sources_never_have_one_result(run: Run, one: Path, tmp_path: Path) -> None:
    (tmp_path / "one.bmp").write_bytes(one.read_bytes())
    code, _, err = run("encode", "one.png", "one.bmp", "--force")
    assert code == 1
    assert (
        err == "latentwire: one.bmp: its result would overwrite one.lw, the result of one.png; choose another --out\n"
    )
    code, _, err = run("encode", "one.png", "--out", "one.png", "--force")
    assert code == 1
    assert "its result would overwrite it" in err


def test_what_was_changed_to_fit_is_told(run: Run, tmp_path: Path) -> None:
    drawing = np.zeros((16, 12, 4), np.uint8)
    drawing[4:12, 4:8] = (0, 0, 0, 255)
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_bytes(write_png(drawing))
    _, out, _ = run("encode", "a.png", "--fit", "resize")
    assert ", after the image was laid on white, converted from RGBA of 8 bits, scaled from 12 × 16 pixels" in out
    _, out, _ = run("encode", "a.png", "--fit", "resize", "--background", "black", "--force")
    assert "laid on black" in out
    for arguments in (["--out", "codes"], ["--container", "all.lwb"]):
        _, out, _ = run("encode", "a.png", "b.png", "--fit", "resize", *arguments)
        assert out.endswith("; 2 flattened; 2 converted; 2 resized\n")


def test_what_is_wrong_with_one_image_is_one_sentence_and_the_others_go_on(
    run: Run, digits: Path, tmp_path: Path
) -> None:
    (digits / "00.png").write_bytes(b"")
    (digits / "01.png").write_text("text")
    (digits / "02.png").write_bytes(write_png(np.zeros((3, 3, 1), np.uint8)))
    (digits / "03.png").write_bytes((digits / "04.png").read_bytes()[:-20])
    (tmp_path / "empty").mkdir()
    code, out, err = run("encode", "digits", "empty", "absent.png", "--out", "codes")
    assert (code, out.split()[0]) == (1, "36")
    assert len(tree(tmp_path / "codes")) == 36
    assert [line.removeprefix("latentwire: ") for line in err.splitlines()] == [
        f"empty: this folder holds no images ({', '.join(sorted(suffixes_of(installed_formats())))})",
        "digits/00.png: the image file is empty",
        f"digits/01.png: the file is not a readable {describe(installed_formats())} image",
        "digits/02.png: the image is 3 × 3 pixels, grey of 8 bits; the model takes 6 × 8, grey of 8 bits; "
        "ask for fit=resize or fit=pad to have it converted",
        "digits/03.png: the PNG image is truncated",
        "absent.png: No such file or directory",
    ]
    code, _, err = run("encode", "digits", "--container", "all.lwb")
    assert (code, len(err.splitlines())) == (1, 4)
    assert "  images    36, " in run("inspect", "all.lwb")[1]
    assert run("encode", "digits/02.png", "--fit", "pad")[0] == 0


def test_a_container_of_nothing_is_not_written(run: Run, tmp_path: Path) -> None:
    (tmp_path / "empty.png").touch()
    code, _, err = run("encode", "empty.png", "--container", "all.lwb")
    assert code == 1
    assert err.endswith("latentwire: all.lwb: not written, as no image could be encoded\n")
    assert not (tmp_path / "all.lwb").exists()


def test_what_is_wrong_with_a_code_is_one_sentence(run: Run, one: Path, tmp_path: Path, guarded_model: Path) -> None:
    run("encode", "one.png")
    bitstream = (tmp_path / "one.lw").read_bytes()
    foreign = Encoder.open(publish_tiny_model(tmp_path / "others", tmp_path / "scratch", "other", seed=1))
    codes = tmp_path / "codes"
    codes.mkdir()
    (codes / "cut.lw").write_bytes(bitstream[:-1])
    (codes / "damaged.lw").write_bytes(bitstream[:8] + bytes((bitstream[8] ^ 1,)) + bitstream[9:])
    (codes / "empty.lw").touch()
    (codes / "foreign.lw").write_bytes(foreign.encode(familiar_pixels(1))[0].bitstream)
    (codes / "foreign.lwb").write_bytes(b"".join(foreign.encode_batch([familiar_pixels(3)])))
    (codes / "good.lw").write_bytes(bitstream)
    (codes / "picture.lw").write_bytes(one.read_bytes())
    here = Decoder.open(guarded_model).card.fingerprint.hex()
    stranger = (
        f"the bitstream was made by a model with fingerprint {foreign.card.fingerprint.hex()}, which is not in "
        f"'{guarded_model.parent}'; it has guarded ({here})"
    )
    code, out, err = run("decode", "codes", "--out", "back")
    assert (code, out) == (1, "1 image of 1 file\n")
    assert [line.removeprefix("latentwire: codes/") for line in err.splitlines()] == [
        "cut.lw: the bitstream is damaged: its checksum does not match",
        "damaged.lw: the bitstream is damaged: its checksum does not match",
        "empty.lw: the bitstream is empty",
        f"foreign.lw: {stranger}",
        f"foreign.lwb: {stranger}",
        "picture.lw: this is not a bitstream: it does not start with the letter L",
    ]
    assert tree(tmp_path / "back") == ["good.png"]


@pytest.fixture
def three_chunks(guarded_model: Path) -> tuple[bytes, list[int]]:
    """A container of three chunks with 20 images each, and where each chunk begins."""
    encoder = Encoder.open(guarded_model)
    frames = FrameWriter(encoder.card.fingerprint)
    coder = ChunkCoder(encoder.card.tables, encoder.card.image)
    whole, starts = frames.header(), []
    for part in np.split(familiar_pixels(60), 3):
        starts.append(len(whole))
        whole += frames.chunk(20, coder.pack(encoder.encode_chunk(part)))
    return whole + frames.end(), starts


@pytest.mark.parametrize("format_", ["png", "npy"])
def test_what_a_damaged_container_still_holds_is_written_in_its_place(
    run: Run, tmp_path: Path, three_chunks: tuple[bytes, list[int]], format_: str
) -> None:
    whole, starts = three_chunks
    (tmp_path / "all.lwb").write_bytes(whole)
    damaged = bytearray(whole)
    damaged[starts[1] + container.CHUNK_HEAD_BYTES] ^= 1
    (tmp_path / "hole.lwb").write_bytes(damaged)
    (tmp_path / "cut.lwb").write_bytes(whole[: starts[2]])
    assert run("decode", "all.lwb", "--format", format_)[0] == 0
    code, _, err = run("decode", "hole.lwb", "--format", format_)
    assert code == 1
    assert err == ("latentwire: hole.lwb: chunk 1, with the images 20 to 39, is damaged: its checksum does not match\n")
    code, _, err = run("decode", "cut.lwb", "--format", format_)
    assert code == 1
    lost = "image 40 and any after it are lost"
    assert err == f"latentwire: cut.lwb: the container is cut short at chunk 2: {lost}\n"
    if format_ == "png":
        names = tree(tmp_path / "all")
        assert tree(tmp_path / "hole") == names[:20] + names[40:]
        assert tree(tmp_path / "cut") == names[:40]
        for name in names[40:]:
            assert (tmp_path / "hole" / name).read_bytes() == (tmp_path / "all" / name).read_bytes()
    else:
        arrays = {name: np.load(tmp_path / f"{name}.npy", allow_pickle=False) for name in ("all", "hole", "cut")}
        np.testing.assert_array_equal(arrays["hole"][40:], arrays["all"][40:])
        assert not arrays["hole"][20:40].any()
        np.testing.assert_array_equal(arrays["cut"], arrays["all"][:40])


def test_inspect_tells_a_code_with_and_without_its_model(run: Run, one: Path, ood: Path, tmp_path: Path) -> None:
    run("encode", "one.png", "ood.png")
    run("encode", "one.png", "--framing", "raw")
    code, out, err = run("inspect", "one.lw", "ood.lw", "--json")
    assert (code, err) == (0, "")
    known, exact = map(json.loads, out.splitlines())
    assert known["file"] == "one.lw"
    assert (known["kind"], known["version"], known["model"], known["holds"]) == ("bitstream", 1, "guarded", "symbols")
    assert known["bytes"] == known["payload_bytes"] + 8
    assert len(known["symbols"]) == 5
    assert known["ideal_bits"] > 8 * (known["payload_bytes"] - 1)
    assert (exact["holds"], exact["symbols"]) == ("raw", None)
    code, out, _ = run("inspect", "one.lw", "ood.lw", "--json", "--models-dir", "nowhere")
    unread, _ = map(json.loads, out.splitlines())
    assert unread == {**known, "model": None, "symbols": None, "ideal_bits": None}
    raw = json.loads(run("inspect", "one.raw", "--framing", "raw", "--model", "guarded", "--json")[1])
    assert (raw["kind"], raw["symbols"]) == ("raw payload", known["symbols"])
    assert "only the card of the model can read" in run("inspect", "one.raw", "--framing", "raw")[1]
    _, out, _ = run("inspect", "ood.lw")
    assert "a lossless image (raw)" in out


def test_inspect_says_where_the_damage_is(run: Run, tmp_path: Path, three_chunks: tuple[bytes, list[int]]) -> None:
    whole, starts = three_chunks
    damaged = bytearray(whole[: starts[2]])
    damaged[starts[1] + container.CHUNK_HEAD_BYTES] ^= 1
    (tmp_path / "a.lwb").write_bytes(damaged)
    (tmp_path / "b.lw").write_bytes(b"L\2 and so on, but not really")
    for models_dir in ((), ("--models-dir", "nowhere")):
        code, out, err = run("inspect", "a.lwb", "b.lw", "--json", *models_dir)
        assert (code, len(err.splitlines())) == (1, 3)
        first, second = map(json.loads, out.splitlines())
        assert (first["kind"], first["images"], first["ended"]) == ("container", 40, False)
        assert [chunk["damaged"] for chunk in first["chunks"]] == [False, True]
        assert first["bytes"] == len(damaged)
        assert "images 20 to 39" in first["errors"][0]
        assert "cut short at chunk 2" in first["errors"][1]
        assert second == {"file": "b.lw", "errors": ["the bitstream is damaged: its checksum does not match"]}
    _, out, _ = run("inspect", "a.lwb")
    assert "chunk 1   images 20 to 39, damaged\n  end       missing\n" in out


def test_inspect_needs_no_graph_and_no_encoder_or_decoder(models: Path, one: Path, tmp_path: Path, run: Run) -> None:
    run("encode", "one.png")
    code = (
        "import sys, latentwire.cli as cli; cli.main(['inspect', 'one.lw']); "
        "sys.exit(any(name in sys.modules for name in ('onnxruntime', 'latentwire.encoder', 'latentwire.decoder')))"
    )
    subprocess.run(
        [sys.executable, "-c", code], check=True, cwd=tmp_path, env=_environment(models), capture_output=True
    )


def test_each_half_starts_without_the_code_of_the_other(models: Path, one: Path, tmp_path: Path) -> None:
    for command, other in (
        (["encode", "one.png", "--no-verify-reconstruction"], "latentwire.decoder"),
        (["decode", "one.lw", "--out", "back.png"], "latentwire.encoder"),
        (["--help"], "numpy"),
    ):
        code = (
            "import sys, latentwire.cli as cli\n"
            f"try: assert cli.main({command}) == 0\n"
            "except SystemExit as exit_: assert exit_.code == 0\n"
            f"sys.exit({other!r} in sys.modules)"
        )
        subprocess.run(
            [sys.executable, "-c", code], check=True, cwd=tmp_path, env=_environment(models), capture_output=True
        )


def test_pipes_carry_an_image_there_and_back(models: Path, one: Path, run: Run, tmp_path: Path) -> None:
    tool = f"{sys.executable} -m latentwire"
    script = f"cat one.png | {tool} encode - | {tool} decode - > back.png"
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", script],
        cwd=tmp_path,
        env=_environment(models),
        capture_output=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    run("encode", "one.png")
    run("decode", "one.lw", "--out", "same.png")
    assert (tmp_path / "back.png").read_bytes() == (tmp_path / "same.png").read_bytes()


def test_a_reader_that_goes_away_is_no_trouble(models: Path, digits: Path, tmp_path: Path) -> None:
    script = f"{sys.executable} -m latentwire encode digits --container - | true"
    done = subprocess.run(
        ["bash", "-c", script], cwd=tmp_path, env=_environment(models), capture_output=True, check=False
    )
    assert done.stderr == b""


def test_bytes_are_not_written_to_a_terminal(models: Path, one: Path, tmp_path: Path) -> None:
    master, slave = pty.openpty()
    try:
        for command in (["encode", "one.png", "--out", "-"], ["encode", "one.png", "--container", "-"]):
            done = subprocess.run(
                [sys.executable, "-m", "latentwire", *command],
                cwd=tmp_path,
                env=_environment(models),
                stdout=slave,
                stderr=subprocess.PIPE,
                check=False,
            )
            assert done.returncode == 2
            assert b"standard output is a terminal" in done.stderr
    finally:
        os.close(slave)
        os.close(master)


def test_a_container_passes_through_pipes_as_an_array(
    models: Path, digits: Path, tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("encode", "digits", "--container", "all.lwb")
    tool = f"{sys.executable} -m latentwire"
    script = f"{tool} encode digits --container - | {tool} decode - --format npy"
    done = subprocess.run(
        ["bash", "-c", script], cwd=tmp_path, env=_environment(models), capture_output=True, check=True
    )
    assert np.load(io.BytesIO(done.stdout), allow_pickle=False).shape == (40, *SHAPE.as_tuple())
    code, _, err = run("decode", "all.lwb", "--out", "-")
    assert code == 2
    assert "as --format npy only" in err


def test_with_several_models_one_has_to_be_chosen(
    run: Run, one: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    several = tmp_path / "several"
    publish_tiny_model(several, tmp_path / "scratch", "first", seed=1)
    publish_tiny_model(several, tmp_path / "scratch", "second", seed=2)
    monkeypatch.setenv("LATENTWIRE_MODELS_DIR", str(several))
    code, _, err = run("encode", "one.png")
    assert (code, err) == (2, "latentwire: there are several models (first, second); choose one with --model\n")
    assert run("encode", "one.png", "--model", "second")[0] == 0
    assert '"model": "second"' in run("inspect", "one.lw", "--json")[1]
    assert run("decode", "one.lw", "--out", "back.png")[0] == 0
    code, _, err = run("decode", "one.lw", "--out", "again.png", "--model", "first")
    assert code == 1
    assert "one.lw: the bitstream was made by the model with fingerprint" in err
    monkeypatch.setenv("LATENTWIRE_DEFAULT_MODEL", "first")
    assert run("encode", "one.png", "--force")[0] == 0
    assert '"model": "first"' in run("inspect", "one.lw", "--json")[1]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["encode"], "the following arguments are required: FILE"),
        (["encode", ""], "argument FILE: the name is empty"),
        (["decode", "one.lw", ""], "argument FILE: the name is empty"),
        (["encode", "one.png", "--out", ""], "argument --out: the name is empty"),
        (["encode", "one.png", "--container="], "argument --container: the name is empty"),
        (["encode", "one.png", "--models-dir", ""], "argument --models-dir: the name is empty"),
        (["encode", "one.png", "--model", ""], "argument --model: the name is empty"),
        (["encode", "one.png", "--\x1b[31m"], "there is no option '--\\x1b[31m'"),
        (["encode", "one.png", "--model", "\x1b[31m"], "there is no model '\\x1b[31m'"),
        (["encode", "one.png", "--fitt", "pad"], "there is no option '--fitt', did you mean '--fit'?"),
        (["encode", "one.png", "--fit", "crop"], "invalid choice: 'crop'"),
        (["encode", "one.png", "--max-image-pixels", "0"], "'0' is not a whole number from 1 to 999999999"),
        (["encode", "one.png", "--model", "other"], "there is no model 'other' in "),
        (["encode", "one.png", "--models-dir", "nowhere"], "'nowhere' cannot be read: No such file or directory"),
        (["encode", "one.png", "--models-dir", "."], "the models folder '.' has no model"),
        (["encode", "one.png", "--container", "a.lwb", "--out", "b"], "leave out --out and --framing"),
        (
            ["encode", "one.png", "--container", "a.lwb", "--max-mse", "0.1"],
            "uses the limits of the model; leave out --max-mse",
        ),
        (["encode", "one.png", "--target-bytes", "0"], "'0' is not a whole number from 1 to 999999999"),
        (["encode", "one.png", "--min-psnr", "inf"], "'inf' is not a number of dB, 0 or more"),
        (["encode", "one.png", "--min-psnr=-1"], "'-1' is not a number of dB, 0 or more"),
        (["encode", "one.png", "--target-bytes", "9", "--min-psnr", "9"], "each choose the quality"),
        (["encode", "one.png", "--target-bytes", "9", "--model", "guarded"], "leave out --model, or --target-bytes"),
        (["encode", "one.png", "--min-psnr", "9", "--container", "a.lwb"], "leave out --container, or --min-psnr"),
        (["encode", "one.png", "--min-psnr", "9", "--max-mse", "0.1"], "both set how good the picture must be"),
        (["encode", "one.png", "one.png", "--out", "-"], "standard output takes the result of one file only"),
        (["encode", "one.png", "one.png", "--out", "one.png"], "--out one.png is a file"),
        (["decode", "one.lw", "--framing", "raw"], "--framing raw needs --model"),
        (["decode", "one.lw", "--framing", "raw", "--model", "guarded@" + "0" * 64], "has the model_id"),
        (["decode", "-", "-"], "standard input can be read only once"),
        (["inspect", "one.lw", "--model", "guarded"], "--model goes with --framing raw"),
        (["transcode", "one.lw"], "invalid choice: 'transcode'"),
    ],
)
def test_wrong_usage_is_one_sentence(run: Run, one: Path, arguments: list[str], says: str) -> None:
    code, out, err = run(*arguments)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith("latentwire")
    assert says in err


def test_a_model_whose_files_are_not_what_they_should_be_is_said_once(
    run: Run, one: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = publish_tiny_model(tmp_path / "broken", tmp_path / "scratch")
    (folder / "encoder.onnx").write_bytes(b"")
    code, _, err = run("encode", "one.png", "one.png", "--models-dir", "broken")
    assert (code, err.count("\n")) == (1, 1)
    assert "encoder.onnx of model 'tiny' has 0 bytes" in err
    (folder / "card.json").write_text("{}")
    code, _, err = run("encode", "one.png", "--models-dir", "broken")
    assert (code, err.count("\n")) == (1, 1)
    assert "the card of model 'tiny' is not valid" in err


def test_an_image_that_cannot_be_written_leaves_nothing_half_done(run: Run, one: Path, tmp_path: Path) -> None:
    run("encode", "one.png")
    (tmp_path / "file").touch()
    code, _, err = run("decode", "one.lw", "--out", "file/back.png")
    assert code == 1
    assert err.startswith("latentwire: one.lw: ")
    assert run("decode", "one.lw", "--out", "/dev/null") == (
        0,
        "/dev/null: 6 × 8 pixels, 1 channel, of model guarded\n",
        "",
    )
    assert Path("/dev/null").is_char_device()


def test_the_models_are_listed_with_the_default_and_what_is_wrong_with_the_others(
    run: Run, rungs: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "listed"
    shutil.copytree(rungs, folder)
    (folder / "default-model.txt").write_text("low\n")
    (folder / "middle" / "card.json").write_text("{}")
    (folder / "lost+found").mkdir()
    code, out, err = run("models", "--models-dir", "listed")
    assert code == 1
    assert out == (
        "high           6 × 8 grey  4.0 bytes  23.0 dB  A random linear model for tests.\n"
        "low (default)  6 × 8 grey  4.0 bytes  13.0 dB  A random linear model for tests.\n"
        "other          4 × 4 grey                      A random linear model for tests.\n"
    )
    assert err.startswith("latentwire: listed: the card of model 'middle' is not valid")
    code, out, _ = run("models", "--models-dir", "listed", "--json")
    listed = [json.loads(line) for line in out.splitlines()]
    assert [(each["name"], each["default"]) for each in listed] == [("high", False), ("low", True), ("other", False)]
    assert (listed[2]["shape"], listed[2]["psnr_db"]) == ([4, 4, 1], None)


def test_the_folder_s_default_is_used_where_no_model_is_named(run: Run, one: Path, rungs: Path, tmp_path: Path) -> None:
    folder = tmp_path / "listed"
    shutil.copytree(rungs, folder)
    (folder / "default-model.txt").write_text("low\n")
    assert run("encode", "one.png", "--models-dir", "listed")[0] == 0
    assert json.loads(run("inspect", "one.lw", "--json", "--models-dir", "listed")[1])["model"] == "low"
    assert run("encode", "one.png", "--models-dir", "listed", "--min-psnr", "8", "--force")[0] == 0


def test_a_model_that_cannot_be_used_is_not_chosen(run: Run, one: Path, rungs: Path, tmp_path: Path) -> None:
    folder = tmp_path / "damaged"
    shutil.copytree(rungs, folder)
    shutil.rmtree(folder / "other")
    size = (folder / "low" / ENCODER_FILE).stat().st_size
    (folder / "low" / ENCODER_FILE).write_bytes(b"")
    (folder / "middle" / "card.json").unlink()
    code, out, err = run("encode", "one.png", "--models-dir", "damaged", "--min-psnr", "0")
    assert code == 0
    assert out.endswith(", of model high\n")
    assert err == f"latentwire: low: warning: encoder.onnx of model 'low' has 0 bytes; its card says {size}\n"
    (folder / "low" / "card.json").unlink()
    assert run("encode", "one.png", "--models-dir", "damaged", "--force")[0] == 0
    (folder / "high" / ENCODER_FILE).write_bytes(b"")
    code, _, err = run("encode", "one.png", "--models-dir", "damaged", "--min-psnr", "0", "--force")
    assert (code, err.count("\n")) == (1, 1)


# A name that cannot be opened: too long, within a file, in a circle of links, or that of no file.
BAD_NAMES = ["x" * 300 + ".png", "one.png/three.png", "circle/four.png", "gone.png"]


@pytest.mark.parametrize("name", BAD_NAMES)
@pytest.mark.parametrize("command", ["encode", "container", "decode", "inspect"])
def test_a_name_that_cannot_be_used_costs_no_other_file(
    run: Run, one: Path, tmp_path: Path, name: str, command: str
) -> None:
    (tmp_path / "circle").symlink_to("circle")
    (tmp_path / "two.png").write_bytes(one.read_bytes())
    assert run("encode", "one.png", "two.png", "--out", "codes")[0] == 0
    arguments = {
        "encode": ("encode", "one.png", name, "two.png", "--out", "out"),
        "container": ("encode", "one.png", name, "two.png", "--container", "out.lwb"),
        "decode": ("decode", "codes/one.lw", name, "codes/two.lw", "--out", "out"),
        "inspect": ("inspect", "codes/one.lw", name, "codes/two.lw"),
    }[command]
    code, out, err = run(*arguments)
    assert (code, err.count("\n")) == (1, 1)
    assert err.startswith(f"latentwire: {name}: ")
    assert "standard output" not in err
    if command in ("encode", "decode"):
        assert len(tree(tmp_path / "out")) == 2
    else:
        assert out.startswith("out.lwb: 2 images" if command == "container" else "codes/one.lw\n")


@pytest.mark.parametrize("name", BAD_NAMES)
def test_a_result_that_cannot_be_written_to_its_place_is_told(run: Run, one: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / "circle").symlink_to("circle")
    (tmp_path / "gone.png").mkdir()
    for out in ("--out", "--container"):
        code, _, err = run("encode", "one.png", out, name)
        if (out, name) == ("--out", "gone.png"):
            assert (code, tree(tmp_path / "gone.png")) == (0, ["one.lw"])
        else:
            assert (code, err.count("\n")) == (1, 1)
            assert err.startswith("latentwire: one.png: " if out == "--out" else f"latentwire: {name}: ")
            assert name.partition("/")[0] in err
            assert "standard output" not in err


def test_a_result_with_the_longest_possible_name_is_written(run: Run, one: Path, tmp_path: Path) -> None:
    name = "x" * 251
    one.rename(tmp_path / f"{name}.png")
    assert run("encode", f"{name}.png")[0] == 0
    assert (tmp_path / f"{name}.lw").is_file()
    assert run("decode", f"{name}.lw", "--out", "back.png")[0] == 0


def test_a_folder_that_cannot_be_read_is_told(
    run: Run, digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scandir = os.scandir

    def refused(path: str) -> object:
        if str(path).endswith("more"):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refused)
    code, out, err = run("encode", "digits", "--out", "codes")
    assert (code, err) == (1, "latentwire: digits/more: Permission denied\n")
    assert out.startswith("30 images")


def test_what_is_no_file_in_a_folder_is_told_or_passed_over(run: Run, digits: Path, tmp_path: Path) -> None:
    (digits / "gone.png").symlink_to("nowhere")
    os.mkfifo(digits / "pipe.png")
    code, out, err = run("encode", "digits", "--out", "codes")
    assert (code, err) == (1, "latentwire: digits/gone.png: No such file or directory\n")
    assert out.startswith("40 images")


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("\x1b[2J.png", "\\x1b[2J.png"),
        ("a\nb.png", "a\\nb.png"),
        ("a\rb.png", "a\\rb.png"),
        ("\x9b31m.png", "\\x9b31m.png"),
        ("a\u202eb.png", "a\\u202eb.png"),
        (os.fsdecode(b"\xff.png"), "\\udcff.png"),
        ("Ziffer ü 数字.png", "Ziffer ü 数字.png"),
    ],
)
def test_names_cannot_steer_the_terminal(run: Run, one: Path, tmp_path: Path, name: str, shown: str) -> None:
    (tmp_path / name).write_bytes(one.read_bytes())
    code, out, err = run("encode", name)
    assert (code, err) == (0, "")
    assert out.startswith(shown.replace(".png", ".lw: "))
    assert run("encode", name)[2] == (
        f"latentwire: {shown}: {shown.replace('.png', '.lw')} exists already; overwrite it with --force, or choose "
        "another --out\n"
    )
    lines = run("inspect", name.replace(".png", ".lw"))[1].splitlines()
    assert lines[0] == shown.replace(".png", ".lw")
    assert lines[1].startswith("  kind")


def test_quiet_prints_nothing_but_what_is_wrong(run: Run, one: Path) -> None:
    assert run("encode", "one.png", "--quiet") == (0, "", "")
    assert run("decode", "one.lw", "--quiet", "--out", "back.png") == (0, "", "")


def test_no_command_prints_the_help(run: Run) -> None:
    code, out, _ = run()
    assert code == 0
    assert "inspect" in out


def _environment(models: Path) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "LATENTWIRE_MODELS_DIR": str(models)}


def test_an_image_that_the_default_model_does_not_reproduce_goes_by_a_better_one(
    run: Run, one: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = tmp_path / "models"
    for seed, (name, mse) in enumerate((("low", 0.2), ("high", 0.05))):
        folder = publish_guarded_model(models, tmp_path / name, name, seed)
        card = with_quality(load_card(folder), mse)
        if name == "low" and card.guard is not None:
            card = card.model_copy(update={"guard": card.guard.model_copy(update={"max_mse": 1e-9})})
        (folder / "card.json").write_text(card.to_json(), encoding="utf-8")
    monkeypatch.setenv("LATENTWIRE_MODELS_DIR", str(models))
    monkeypatch.setenv("LATENTWIRE_DEFAULT_MODEL", "low")
    code, out, _ = run("encode", "one.png")
    assert code == 0
    assert out.endswith(" dB, of model high\n")
    assert "of model high" in run("decode", "one.lw", "--out", "back.png")[1]
    assert "lossless (" in run("encode", "one.png", "--model", "low", "--out", "named.lw")[1]
    assert "lossless (" in run("encode", "one.png", "--framing", "raw", "--out", "one.raw")[1]
    (tmp_path / "two.png").write_bytes(one.read_bytes())
    (models / "high" / DECODER_FILE).unlink()
    assert "lossless (" in run("encode", "two.png")[1]
