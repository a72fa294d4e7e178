"""The folder of models -> cards, encoders and decoders, by name or by the fingerprint in a bitstream.

Files are opened when they are first needed. An encoder or decoder is checked against the golden data in its card.
"""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from latentwire.cli.console import WrongUsage
from latentwire.errors import CodecError, InvalidCard, ModelMismatch
from latentwire.model.any_size_card import AnySizeCard, EntropyTables, load_any_card, load_tables
from latentwire.model.card import DECODER_FILE, ModelCard
from latentwire.model.model_folders import default_any_size_model, default_model, find_models

if TYPE_CHECKING:
    from latentwire.any_size.decoder import AnySizeDecoder
    from latentwire.any_size.sender import AnySizeSender
    from latentwire.decoder import Decoder
    from latentwire.encoder import Encoder

AnyCard = ModelCard | AnySizeCard
Found = TypeVar("Found")


class Models:
    """The models in one folder, of both kinds: vector models, and those for images of any size."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._cards: dict[str, AnyCard | InvalidCard] = {}
        self._decoders: dict[str, Decoder | AnySizeDecoder | CodecError] = {}

    def card(self, wanted: str | None) -> AnyCard:
        """Return the card of a model.

        Args:
            wanted: `name` or `name@model_id`; None for the folder's default model, or its only vector model, or its
                only model.

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
        """Return the cards of all vector models that take images of the same shape as `wanted`, sorted by name.

        Args:
            wanted: as in `card`, a vector model; None also if all vector models take images of one shape.

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
        of_shape = cards if wanted is None else [self.card(wanted)]
        shapes = {card.image for card in of_shape if isinstance(card, ModelCard)}
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

    def default_any_size(self) -> AnySizeCard | None:
        """Return the card of the model for images that no vector model is for.

        Returns:
            That which the folder names, or its only one; None if there is none.

        Raises:
            WrongUsage: the folder cannot be read, or has several such models and names none.
            InvalidCard: the card of the model that it names cannot be used.
        """
        name = self._reading(default_any_size_model)
        found = [card for card in self.all() if isinstance(card, AnySizeCard)]
        if name is not None:
            named = self.card(name)
            return named if isinstance(named, AnySizeCard) else None
        if len(found) > 1:
            names = ", ".join(card.name for card in found)
            raise WrongUsage(f"there are several models for images of any size ({names}); choose one with --model")
        return found[0] if found else None

    def all(self) -> list[AnyCard | InvalidCard]:
        """Return the cards of all models, sorted by name, and an error in the place of each unusable one.

        Raises:
            WrongUsage: the folder cannot be read, or has no model.
        """
        return [self._load(name) for name in self._names()]

    def card_of(self, fingerprint: bytes) -> AnyCard:
        """Return the card of the model that made a bitstream, by the fingerprint (4 bytes) in it.

        Raises:
            WrongUsage: the folder has no model at all.
            ModelMismatch: the folder has no such model, or two with this fingerprint.
        """
        cards = self.all()
        valid = [card for card in cards if not isinstance(card, InvalidCard)]
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

    def any_size_sender(self, card: AnySizeCard, *, verifies: bool) -> "AnySizeSender":
        """Open what encodes images of any size with a model; with its decoder, if it is to measure the result.

        Raises:
            ModelError: the files of the model cannot be used.
        """
        from latentwire.any_size.encoder import AnySizeEncoder
        from latentwire.any_size.sender import AnySizeSender

        encoder = AnySizeEncoder.open(self._folder / card.name, card)
        encoder.check_golden()
        if not verifies:
            return AnySizeSender(encoder)
        from latentwire.any_size.decoder import AnySizeDecoder

        decoder = AnySizeDecoder.open(self._folder / card.name, card, entropy=encoder.entropy)
        decoder.check_golden()
        return AnySizeSender(encoder, decoder)

    def tables(self, card: AnySizeCard) -> EntropyTables:
        """Read the tables of a model.

        Raises:
            ModelError: they cannot be used.
        """
        return load_tables(self._folder / card.name, card)

    def has_decoder(self, card: AnyCard) -> bool:
        """Return whether the folder has the decoder of a model."""
        return (self._folder / card.name / DECODER_FILE).exists()

    def decoder(self, card: AnyCard) -> "Decoder | AnySizeDecoder":
        """Return the decoder of a model.

        Raises:
            ModelError: the files of the model cannot be used.
        """
        if card.name not in self._decoders:
            try:
                decoder = self._open_decoder(card)
                decoder.check_golden()
                self._decoders[card.name] = decoder
            except CodecError as error:
                self._decoders[card.name] = error
        opened = self._decoders[card.name]
        if isinstance(opened, CodecError):
            raise opened
        return opened

    def _open_decoder(self, card: AnyCard) -> "Decoder | AnySizeDecoder":
        if isinstance(card, AnySizeCard):
            from latentwire.any_size.decoder import AnySizeDecoder

            return AnySizeDecoder.open(self._folder / card.name, card)
        from latentwire.decoder import Decoder

        return Decoder.open(self._folder / card.name)

    def _load(self, name: str) -> AnyCard | InvalidCard:
        if name not in self._cards:
            try:
                self._cards[name] = load_any_card(self._folder / name)
            except InvalidCard as error:
                self._cards[name] = error
        return self._cards[name]

    def _only(self) -> str:
        usable = [card.name for card in self.all() if isinstance(card, ModelCard)]
        usable = usable or [card.name for card in self.all() if isinstance(card, AnySizeCard)] or self._names()
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
