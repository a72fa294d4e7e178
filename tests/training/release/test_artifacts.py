import json
import shutil
from pathlib import Path

import pytest

from latentwire.errors import InvalidCard
from latentwire.model.card import load_card
from training.data.datasets import Dataset
from training.errors import InvalidRun
from training.release.artifacts import find_source, model_source, open_sources
from training.runs import RunFolder


def test_runs_and_models_are_told_apart(finished_run: RunFolder, published: Path, tmp_path: Path) -> None:
    run, model = find_source(finished_run.path), find_source(published)
    assert run.run is not None
    assert model.run is None
    assert run.recipe == model.recipe
    assert run.name == model.name == "synthetic-tiny"
    with pytest.raises(InvalidRun, match="neither the folder of a run"):
        find_source(tmp_path)
    with pytest.raises(InvalidCard):
        model_source(tmp_path)


def test_a_model_that_does_not_tell_its_recipe_has_none(published: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(published, tmp_path / published.name))
    card = json.loads((folder / "card.json").read_text())
    card["provenance"] = {}
    (folder / "card.json").write_text(json.dumps(card))
    assert find_source(folder).recipe is None


def test_a_run_is_opened_as_the_model_that_it_would_be(
    finished_run: RunFolder, published: Path, dataset: Dataset
) -> None:
    sources = [find_source(finished_run.path), find_source(published)]
    with open_sources(sources, dataset) as (staged, there):
        assert load_card(staged).model_id == load_card(there).model_id
        assert there == published.resolve()
    assert not staged.exists()
