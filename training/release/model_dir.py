"""Two ONNX graphs and what was measured of them -> `models/<name>/`."""

import base64
import hashlib
import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from latentwire.entropy import quantizer
from latentwire.imaging import image
from latentwire.model.any_size_card import load_any_card
from latentwire.model.card import (
    CARD_FILE,
    DECODER_FILE,
    ENCODER_FILE,
    FrequencyTable,
    Golden,
    GraphFile,
    ImageShape,
    ModelCard,
    Quality,
    UniformQuantizer,
    model_id_of,
)
from latentwire.model.guard_limits import GuardLimits
from latentwire.model.onnx_session import open_onnx
from training.errors import CannotWrite, InvalidRun


def find_vector_models(models_dir: Path) -> dict[Path, ModelCard]:
    """Return the cards of all vector models in a folder of models, by their folders, sorted.

    Raises:
        ModelError: a card is not valid.
    """
    cards = {path.parent: load_any_card(path.parent) for path in sorted(models_dir.glob(f"*/{CARD_FILE}"))}
    return {folder: card for folder, card in cards.items() if isinstance(card, ModelCard)}


def draw_golden_image(shape: ImageShape) -> image.Pixels:
    """Draw a ring with a bar through it, shifted from channel to channel: uint8 (H, W, C).

    It is drawn by a formula, so that models contain no image of a data set.
    """
    rows = np.linspace(-1, 1, shape.height)[:, None, None]
    columns = np.linspace(-1, 1, shape.width)[None, :, None] + 0.2 * np.arange(shape.channels)
    ring = np.exp(-(((np.hypot(rows / 0.65, columns / 0.45) - 1) / 0.3) ** 2))
    bar = np.exp(-((rows / 0.12) ** 2)) * (np.abs(columns) < 0.7)
    picture: image.Pixels = np.rint(255 * np.maximum(ring, bar)).astype(np.uint8)
    return picture


def graph_file(path: Path) -> GraphFile:
    """Return the hash and size of an ONNX file."""
    content = path.read_bytes()
    return GraphFile(sha256=hashlib.sha256(content).hexdigest(), bytes=len(content))


def make_golden(encoder: Path, decoder: Path, shape: ImageShape, parameters: UniformQuantizer) -> Golden:
    """Send the golden image through both graphs and record the results.

    Raises:
        InvalidGraph: a graph does not have the signature of this image shape and code size.
    """
    height, width, channels = shape.as_tuple()
    x_shape, y_shape = (channels, height, width), (len(parameters.low),)
    pixels = draw_golden_image(shape)
    y = open_onnx(encoder, graph_file(encoder), x_shape, y_shape).run(image.to_x(pixels[None]))
    symbols = quantizer.quantize(y, parameters)
    x_hat = open_onnx(decoder, graph_file(decoder), y_shape, x_shape).run(quantizer.dequantize(symbols, parameters))

    def png(picture: image.Pixels) -> str:
        return base64.b64encode(image.write_png(picture)).decode()

    return Golden(
        image_png_base64=png(pixels),
        symbols=tuple(symbols[0].tolist()),
        reconstruction_png_base64=png(image.to_pixels(x_hat)[0]),
    )


def make_card(
    name: str,
    encoder: Path,
    decoder: Path,
    shape: ImageShape,
    parameters: UniformQuantizer,
    tables: Sequence[FrequencyTable],
    *,
    description: str = "",
    quality: Quality | None = None,
    guard: GuardLimits | None = None,
    provenance: dict[str, Any] | None = None,
) -> ModelCard:
    """Make the card of a model from its two ONNX files, its quantizer and its tables.

    Raises:
        InvalidGraph: a graph does not have the signature of this image shape and code size.
    """
    encoder_file, decoder_file = graph_file(encoder), graph_file(decoder)
    return ModelCard(
        name=name,
        model_id=model_id_of(shape, parameters, tables, encoder_file, decoder_file),
        description=description,
        image=shape,
        code_size=len(parameters.low),
        quantizer=parameters,
        tables=tuple(tables),
        encoder=encoder_file,
        decoder=decoder_file,
        golden=make_golden(encoder, decoder, shape, parameters),
        quality=quality,
        guard=guard,
        provenance=provenance or {},
    )


def check_target(models_dir: Path, name: str, *, replace: bool = False) -> None:
    """Check that a model can be written to `models_dir/<name>`, before the work for it begins.

    Args:
        models_dir: folder of models, which is made if it does not exist.
        name: of the model.
        replace: whether it may take the place of another model.

    Raises:
        InvalidRun: another model has the name and is not to be replaced, or something that is not a model has it.
        CannotWrite: there can be no such folder.
    """
    target = models_dir / name
    try:
        if target.is_symlink() or (target.exists() and not (target / CARD_FILE).is_file()):
            raise InvalidRun(f"{target} is not the folder of a model, and is never replaced; choose another --name")
        if target.exists() and not replace:
            raise InvalidRun(f"{target} already holds a model; choose another --name, or replace it with --force")
        existing = next(folder for folder in (models_dir, *models_dir.absolute().parents) if folder.exists())
        if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
            why = "is not writable" if existing.is_dir() else "is not a folder"
            raise CannotWrite(f"models cannot be written to {models_dir}: {existing} {why}; name another --models-dir")
    except OSError as error:
        raise CannotWrite(f"models cannot be written to {models_dir}: {error.strerror}") from error


def write_model(
    models_dir: Path,
    card: ModelCard,
    encoder: Path,
    decoder: Path,
    readme: str | None = None,
    *,
    replace: bool = False,
) -> Path:
    """Write `models_dir/<card.name>/` whole or not at all; return the folder.

    Raises:
        InvalidRun: see `check_target`.
        CannotWrite: the disk is full, or the folder cannot be written; a model of the same name is as it was.
    """
    check_target(models_dir, card.name, replace=replace)
    target = models_dir / card.name
    try:
        models_dir.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{card.name}-", dir=models_dir) as scratch:
            staging, outgoing = Path(scratch) / "new", Path(scratch) / "old"
            staging.mkdir(mode=0o755)
            shutil.copyfile(encoder, staging / ENCODER_FILE)
            shutil.copyfile(decoder, staging / DECODER_FILE)
            (staging / CARD_FILE).write_text(card.to_json(), encoding="utf-8")
            if readme is not None:
                (staging / "README.md").write_text(readme, encoding="utf-8")
            if target.exists():
                target.replace(outgoing)
            try:
                staging.replace(target)
            except OSError:
                if outgoing.exists():
                    outgoing.replace(target)
                raise
    except OSError as error:
        raise CannotWrite(f"{target} cannot be written: {error.strerror}; what was there before is intact") from error
    return target
