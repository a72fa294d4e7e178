"""The folder of models -> cards, encoders and decoders, by name or by the fingerprint in a bitstream.

Files are opened when they are first needed. An encoder or decoder is checked against the golden data in its card.
"""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from latentwire.cli.console import WrongUsage
from latentwire.errors import CodecError, InvalidCard, ModelMismatch
from latentwire.model.card import DECODER_FILE, ModelCard, load_card
from latentwire.model.model_folders import default_model, find_models

if TYPE_CHECKING:
    from latentwire.decoder import Decoder
    from latentwire.encoder import Encoder

Found = TypeVar("Found")


class Models:
    """The models in one folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._cards: dict[str, ModelCard | InvalidCard] = {}
        self._decoders: dict[str, Decoder | CodecError] = {}

    def card(self, wanted: str | None) -> ModelCard:
        """Return the card of a model.

        Args:
            wanted: `name` or `name@model_id`; None for the folder's default model, or its only one.

        Raises:
            WrongUsage: the folder has no such model, or several models without a default and `wanted` is None.
            InvalidCard: the card cannot be used.
        """
        names = self._names()
        name, _, model_id = (wanted or self.default() or self._only()).partition("@")
        if name not in names:
            raise WrongUsage(f"there is no model '{name}' in '{self._folder}'; choose {', '.join(names)}")
        card = self._load(name)
        if isinstance(card, InvalidCard):
            raise card
        if model_id and model_id != card.model_id:
            raise WrongUsage(f"model '{name}' in '{self._folder}' has the model_id {card.model_id}, not {model_id}")
        return card

    def cards_beside(self, wanted: str | None) -> list[ModelCard]:
        """Return the cards of all models that take images of the same shape as `wanted`, sorted by name.

        Args:
            wanted: as in `card`; None also if all models take images of one shape.

        Raises:
            WrongUsage: the folder has no such model, or models of several shapes without a default and `wanted` is
                None.
            InvalidCard: no card can be used.
        """
        wanted = wanted or self.default()
        loaded = self.all()
        cards = [card for card in loaded if isinstance(card, ModelCard)]
        if not cards:
            raise next(card for card in loaded if isinstance(card, InvalidCard))
        shapes = {card.image for card in cards} if wanted is None else {self.card(wanted).image}
        if len(shapes) > 1:
            raise WrongUsage(
                f"the models ({', '.join(card.name for card in cards)}) take images of several shapes; name a model "
                "of the wanted shape in LATENTWIRE_DEFAULT_MODEL"
            )
        return [card for card in cards if card.image in shapes]

    def default(self) -> str | None:
        """Return the name of the folder's default model; None if the folder names none.

        Raises:
            WrongUsage: the folder cannot be read.
        """
        return self._reading(default_model)

    def all(self) -> list[ModelCard | InvalidCard]:
        """Return the cards of all models, sorted by name, and an error in the place of each unusable one.

        Raises:
            WrongUsage: the folder cannot be read, or has no model.
        """
        return [self._load(name) for name in self._names()]

    def card_of(self, fingerprint: bytes) -> ModelCard:
        """Return the card of the model that made a bitstream, by the fingerprint (4 bytes) in it.

        Raises:
            WrongUsage: the folder has no model at all.
            ModelMismatch: the folder has no such model, or two with this fingerprint.
        """
        cards = self.all()
        valid = [card for card in cards if isinstance(card, ModelCard)]
        found = [card for card in valid if card.fingerprint == fingerprint]
        if len({card.model_id for card in found}) == 1:
            return found[0]
        if found:
            names = " and ".join(card.name for card in found)
            raise ModelMismatch(f"the models {names} have the same fingerprint; choose one of them with --model")
        here = [f"{card.name} ({card.fingerprint.hex()})" for card in valid]
        unread = [str(card) for card in cards if isinstance(card, InvalidCard)]
        raise ModelMismatch(
            f"the bitstream was made by a model with fingerprint {fingerprint.hex()}, which is not in "
            f"'{self._folder}'; " + "; ".join([f"it has {', '.join(here)}"] * bool(here) + unread)
        )

    def encoder(self, card: ModelCard) -> "Encoder":
        """Open the encoder of a model.

        Raises:
            ModelError: the files of the model cannot be used.
        """
        from latentwire.encoder import Encoder

        encoder = Encoder.open(self._folder / card.name)
        encoder.check_golden()
        return encoder

    def has_decoder(self, card: ModelCard) -> bool:
        """Return whether the folder has the decoder of a model."""
        return (self._folder / card.name / DECODER_FILE).exists()

    def decoder(self, card: ModelCard) -> "Decoder":
        """Return the decoder of a model.

        Raises:
            ModelError: the files of the model cannot be used.
        """
        from latentwire.decoder import Decoder

        if card.name not in self._decoders:
            try:
                decoder = Decoder.open(self._folder / card.name)
                decoder.check_golden()
                self._decoders[card.name] = decoder
            except CodecError as error:
                self._decoders[card.name] = error
        opened = self._decoders[card.name]
        if isinstance(opened, CodecError):
            raise opened
        return opened

    def _load(self, name: str) -> ModelCard | InvalidCard:
        if name not in self._cards:
            try:
                self._cards[name] = load_card(self._folder / name)
            except InvalidCard as error:
                self._cards[name] = error
        return self._cards[name]

    def _only(self) -> str:
        usable = [card.name for card in self.all() if isinstance(card, ModelCard)] or self._names()
        if len(usable) > 1:
            raise WrongUsage(f"there are several models ({', '.join(usable)}); choose one with --model")
        return usable[0]

    def _names(self) -> list[str]:
        names = self._reading(find_models)
        if not names:
            raise WrongUsage(f"the models folder '{self._folder}' has no model; name another with --models-dir")
        return names

    def _reading(self, read: Callable[[Path], Found]) -> Found:
        try:
            return read(self._folder)
        except OSError as error:
            raise WrongUsage(
                f"the models folder '{self._folder}' cannot be read: {error.strerror}; name another with --models-dir"
            ) from error
