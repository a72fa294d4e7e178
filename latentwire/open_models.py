"""A folder of models -> all of its encoders, decoders, or both, and what is wrong with models that cannot be used."""

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from latentwire.errors import ModelError
from latentwire.model.model_folders import find_models

if TYPE_CHECKING:
    from latentwire.decoder import Decoder
    from latentwire.encoder import Encoder


class OpenedModels(NamedTuple):
    """The models in one folder, sorted by name.

    Attributes:
        names: of all models.
        usable: the names of those that could be opened.
        encoders: of the usable models, if they were wanted.
        decoders: of the usable models, if they were wanted.
        broken: a sentence for each other model, by its name.
    """

    names: list[str]
    usable: list[str]
    encoders: "list[Encoder]"
    decoders: "list[Decoder]"
    broken: dict[str, str]


def open_models(folder: Path, *, encoders: bool, decoders: bool, threads: int = 1) -> OpenedModels:
    """Open the wanted halves of each model in `folder`. A model that cannot be opened costs the others nothing.

    Of two models with the same fingerprint, the second one is broken, as their bitstreams cannot be told apart.

    Args:
        folder: holds one folder for each model.
        encoders: whether encoders are wanted; their code is not imported otherwise.
        decoders: whether decoders are wanted, likewise.
        threads: number of threads that one run of a graph may use.

    Raises:
        OSError: the folder cannot be read.
    """
    opened = OpenedModels(find_models(folder), [], [], [], {})
    name_of: dict[bytes, str] = {}
    for name in opened.names:
        try:
            encoder = _open_encoder(folder / name, threads) if encoders else None
            decoder = _open_decoder(folder / name, threads) if decoders else None
        except ModelError as error:
            opened.broken[name] = str(error)
            continue
        halves = [half for half in (encoder, decoder) if half is not None]
        if (twin := name_of.setdefault(halves[0].card.fingerprint, name)) != name:
            opened.broken[name] = f"the models '{twin}' and '{name}' have the same fingerprint; remove one of them"
            continue
        opened.usable.append(name)
        opened.encoders.extend([encoder] if encoder else [])
        opened.decoders.extend([decoder] if decoder else [])
    return opened


def _open_encoder(folder: Path, threads: int) -> "Encoder":
    from latentwire.encoder import Encoder  # a receiver must not load this code

    return Encoder.open(folder, threads)


def _open_decoder(folder: Path, threads: int) -> "Decoder":
    from latentwire.decoder import Decoder  # a sender must not load this code

    return Decoder.open(folder, threads)
