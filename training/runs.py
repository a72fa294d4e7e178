"""A run's folder: everything that a model was made from, and that resuming its training needs.

    recipe.toml        as run, with all overrides
    environment.json   versions, git revision, processor, shape of the images
    metrics.jsonl      one line of JSON for each epoch
    last.pt, best.pt   checkpoints: of the last epoch, and of the best one by its validation images
    encoder.onnx, decoder.onnx, export.json, quantizer.json, quality.json    by the steps after training

`training.loop.checkpoints` reads and writes the checkpoints.
"""

import hashlib
import json
import shlex
import shutil
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from latentwire.model.card import DECODER_FILE, ENCODER_FILE, ImageShape
from training.atomic import write_atomically
from training.errors import CannotWrite, InvalidRun
from training.recipe import Recipe, load_recipe

RUNS_DIR = Path("runs")


class RunFolder:
    """The files of one run, by name."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.recipe_file = path / "recipe.toml"
        self.environment_file = path / "environment.json"
        self.metrics_file = path / "metrics.jsonl"
        self.last = path / "last.pt"
        self.best = path / "best.pt"
        self.encoder = path / ENCODER_FILE
        self.decoder = path / DECODER_FILE
        self.export_file = path / "export.json"
        self.quantizer_file = path / "quantizer.json"
        self.quality_file = path / "quality.json"

    def __str__(self) -> str:
        return shlex.quote(str(self.path))  # most messages have it in a command

    def recipe(self) -> Recipe:
        """Load the recipe as it was run.

        Raises:
            InvalidRun: the folder is not a run.
            InvalidRecipe: its recipe was changed and is no longer valid.
        """
        if not self.recipe_file.is_file():
            raise InvalidRun(f"{self.path} is not the folder of a run: it has no {self.recipe_file.name}")
        return load_recipe(str(self.recipe_file))

    def best_sha256(self) -> str:
        """Return the SHA-256, in hex, of the best checkpoint, by which later steps know whether they are up to date."""
        with self.best.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    def image_shape(self) -> ImageShape:
        """Return the shape of the images that the run was trained on.

        Raises:
            InvalidRun: the run has not begun, or its file is damaged.
        """
        try:
            return ImageShape.model_validate(self.read_json(self.environment_file, "train").get("image"))
        except ValidationError as error:
            raise InvalidRun(f"{self.environment_file} does not say which shape the run's images have") from error

    def write_json(self, path: Path, content: Any) -> None:
        """Write one of the folder's JSON files.

        Raises:
            CannotWrite: the disk is full, or the folder read-only.
        """
        write_atomically(path, (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode())

    def read_json(self, path: Path, made_by: str) -> dict[str, Any]:
        """Read one of the folder's JSON files.

        Raises:
            InvalidRun: the file does not exist or is damaged; the command `made_by` makes it.
        """
        try:
            content = json.loads(path.read_bytes())
        except FileNotFoundError as error:
            raise InvalidRun(f"{self} has no {path.name} yet; run `python -m training {made_by} {self}`") from error
        except (OSError, ValueError) as error:
            raise InvalidRun(f"{path} is damaged; make it again with `python -m training {made_by} {self}`") from error
        if not isinstance(content, dict):
            raise InvalidRun(f"{path} is damaged; make it again with `python -m training {made_by} {self}`")
        return content

    def append_metrics(self, metrics: dict[str, Any]) -> None:
        """Add one epoch's line to the metrics.

        Raises:
            CannotWrite: the disk is full, or the folder read-only.
        """
        try:
            with self.metrics_file.open("a", encoding="utf-8") as file:
                file.write(json.dumps(metrics) + "\n")
        except OSError as error:
            raise CannotWrite(f"{self.metrics_file} cannot be written: {error.strerror}") from error

    def metrics(self) -> list[dict[str, Any]]:
        """Return the metrics of each epoch so far, without a last line that a crash cut short."""
        lines = self.metrics_file.read_text(encoding="utf-8").splitlines() if self.metrics_file.is_file() else []
        found = []
        for line in lines:
            try:
                found.append(json.loads(line))
            except ValueError:
                break
        return found

    def drop_metrics_after(self, epoch: int) -> None:
        """Drop the metrics of later epochs, which will be run again."""
        kept = [metrics for metrics in self.metrics() if metrics["epoch"] <= epoch]
        write_atomically(self.metrics_file, "".join(json.dumps(metrics) + "\n" for metrics in kept).encode())

    def discard(self) -> None:
        """Remove a run that has not begun: one without a checkpoint. What else lies in its folder stays."""
        if self.last.is_file():
            return
        for file in (self.recipe_file, self.environment_file):
            file.unlink(missing_ok=True)
        shutil.rmtree(self.path / "snapshots", ignore_errors=True)
        with suppress(OSError):  # something else is in it
            self.path.rmdir()


def create_run(recipe: Recipe, path: Path | None = None) -> RunFolder:
    """Make a new run's folder, by default `runs/<recipe's name>-<time>`, with its recipe in it.

    Raises:
        InvalidRun: the folder already exists and is not empty.
        CannotWrite: it cannot be made.
    """
    folder = path or RUNS_DIR / f"{recipe.name}-{datetime.now():%Y%m%d-%H%M%S}"
    try:
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise InvalidRun(f"{folder} already exists{_way_on(folder)} choose another folder with --run")
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CannotWrite(f"the folder {folder} cannot be made: {error.strerror}") from error
    run = RunFolder(folder)
    write_atomically(run.recipe_file, recipe.to_toml().encode())
    return run


def _way_on(folder: Path) -> str:
    run = RunFolder(folder)
    if run.last.is_file():
        return f"; go on with its run by `python -m training resume {run}`, or"
    if run.recipe_file.is_file():
        return ", with a run that never began; remove it, or"
    return " and holds other files;"
