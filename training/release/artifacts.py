"""A path on the command line -> the run or the published model in it, and a model folder to open."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

from latentwire.model.card import CARD_FILE, load_card
from training.data.datasets import Dataset
from training.errors import InvalidRun
from training.recipe import Recipe, make_recipe
from training.release.pipeline import prepare, staged_model
from training.runs import RunFolder


class Source(NamedTuple):
    """A run, or a model's folder if `run` is None; with the recipe that it was made by, if that is known."""

    path: Path
    run: RunFolder | None
    recipe: Recipe | None

    @property
    def name(self) -> str:
        """Name of the model."""
        return self.recipe.name if self.run and self.recipe else self.path.name


def find_source(path: Path) -> Source:
    """Find the run or the model in a folder.

    Raises:
        InvalidRun: it is neither.
        ModelError: it is a model's, and its card is not valid.
    """
    resolved = path.resolve()
    if (resolved / CARD_FILE).is_file():
        return model_source(resolved)
    if not (path / "recipe.toml").is_file():
        raise InvalidRun(
            f"{path} is neither the folder of a run, with a recipe.toml, nor of a model, with a {CARD_FILE}"
        )
    run = RunFolder(path)
    return Source(path, run, run.recipe())


def model_source(path: Path) -> Source:
    """Read the card of a published model.

    Raises:
        ModelError: there is none, or it is not valid.
    """
    folder = path.resolve()
    fields = load_card(folder).provenance.get("recipe")
    return Source(folder, None, make_recipe(fields) if isinstance(fields, dict) else None)


@contextmanager
def open_sources(sources: Sequence[Source], dataset: Dataset) -> Iterator[list[Path]]:
    """Yield each source as a model folder, which lasts as long as the context.

    Missing graphs and quantizers of runs are made first.
    """
    with ExitStack() as stack:
        folders = []
        for source in sources:
            if source.run is None:
                folders.append(source.path)
                continue
            prepare(source.run, dataset)
            folders.append(stack.enter_context(staged_model(source.run, dataset)))
        yield folders
