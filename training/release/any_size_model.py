"""The graphs and tables of an export -> `models/<name>/` of a model for images of any size.

python -m training.photo export runs/photo exported
python -m training.release.any_size_model exported models photo
"""

import argparse
import base64
import json
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from latentwire.any_size.decoder import AnySizeDecoder
from latentwire.any_size.encoder import AnySizeEncoder
from latentwire.any_size.entropy_model import EntropyModel, entropy_signature
from latentwire.errors import InvalidCard
from latentwire.imaging import image
from latentwire.model.any_size_card import (
    ENTROPY_FILE,
    REFINER_FILE,
    TABLES_FILE,
    AnySizeCard,
    AnySizeGolden,
    EntropyTables,
    Exactness,
    Margins,
    Refinement,
    any_size_id_of,
    load_any_card,
)
from latentwire.model.card import (
    CARD_FILE,
    DECODER_FILE,
    ENCODER_FILE,
    FREQUENCY_TOTAL,
    FrequencyTable,
    GraphFile,
    ImageShape,
)
from latentwire.model.onnx_session import open_map_graph
from training.atomic import write_atomically
from training.photo.export import EXPORT_FILE
from training.release.any_size_readme import write_any_size_readme
from training.release.model_dir import draw_golden_image, graph_file

GOLDEN_SHAPE = ImageShape(height=88, width=100, channels=3)
GOLDEN_QUALITY = 60

# Symbols of tables in which 0 has at least this share are not coded.
SKIPPED_SHARE = 0.985

README_FILE = "README.md"
DESCRIPTION = "A codec for photographs of any size, at any rate, trained for the squared error."
GRAPHS = (ENCODER_FILE, DECODER_FILE, ENTROPY_FILE)


def publish(
    exported: Path, models_dir: Path, name: str, *, description: str = "", provenance: dict[str, Any] | None = None
) -> Path:
    """Write `models_dir/<name>/` from what `training.photo.export` wrote, replacing a model of that name.

    Args:
        exported: folder with four graphs and `export.json`.
        models_dir: folder of models.
        name: of the model.
        description: of the model, for its card.
        provenance: for the card, beside what the export says of data, licence, run and revision.

    Returns:
        The model's folder.

    Raises:
        ModelError: graphs and tables do not agree.
    """
    report = json.loads((exported / EXPORT_FILE).read_text())
    tables = tables_of(report)
    origin = {**report.get("origin", {}), **(provenance or {})}
    exactness = Exactness(worst_sum=report["worst_sum"])
    margins = Margins(**report["margins"])
    graphs = {graph: exported / graph for graph in (*GRAPHS, REFINER_FILE)}
    return write_any_size_model(
        graphs,
        tables,
        exactness,
        margins,
        models_dir,
        name,
        description=description,
        provenance=origin,
        refinement=report["refinement"],
    )


def add_figures(folder: Path, figures: dict[str, Any]) -> None:
    """Write what was measured of a model into its card and README; bitstreams stay the same.

    Raises:
        ModelError: the card is not valid, or is that of a vector model.
    """
    card = load_any_card(folder)
    if not isinstance(card, AnySizeCard):
        raise InvalidCard(f"'{card.name}' is a vector model; these figures are of models for images of any size")
    changed = card.model_copy(update={"provenance": {**card.provenance, "figures": figures}})
    for file, text in ((CARD_FILE, changed.to_json()), (README_FILE, write_any_size_readme(changed))):
        write_atomically(folder / file, text.encode())


def tables_of(report: Mapping[str, Any]) -> EntropyTables:
    """Return the tables of an `export.json`, in which a table's last frequency is that of the escape."""
    scale_tables = _tables(report["tables"])
    return EntropyTables(
        first_group=report["first_group"],
        hyper_tables=_tables(report["hyper_tables"]),
        scale_tables=scale_tables,
        skip_below=skip_below(scale_tables),
        gain_offsets=report["gain_offsets"],
        log_gain=report["log_gain"],
        log_inverse=report["log_inverse"],
    )


def skip_below(scale_tables: Sequence[FrequencyTable]) -> int:
    """Return the number of the first table in which 0 is not nearly certain."""
    shares = [table.frequencies[-table.first] / FREQUENCY_TOTAL for table in scale_tables]
    return next((number for number, share in enumerate(shares) if share < SKIPPED_SHARE), len(shares))


def write_any_size_model(
    graphs: Mapping[str, Path],
    tables: EntropyTables,
    exactness: Exactness,
    margins: Margins,
    models_dir: Path,
    name: str,
    *,
    description: str = "",
    provenance: dict[str, Any] | None = None,
    refinement: Mapping[str, Any] | None = None,
) -> Path:
    """Write `models_dir/<name>/` whole or not at all; return the folder.

    Args:
        graphs: paths of encoder.onnx, decoder.onnx and entropy.onnx, and of refiner.onnx if symbols can be refined.
        tables: of the entropy model.
        exactness: the bound that the export proved.
        margins: how far the graphs see.
        models_dir: folder of models.
        name: of the model.
        description: for the card.
        provenance: for the card.
        refinement: for the card, without the graph; given if there is that graph.

    Raises:
        ModelError: graphs and tables do not agree.
    """
    models_dir.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=f".{name}-", dir=models_dir))
    target, outgoing = models_dir / name, staging.with_name(staging.name + "-replaced")
    try:
        staging.chmod(0o755)
        for file, path in graphs.items():
            shutil.copyfile(path, staging / file)
        (staging / TABLES_FILE).write_text(tables.to_json(), encoding="utf-8")
        files = {file: graph_file(staging / file) for file in (*graphs, TABLES_FILE)}
        refining = refinement and Refinement(graph=files[REFINER_FILE], **refinement)
        card = _make_card(staging, files, tables, exactness, margins, name, description, provenance or {})
        card = card.model_copy(update={"refinement": refining})
        (staging / CARD_FILE).write_text(card.to_json(), encoding="utf-8")
        (staging / README_FILE).write_text(write_any_size_readme(card), encoding="utf-8")
        if target.exists():
            target.replace(outgoing)
        staging.replace(target)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
        shutil.rmtree(outgoing, ignore_errors=True)
    return target


def _make_card(
    folder: Path,
    files: Mapping[str, GraphFile],
    tables: EntropyTables,
    exactness: Exactness,
    margins: Margins,
    name: str,
    description: str,
    provenance: dict[str, Any],
) -> AnySizeCard:
    encoder_file, decoder_file, entropy_file, tables_file = (
        files[file] for file in (ENCODER_FILE, DECODER_FILE, ENTROPY_FILE, TABLES_FILE)
    )
    entropy = EntropyModel(tables, open_map_graph(folder / ENTROPY_FILE, entropy_file, *entropy_signature(tables)))
    entropy_sha256 = entropy.golden_sha256()
    pixels = draw_golden_image(GOLDEN_SHAPE)

    def card(payload: bytes, reconstruction: image.Pixels) -> AnySizeCard:
        return AnySizeCard(
            name=name,
            model_id=any_size_id_of(encoder_file, decoder_file, entropy_file, tables_file),
            description=description,
            encoder=encoder_file,
            decoder=decoder_file,
            entropy=entropy_file,
            tables=tables_file,
            exactness=exactness,
            margins=margins,
            golden=AnySizeGolden(
                image_png_base64=_base64(image.write_png(pixels)),
                payload_base64=_base64(payload),
                reconstruction_png_base64=_base64(image.write_png(reconstruction)),
                entropy_sha256=entropy_sha256,
            ),
            provenance=provenance,
        )

    # Without golden data, for making them.
    bare = card(b"", pixels)
    encoder = AnySizeEncoder.open(folder, bare, entropy=entropy)
    payload = encoder.encode(pixels, encoder.quality_index(GOLDEN_QUALITY)).payload
    return card(payload, AnySizeDecoder.open(folder, bare, entropy=entropy).decode_raw(payload))


def _tables(rows: Sequence[Mapping[str, Any]]) -> tuple[FrequencyTable, ...]:
    return tuple(
        FrequencyTable(first=row["first"], frequencies=row["frequencies"][:-1], escape=row["frequencies"][-1])
        for row in rows
    )


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def main(arguments: Sequence[str] | None = None) -> None:
    """Publish an export."""
    parser = argparse.ArgumentParser(prog="python -m training.release.any_size_model", description="Publish an export.")
    parser.add_argument("exported", type=Path, help="folder that `python -m training.photo export` wrote")
    parser.add_argument("models_dir", type=Path)
    parser.add_argument("name", help="of the model")
    parser.add_argument("--description", default=DESCRIPTION)
    parser.add_argument("--provenance", type=Path, help="JSON file for the card, beside what the export says")
    given = parser.parse_args(arguments)
    provenance = {} if given.provenance is None else json.loads(given.provenance.read_text())
    print(publish(given.exported, given.models_dir, given.name, description=given.description, provenance=provenance))


if __name__ == "__main__":
    main()
