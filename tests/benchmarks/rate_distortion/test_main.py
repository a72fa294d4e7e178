import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.rate_distortion.__main__ import (
    FULL_MARK,
    NUMBERS_FILE,
    PICTURE_FILES,
    SUMMARY_MARK,
    choose_images,
    fill,
    main,
)
from tests.tiny_model import SHAPE

MARKED = "# Ours\n\n<!-- rate-distortion -->\nold\n<!-- /rate-distortion -->\n\nThe end.\n"


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    path = tmp_path / "drawn.npz"
    np.savez(path, images=np.random.default_rng(4).integers(0, 256, size=(60, *SHAPE.as_tuple()), dtype=np.uint8))
    return path


def run(dataset: Path, models: Path, out: Path, *more: str) -> int:
    common = ["--dataset", str(dataset), "--models-dir", str(models), "--out", str(out), "--codec", "JPEG"]
    return main([*common, "--codec", "PNG", *more])


def test_one_command_writes_tables_numbers_pictures_and_documents(
    dataset: Path, tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    document, out = tmp_path / "document.md", tmp_path / "out"
    document.write_text(MARKED, encoding="utf-8")
    assert run(dataset, tiny_model.parent, out, "--classical-count", "2", "--text", str(document)) == 0
    printed = capsys.readouterr().out
    assert "| tiny " in printed
    numbers = json.loads((out / NUMBERS_FILE).read_bytes())
    assert {point["codec"] for point in numbers["points"]} >= {"JPEG", "PNG", "Latentwire, payload alone"}
    # A tenth of 60 images is for testing; two of those are for classical codecs.
    assert {(point["arrangement"], point["count"]) for point in numbers["points"]} == {
        ("alone", 6),
        ("alone", 2),
        ("together", 6),
    }
    for name in PICTURE_FILES.values():
        with Image.open(out / name) as picture:
            assert picture.width == 1000
    text = document.read_text(encoding="utf-8")
    assert text.startswith("# Ours\n\n<!-- rate-distortion -->\n\nOver 6 drawn test images")
    assert text.endswith("<!-- /rate-distortion -->\n\nThe end.\n")


def test_known_numbers_are_taken_only_for_the_same_images(
    dataset: Path, tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, numbers = tmp_path / "out", tmp_path / "out" / NUMBERS_FILE
    assert run(dataset, tiny_model.parent, out, "--classical-count", "2") == 0
    known = json.loads(numbers.read_bytes())
    for point in known["points"]:
        point["bytes"] = 12345.0
    changed = tmp_path / "changed.json"
    changed.write_text(json.dumps(known), encoding="utf-8")

    def sizes(*more: str) -> dict[tuple[str, str], set[bool]]:
        assert run(dataset, tiny_model.parent, out, "--reuse", str(changed), *more) == 0
        found: dict[tuple[str, str], set[bool]] = {}
        for point in json.loads(numbers.read_bytes())["points"]:
            ours = "ours" if point["codec"].startswith("Latentwire") else "classical"
            found.setdefault((ours, point["arrangement"]), set()).add(point["bytes"] == 12345.0)
        return found

    same = sizes("--classical-count", "2")
    assert same[("classical", "alone")] == same[("classical", "together")] == {True}
    assert same[("ours", "alone")] == {False}
    others = sizes("--classical-count", "3")
    assert others[("classical", "alone")] == {False}
    assert others[("classical", "together")] == {True}


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        (["--count", "0"], "'0' is not a number of images"),
        (["--codec", "GIF"], "invalid choice: 'GIF'"),
        (["--text", "README.nowhere"], "README.nowhere"),
        (["--text", "pyproject.toml"], "pyproject.toml lacks both <!-- rate-distortion -->"),
        (["--reuse", "pyproject.toml"], "pyproject.toml does not hold the numbers of this command"),
    ],
)
def test_a_wrong_word_is_told_before_anything_is_measured(
    more: list[str], sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pyproject.toml").write_text("[tool]\n", encoding="utf-8")
    with pytest.raises(SystemExit) as stopped:
        main(more)
    assert stopped.value.code == 2
    assert sentence in capsys.readouterr().err


def test_without_a_fitting_model_or_grey_images_there_is_one_sentence(
    dataset: Path, tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(dataset, tmp_path, tmp_path / "out") == 1
    assert re.search(r"has no model of 6 × 8 pixels, 1 channel\n$", capsys.readouterr().err)
    coloured = tmp_path / "coloured.npz"
    np.savez(coloured, images=np.zeros((20, 8, 6, 3), np.uint8))
    assert run(coloured, tiny_model.parent, tmp_path / "out") == 1
    assert "takes grey images only" in capsys.readouterr().err


def test_images_for_classical_codecs_are_drawn_always_the_same_and_in_order() -> None:
    pixels = np.arange(50, dtype=np.uint8).reshape(50, 1, 1, 1)
    chosen = choose_images(pixels, 10)[:, 0, 0, 0].tolist()
    assert len(chosen) == 10
    assert chosen == sorted(set(chosen))
    assert chosen != list(range(10))
    assert chosen == choose_images(pixels, 10)[:, 0, 0, 0].tolist()
    assert choose_images(pixels, 50) is pixels


def test_a_document_without_the_mark_stays_as_it_is() -> None:
    assert fill("# Ours\n", "rate-distortion", "new") == "# Ours\n"
    assert fill(MARKED, "rate-distortion", r"a \1 b").count(r"a \1 b") == 1


@pytest.mark.parametrize(
    ("document", "mark"), [("docs/RATE_DISTORTION.md", FULL_MARK), ("docs/MODELS.md", SUMMARY_MARK)]
)
def test_our_own_documents_have_their_marks_and_show_pictures_that_are_there(document: str, mark: str) -> None:
    path = Path(__file__).parents[3] / document
    text = path.read_text(encoding="utf-8")
    assert "| mnist-" in text
    assert fill(text, mark, "new") != text
    for picture in re.findall(r"!\[[^]]*\]\(([^)]*rate-distortion[^)]*)\)", text):
        assert (path.parent / picture).is_file()
