import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from latentwire.errors import InvalidCard
from latentwire.model.card import CARD_FILE, ImageShape, ModelCard, Quality, load_card


@pytest.fixture
def folder(tiny_model: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_model, tmp_path / tiny_model.name))


def change(folder: Path, **fields: Any) -> None:
    path = folder / CARD_FILE
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))


def test_a_card_survives_writing_and_reading(tiny_model: Path) -> None:
    card = load_card(tiny_model)
    assert ModelCard.model_validate_json(card.to_json()) == card
    assert card.full_name == f"tiny@{card.model_id}"
    assert card.fingerprint.hex() == card.model_id[:8]


@pytest.mark.parametrize("half", ["encoder", "decoder"])
def test_the_model_id_covers_both_graphs(tiny_model: Path, folder: Path, half: str) -> None:
    change(folder, **{half: {"sha256": "0" * 64, "bytes": 1}})
    with pytest.raises(InvalidCard, match="model_id"):
        load_card(folder)


def test_the_model_id_covers_the_quantiser(folder: Path) -> None:
    card = json.loads((folder / CARD_FILE).read_text())
    card["quantizer"]["low"][0] += 0.001
    change(folder, quantizer=card["quantizer"])
    with pytest.raises(InvalidCard, match="model_id"):
        load_card(folder)


def test_the_model_id_covers_the_tables(folder: Path) -> None:
    card = json.loads((folder / CARD_FILE).read_text())
    card["tables"][0]["first"] += 1
    change(folder, tables=card["tables"])
    with pytest.raises(InvalidCard, match="model_id"):
        load_card(folder)


def test_the_model_id_covers_no_limits_of_the_guard(folder: Path, guarded_model: Path) -> None:
    without = load_card(folder)
    change(folder, guard=json.loads((guarded_model / CARD_FILE).read_text())["guard"])
    assert load_card(folder).guard is not None
    assert load_card(folder).model_id == without.model_id


def test_lists_of_numbers_are_written_on_one_line(tiny_model: Path) -> None:
    card = load_card(tiny_model).model_copy(update={"description": "a list: [\n 1,\n 2\n]"})
    assert ModelCard.model_validate_json(card.to_json()).description == card.description
    assert any(
        line.strip().startswith('"frequencies": [') and line.endswith("],") for line in card.to_json().split("\n")
    )


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"code_size": 4}, "coordinates"),
        ({"code_size": 10**9}, "code_size"),
        ({"name": "../elsewhere"}, "name"),
        ({"name": "another"}, "names the model 'another'"),
        ({"image": {"height": 10**9, "width": 6, "channels": 1}}, "image.height"),
        ({"image": {"height": 8, "width": 6, "channels": 2}}, "image.channels"),
        ({"card_version": 2}, "card_version"),
        ({"tables": []}, "the card has 0 tables, and the code 5 coordinates"),
        ({"tables": [{"first": 0, "frequencies": [0, 0, 0], "escape": 1}] * 5}, "tables.0.frequencies.0"),
        ({"tables": [{"first": 0, "frequencies": [65535], "escape": 0}] * 5}, "tables.0.escape"),
        ({"tables": [{"first": 0, "frequencies": [65535], "escape": 2}] * 5}, "add up to 65,537, not to 65,536"),
        ({"tables": [{"first": 0, "frequencies": [], "escape": 65536}] * 5}, "tables.0.frequencies"),
        ({"tables": [{"first": 0, "frequencies": [65535.5], "escape": 1}] * 5}, "tables.0.frequencies.0"),
        ({"tables": [{"first": 2**40, "frequencies": [65535], "escape": 1}] * 5}, "tables.0.first"),
        ({"colour": "red"}, "colour"),
        ({"golden": {"image_png_base64": "", "symbols": [1], "reconstruction_png_base64": ""}}, "golden.symbols"),
    ],
)
def test_a_contradictory_card_is_refused_in_a_sentence(folder: Path, fields: dict[str, Any], words: str) -> None:
    change(folder, **fields)
    with pytest.raises(InvalidCard) as caught:
        load_card(folder)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"name": "tiny"}', "[" * 2000])
def test_what_is_not_a_card_is_refused(folder: Path, text: str) -> None:
    (folder / CARD_FILE).write_text(text)
    with pytest.raises(InvalidCard):
        load_card(folder)


def test_a_missing_card_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidCard, match=f"'{tmp_path.name}' has no readable card.json"):
        load_card(tmp_path)


def test_a_pipe_or_a_device_is_no_card(folder: Path) -> None:
    path = folder / CARD_FILE
    for make in (os.mkfifo, lambda path: path.symlink_to("/dev/zero"), lambda path: path.mkdir()):
        path.unlink()
        make(path)
        with pytest.raises(InvalidCard, match=r"card.json of model 'tiny' is not a regular file"):
            load_card(folder)


def test_a_huge_card_is_not_read(folder: Path) -> None:
    (folder / CARD_FILE).write_bytes(b" " * (4 << 20) + b"{}")
    with pytest.raises(InvalidCard, match="over 4194304 bytes"):
        load_card(folder)


def test_quality_is_derived_from_means() -> None:
    shape = ImageShape(height=10, width=8, channels=3)
    quality = Quality.from_means(
        dataset="d",
        images=7,
        shape=shape,
        float_mse=0.01,
        mse=0.04,
        ideal_bits=77,
        payload_bytes=10,
        bitstream_bytes=18,
    )
    assert quality.float_rmse == pytest.approx(0.1)
    assert quality.rmse == pytest.approx(0.2)
    assert quality.float_psnr_db == pytest.approx(20)
    assert quality.psnr_db == pytest.approx(13.9794)
    assert quality.bpp == pytest.approx(1.8)
