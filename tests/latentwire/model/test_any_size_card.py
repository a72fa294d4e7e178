import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from latentwire.any_size.entropy_model import EntropyModel
from latentwire.errors import GoldenMismatch, InvalidCard, InvalidGraph, MissingGraph, ModelError
from latentwire.model.any_size_card import (
    ENTROPY_FILE,
    TABLES_FILE,
    AnySizeCard,
    EntropyTables,
    any_size_id_of,
    load_any_card,
    load_tables,
)
from latentwire.model.card import CARD_FILE, ModelCard, load_card
from training.release.model_dir import graph_file


@pytest.fixture
def folder(any_size_model: Path, tmp_path: Path) -> Path:
    """A copy of the model, which may be changed."""
    return Path(shutil.copytree(any_size_model, tmp_path / any_size_model.name))


def any_size_card(folder: Path) -> AnySizeCard:
    card = load_any_card(folder)
    assert isinstance(card, AnySizeCard)
    return card


def change_card(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    content = json.loads((folder / CARD_FILE).read_text())
    change(content)
    (folder / CARD_FILE).write_text(json.dumps(content))


def name_files_anew(folder: Path) -> None:
    """Let the card name the files as they are now, as somebody would who publishes them."""

    def change(content: dict[str, Any]) -> None:
        files = {name: graph_file(folder / f"{name}.onnx") for name in ("encoder", "decoder", "entropy")}
        files["tables"] = graph_file(folder / TABLES_FILE)
        content |= {name: file.model_dump() for name, file in files.items()}
        content["model_id"] = any_size_id_of(**files)

    change_card(folder, change)


def test_a_card_says_its_kind(any_size_model: Path, tiny_model: Path) -> None:
    assert isinstance(load_any_card(any_size_model), AnySizeCard)
    assert isinstance(load_any_card(tiny_model), ModelCard)
    with pytest.raises(InvalidCard, match="kind"):
        load_card(any_size_model)


def test_a_card_comes_back(folder: Path) -> None:
    card = any_size_card(folder)
    (folder / CARD_FILE).write_text(card.to_json())
    assert load_any_card(folder) == card
    assert card.fingerprint.hex() == card.model_id[:8]


@pytest.mark.parametrize("kind", ["spiral", None])
def test_another_kind_is_refused(folder: Path, kind: str | None) -> None:
    change_card(folder, lambda content: content.update(kind=kind))
    with pytest.raises(InvalidCard, match=r"kind|tag"):
        load_any_card(folder)


@pytest.mark.parametrize("worst_sum", [1 << 24, -1, 1e300])
def test_a_card_that_does_not_keep_the_exactness_bound_is_refused(folder: Path, worst_sum: float) -> None:
    change_card(folder, lambda content: content["exactness"].update(worst_sum=worst_sum))
    with pytest.raises(InvalidCard, match="worst_sum"):
        load_any_card(folder)


def test_a_card_with_another_bound_is_refused(folder: Path) -> None:
    change_card(folder, lambda content: content["exactness"].update(exact_below=1 << 30))
    with pytest.raises(InvalidCard, match="exact_below"):
        load_any_card(folder)


def test_a_card_in_another_models_folder_is_refused(folder: Path) -> None:
    moved = folder.rename(folder.with_name("other"))
    with pytest.raises(InvalidCard, match="names the model"):
        load_any_card(moved)


@pytest.mark.parametrize("file", ["entropy.onnx", "tables.json"])
def test_a_file_that_is_not_the_cards_is_refused(folder: Path, file: str) -> None:
    data = bytearray((folder / file).read_bytes())
    data[-2] ^= 1
    (folder / file).write_bytes(data)
    with pytest.raises(InvalidGraph, match="SHA-256"):
        EntropyModel.open(folder, any_size_card(folder))
    (folder / file).unlink()
    with pytest.raises(MissingGraph, match=file):
        EntropyModel.open(folder, any_size_card(folder))


def test_an_entropy_graph_that_computes_something_else_is_refused(folder: Path) -> None:
    model = onnx.load(folder / ENTROPY_FILE)
    kernel = next(tensor for tensor in model.graph.initializer if len(tensor.dims) == 4)
    values = numpy_helper.to_array(kernel).copy()
    values[0, 0, 0, 0] += 1 << 10
    kernel.CopyFrom(numpy_helper.from_array(values, kernel.name))
    onnx.save(model, folder / ENTROPY_FILE)
    name_files_anew(folder)
    with pytest.raises(GoldenMismatch, match="golden integers"):
        EntropyModel.open(folder, any_size_card(folder))


def test_tables_of_another_number_of_channels_are_refused(folder: Path) -> None:
    tables = load_tables(folder, any_size_card(folder))
    fewer = tables.model_copy(
        update={
            name: tuple(row[:-1] for row in getattr(tables, name))
            for name in ("log_gain", "log_inverse", "gain_offsets")
        }
    )
    (folder / TABLES_FILE).write_text(fewer.to_json())
    name_files_anew(folder)
    with pytest.raises(InvalidGraph, match="channels"):
        EntropyModel.open(folder, any_size_card(folder))


@pytest.mark.parametrize(
    "change",
    [
        lambda tables: tables["log_gain"].pop(),
        lambda tables: tables["log_gain"][0].pop(),
        lambda tables: tables["scale_tables"].pop(),
        lambda tables: tables["scale_tables"][3].update(first=5),
        lambda tables: tables.update(first_group=12),
        lambda tables: tables.update(skip_below=65),
        lambda tables: tables["hyper_tables"][0].update(escape=0),
    ],
)
def test_tables_that_contradict_themselves_are_refused(folder: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    content = json.loads((folder / TABLES_FILE).read_text())
    change(content)
    (folder / TABLES_FILE).write_text(json.dumps(content))
    name_files_anew(folder)
    with pytest.raises(ModelError, match="not valid"):
        load_tables(folder, any_size_card(folder))


def test_gains_between_levels(any_size_model: Path) -> None:
    tables: EntropyTables = load_tables(any_size_model, any_size_card(any_size_model))
    assert tables.best_quality == 96
    assert tables.offset(32).tolist() == [round(value / 256 + 1e-9) for value in tables.gain_offsets[1]]
    gain, inverse = tables.gains(16)
    assert np.allclose(gain, np.exp(np.mean(tables.log_gain[:2], axis=0)))
    assert np.allclose(gain * inverse, 1)
