"""A published model for images of any size -> the same model with the graphs that this version exports.

python -m training.release.republish models/photo built
"""

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path

from latentwire.errors import InvalidCard
from latentwire.model.any_size_card import ENTROPY_FILE, REFINER_FILE, AnySizeCard, load_any_card, load_tables
from latentwire.model.card import DECODER_FILE, ENCODER_FILE
from training.photo.export import decoder_graph, encoder_graph, file_of
from training.photo.published import read_published
from training.release.any_size_model import write_any_size_model


def republish(folder: Path, models_dir: Path) -> Path:
    """Write `models_dir/<name>/` with encoder and decoder exported anew; return that folder.

    The model gets another id. Its figures are left out, as they are those of the former graphs.

    Raises:
        ModelError: the folder holds no model for images of any size.
        KeyError: the model is not one of 8 bits.
    """
    card = load_any_card(folder)
    if not isinstance(card, AnySizeCard):
        raise InvalidCard(f"'{card.name}' is a vector model")
    codec = read_published(folder)
    files = (ENTROPY_FILE, REFINER_FILE) if card.refinement is not None else (ENTROPY_FILE,)
    with tempfile.TemporaryDirectory() as scratch:
        graphs = {file: folder / file for file in files}
        for file, graph in ((ENCODER_FILE, encoder_graph), (DECODER_FILE, decoder_graph)):
            graphs[file] = Path(scratch) / file
            graphs[file].write_bytes(file_of(graph(codec)))
        return write_any_size_model(
            graphs,
            load_tables(folder, card),
            card.exactness,
            card.margins,
            models_dir,
            card.name,
            description=card.description,
            provenance={name: value for name, value in card.provenance.items() if name != "figures"},
            refinement=None if card.refinement is None else card.refinement.model_dump(exclude={"graph"}),
        )


def main(arguments: Sequence[str] | None = None) -> None:
    """Publish a model's graphs anew."""
    parser = argparse.ArgumentParser(prog="python -m training.release.republish", description=__doc__)
    parser.add_argument("model", type=Path, help="folder of the model")
    parser.add_argument("models_dir", type=Path, help="folder of models that it is written to")
    given = parser.parse_args(arguments)
    print(republish(given.model, given.models_dir))


if __name__ == "__main__":
    main()
