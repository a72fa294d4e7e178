"""A run or a published model -> one HTML file with its figures and all its pictures.

The file contains the pictures as base64, loads nothing and runs no script.
"""

import base64
import io
import json
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

from jinja2 import Environment, StrictUndefined
from PIL import Image, ImageSequence

from latentwire.model.card import ModelCard, Quality, load_card
from training.data.datasets import Dataset
from training.errors import InvalidRun
from training.plots.canvas import write_picture
from training.plots.catalogue import KINDS, Kind, Options, suffix_of
from training.recipe import Recipe
from training.release.artifacts import Source, open_sources
from training.release.baselines import warnings_of
from training.release.evaluate import evaluate_model

# Pictures of one model, in their order in the report.
SECTIONS = (
    "learning",
    "animate",
    "two-rows",
    "reconstructions",
    "side-by-side",
    "codes",
    "histograms",
    "random",
    "interpolate",
    "denoise",
    "outliers",
)

_TEMPLATE = Path(__file__).parent / "report.html.jinja"
# Loss of an animation's frames, as WebP has it: about a tenth of a GIF's bytes.
_ANIMATION_QUALITY = 75


class Section(NamedTuple):
    """A picture in the report: heading, caption, and the picture as a data URL."""

    title: str
    shows: str
    url: str


class Figure(NamedTuple):
    """A line of the table: a label, the figure with the float code, and the figure as delivered."""

    label: str
    float_code: str
    delivered: str


def write_report(source: Source, dataset: Dataset, out: Path, options: Options | None = None) -> list[str]:
    """Write the report of a run or model, and return the names of the pictures in it.

    Missing graphs and quantizers of a run are made. Pictures that need a run are left out of a model's report, and
    the animation is left out for a run without snapshots.

    Args:
        source: the run or the model.
        dataset: data set whose images are shown and measured.
        out: the HTML file.
        options: options of the pictures; by default the noise is that of the recipe.

    Raises:
        ModelError: the model's files cannot be used.
        ImageMismatch: its images are not of the data set's shape.
        CannotWrite: the file cannot be written.
        TrainingError: a step that the run lacks fails.
    """
    asked = options or _options_of(source.recipe)
    sections: dict[str, Section] = {}
    with open_sources([source], dataset) as (folder,), tempfile.TemporaryDirectory() as scratch:
        card = load_card(folder)
        known = card.quality is not None and card.quality.dataset == f"{dataset.name} test"
        quality = card.quality if known and card.quality else evaluate_model(folder, dataset)
        for name in SECTIONS:
            picture = Path(scratch) / f"{name}{suffix_of(name)}"
            if _draw(KINDS[name], source, folder, dataset, picture, asked):
                sections[name] = Section(KINDS[name].title, KINDS[name].shows, data_url(picture))
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    text = environment.from_string(_TEMPLATE.read_text(encoding="utf-8")).render(
        card=card,
        facts=_facts(card, dataset),
        quality=quality,
        figures=_figures(quality),
        raw_bytes=dataset.shape.pixels * dataset.shape.channels,
        sections=sections,
        recipe=_recipe_lines(source.recipe),
    )
    write_picture(out, text.encode())
    return list(sections)


def _options_of(recipe: Recipe | None) -> Options:
    if recipe is not None and recipe.noise > 0:
        return Options(noise="dropout", noise_level=recipe.noise)
    if recipe is not None and recipe.noise_std > 0:
        return Options(noise_level=recipe.noise_std)
    return Options()


def _draw(kind: Kind, source: Source, folder: Path, dataset: Dataset, out: Path, options: Options) -> bool:
    """Draw one picture; return False if the source lacks what it shows."""
    if kind.draw is not None:
        kind.draw([folder], dataset, out, options)
        return True
    if kind.draw_run is None or source.run is None:
        return False
    try:
        kind.draw_run(source.run, out)
    except InvalidRun:
        return False
    return True


def data_url(picture: Path) -> str:
    """Return a picture as a data URL in WebP, which is shorter than PNG without loss, and than GIF with a little."""
    buffer = io.BytesIO()
    with Image.open(picture) as opened:
        if getattr(opened, "is_animated", False):
            frames, durations = [], []
            for frame in ImageSequence.Iterator(opened):
                frames.append(frame.convert("RGB"))
                durations.append(frame.info["duration"])
            options = {"save_all": True, "append_images": frames[1:], "duration": durations, "loop": 0}
            frames[0].save(buffer, "WEBP", quality=_ANIMATION_QUALITY, method=2, **options)
        else:
            opened.convert("RGB").save(buffer, "WEBP", lossless=True, method=2)
    return f"data:image/webp;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _facts(card: ModelCard, dataset: Dataset) -> list[tuple[str, str]]:
    provenance = card.provenance
    made: dict[str, Any] = provenance.get("environment") or {}
    facts = [
        *(("WARNING", warning) for warning in warnings_of(card)),
        ("images", f"{card.image}"),
        ("data set", f"{dataset.name}: {len(dataset.train):,} images for training, {len(dataset.test):,} for testing"),
        ("code", f"{card.code_size:,} number{'s' * (card.code_size > 1)}"),
        ("encoder", f"{card.encoder.bytes:,} bytes"),
        ("decoder", f"{card.decoder.bytes:,} bytes"),
        ("model id", card.model_id),
    ]
    if "best_epoch" in provenance:
        facts.append(("weights", f"epoch {provenance['best_epoch']} of {provenance['epochs_run']}"))
    if made.get("git_revision"):
        facts.append(("revision", str(made["git_revision"])))
    return facts


def _figures(quality: Quality) -> list[Figure]:
    return [
        Figure("RMSE", f"{quality.float_rmse:.5f}", f"{quality.rmse:.5f}"),
        Figure("MSE", f"{quality.float_mse:.6f}", f"{quality.mse:.6f}"),
        Figure("PSNR", f"{quality.float_psnr_db:.2f} dB", f"{quality.psnr_db:.2f} dB"),
        Figure("ideal code length", "", f"{quality.ideal_bits:.2f} bits"),
        Figure("payload", "", f"{quality.payload_bytes:.4g} bytes"),
        Figure("bitstream", "", f"{quality.bitstream_bytes:.4g} bytes"),
        Figure("bits per pixel", "", f"{quality.bpp:.4f}"),
    ]


def _recipe_lines(recipe: Recipe | None) -> list[tuple[str, str]]:
    if recipe is None:
        return []
    return [(field, json.dumps(value, ensure_ascii=False)) for field, value in recipe.options().items()]
