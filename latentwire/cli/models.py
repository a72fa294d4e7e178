"""The folder of models -> the one that is wanted, by its name or by a code's fingerprint.

Opens cards and halves only when they are asked for, and checks that a half gives its golden answer here.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from latentwire.cli.console import WrongUsage
from latentwire.errors import CodecError, InvalidCard, ModelMismatch
from latentwire.model.card import CARD_FILE, DECODER_FILE, ModelCard, load_card

if TYPE_CHECKING:
    from latentwire.decoder import Decoder
    from latentwire.encoder import Encoder


class Models:
    """The models of one folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._cards: dict[str, ModelCard | InvalidCard] = {}
        self._decoders: dict[str, Decoder | CodecError] = {}

    def card(self, wanted: str | None) -> ModelCard:
        """Return the card of a model.

        Args:
            wanted: `name` or `name@model_id`; None for the only one.

        Raises:
            WrongUsage: no such model, or None and there are several.
            InvalidCard: its card is not what it should be.
        """
        names = self._names()
        name, _, model_id = wanted.partition("@") if wanted is not None else (names[0], "", "")
        if wanted is None and len(names) > 1:
            raise WrongUsage(f"there are several models ({', '.join(names)}); choose one with --model")
        if name not in names:
            raise WrongUsage(f"there is no model '{name}' in '{self._folder}', which holds {', '.join(names)}")
        card = self._load(name)
        if isinstance(card, InvalidCard):
            raise card
        if model_id and model_id != card.model_id:
            raise WrongUsage(f"model '{name}' in '{self._folder}' has the model_id {card.model_id}, not {model_id}")
        return card

    def cards_beside(self, wanted: str | None) -> list[ModelCard]:
        """Return the cards of all models that take images of the same shape as one, by name.

        Args:
            wanted: as `card` has it; None for any, if all models take images of one shape.

        Raises:
            WrongUsage: no such model, or None and the models take images of several shapes.
            InvalidCard: a model's card is not what it should be.
        """
        cards = [self.card(name) for name in self._names()]
        shapes = {card.image for card in cards} if wanted is None else {self.card(wanted).image}
        if len(shapes) > 1:
            raise WrongUsage(
                f"the models ({', '.join(card.name for card in cards)}) take images of several shapes; name one of "
                "them in LATENTWIRE_DEFAULT_MODEL, and those of its shape are chosen from"
            )
        return [card for card in cards if card.image in shapes]

    def card_of(self, fingerprint: bytes) -> ModelCard:
        """Return the card of the model that made a code, by the 4 bytes that the code carries.

        Raises:
            WrongUsage: there is no model at all.
            ModelMismatch: no such model is here, or two that cannot be told apart.
        """
        cards = [self._load(name) for name in self._names()]
        sound = [card for card in cards if isinstance(card, ModelCard)]
        found = [card for card in sound if card.fingerprint == fingerprint]
        if len({card.model_id for card in found}) == 1:
            return found[0]
        if found:
            names = " and ".join(card.name for card in found)
            raise ModelMismatch(f"the models {names} have the same fingerprint; choose one of them with --model")
        here = [f"{card.name} ({card.fingerprint.hex()})" for card in sound]
        unread = [str(card) for card in cards if isinstance(card, InvalidCard)]
        raise ModelMismatch(
            f"the code was made by a model with fingerprint {fingerprint.hex()}, which is not in '{self._folder}'; "
            + "; ".join([f"there is {', '.join(here)}"] * bool(here) + unread)
        )

    def encoder(self, card: ModelCard) -> "Encoder":
        """Open a model's encoder.

        Raises:
            ModelError: its files are not what they should be.
        """
        from latentwire.encoder import Encoder

        encoder = Encoder.open(self._folder / card.name)
        encoder.check_golden()
        return encoder

    def has_decoder(self, card: ModelCard) -> bool:
        """Whether a model's decoder is there."""
        return (self._folder / card.name / DECODER_FILE).exists()

    def decoder(self, card: ModelCard) -> "Decoder":
        """Return a model's decoder.

        Raises:
            ModelError: its files are not what they should be.
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

    def _names(self) -> list[str]:
        # Dot-folders are models that are just being written.
        try:
            names = sorted(
                folder.name
                for folder in self._folder.iterdir()
                if not folder.name.startswith(".") and (folder / CARD_FILE).exists()
            )
        except OSError as error:
            raise WrongUsage(
                f"the models' folder '{self._folder}' cannot be read: {error.strerror}; name it with --models-dir"
            ) from error
        if not names:
            raise WrongUsage(f"the folder '{self._folder}' holds no model; name another with --models-dir")
        return names
