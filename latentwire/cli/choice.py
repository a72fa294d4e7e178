"""Which model encodes an image, as `POST /encode` chooses it."""

import argparse
import os
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

from latentwire.any_size.sender import AnySizeSender
from latentwire.cli.console import Console, WrongUsage
from latentwire.cli.models import AnyCard, Models
from latentwire.encoder import EncodedImage
from latentwire.errors import ImageError, ImageMismatch, ModelError, TargetMissed
from latentwire.imaging.fitting import FittedImage
from latentwire.imaging.formats import installed_formats
from latentwire.imaging.image import Pixels
from latentwire.imaging.reader import AnySizeReader, ImageReader
from latentwire.model.any_size_card import AnySizeCard
from latentwire.model.card import ModelCard
from latentwire.selection.any_size import encode_any_size
from latentwire.selection.assessment import GuardedImage
from latentwire.selection.guard import Guard
from latentwire.selection.ladder import Ladder


class Choice:
    """Encodes images, each with a vector model that is for it, or else with a model for images of any size."""

    def __init__(
        self,
        guards: Sequence[Guard],
        above: Callable[[Guard], list[Guard]] | None,
        any_size: Callable[[], AnySizeSender | None],
        arguments: argparse.Namespace,
    ) -> None:
        """Combine models.

        Args:
            guards: the vector models that may be chosen, the first of which is the default; none if all images are for
                a model of any size.
            above: returns the vector models above one, if the choice is left open.
            any_size: returns the model for images of any size; None if there is none, or if it must not be used.
            arguments: of the command line.
        """
        self.guard = guards[0] if guards else None
        has_target = arguments.target_bytes is not None or arguments.min_psnr is not None
        self._ladder = Ladder(guards) if guards and has_target else None
        self._above = above
        self._any_size = any_size
        self._arguments = arguments
        source = arguments.background, arguments.max_image_pixels, installed_formats()
        self._any_size_reader = AnySizeReader(*source)
        self._reader = ImageReader(self.guard.card.image, arguments.fit or "strict", *source) if self.guard else None

    @property
    def chooses_model(self) -> bool:
        """Whether several vector models are there to choose from."""
        return self._ladder is not None

    def read(self, data: bytes) -> FittedImage:
        """Read an image file for the first model.

        Raises:
            ImageError: the image cannot be read, or is not of the model's shape.
        """
        return (self._reader or self._any_size_reader).read(data)

    def encode(self, data: bytes) -> GuardedImage:
        """Encode an image file.

        Raises:
            ImageError: the image cannot be encoded.
        """
        if self.guard is None:
            return self._encode_any_size(data)
        try:
            read = self.read(data)
            guarded = self._encode_fitted(self.guard, read)
        except (ImageMismatch, TargetMissed) as error:
            keeps = isinstance(error, TargetMissed) and self._arguments.on_ood != "fallback"
            if keeps or self._any_size() is None:
                raise
            return self._encode_any_size(data, error if isinstance(error, TargetMissed) else None)
        # Sent losslessly, as it is not of the models' kind.
        if guarded.ood is None or guarded.sent_as is None or self._any_size() is None:
            return guarded
        return self._encode_any_size(data, guarded)

    def bytes_of(self, encoded: EncodedImage) -> bytes:
        """Return what is sent of an image, in the framing of the command line."""
        return encoded.payload if self._arguments.framing == "raw" else encoded.bitstream

    def _encode_any_size(self, data: bytes, otherwise: GuardedImage | TargetMissed | None = None) -> GuardedImage:
        sender, options = self._any_size(), self._arguments
        if sender is None:
            raise ImageMismatch("there is no model for images of any size")
        return encode_any_size(
            sender,
            self._any_size_reader.read(data),
            options.framing,
            quality=options.quality,
            target_bytes=options.target_bytes,
            min_psnr_db=options.min_psnr,
            effort=options.effort,
            may_scale_down=options.fit is None,
            otherwise=otherwise,
        )

    def _encode_fitted(self, guard: Guard, read: FittedImage) -> GuardedImage:
        try:
            return self._encode_vector(guard, read.pixels).after(read.fitting)
        except ImageError as error:
            raise read.explain(error) from None

    def _encode_vector(self, guard: Guard, pixels: Pixels) -> GuardedImage:
        options = self._arguments
        if self._ladder is None:
            return guard.encode(pixels, options.on_ood, options.max_mse, self._above)
        if options.target_bytes is None:
            return self._ladder.smallest_reaching(pixels, options.min_psnr, options.on_ood)
        return self._ladder.best_within(
            pixels, options.target_bytes, lambda encoded: len(self.bytes_of(encoded)), options.on_ood, options.max_mse
        )


def first_card(models: Models, arguments: argparse.Namespace) -> AnyCard:
    """Return the card of the model that an image is first tried with.

    Raises:
        WrongUsage: there is no such model, or it has no such option.
        InvalidCard: the card cannot be used.
    """
    wanted = _wanted(arguments)
    if (option := _any_size_option(arguments)) is not None and arguments.model is None:
        if (card := models.default_any_size()) is None:
            raise WrongUsage(f"{option} is for images of any size; '{arguments.models_dir}' has no model for them")
        return card
    if wanted is None and _has_target(arguments) and any(isinstance(card, ModelCard) for card in models.all()):
        return models.cards_beside(None)[0]
    return models.card(wanted)


def open_choice(models: Models, first: AnyCard, arguments: argparse.Namespace, console: Console) -> Choice:
    """Open the model of a card, and for a vector model those to choose from.

    The model for images of any size that may take what no vector model is for is opened for the first such image.

    Raises:
        WrongUsage: the model has no such option.
        ModelError: the files of the model cannot be used.
    """
    if isinstance(first, AnySizeCard):
        _refuse_vector_options(arguments, first)
        sender = _open_any_size(models, first, arguments)
        return Choice([], None, lambda: sender, arguments)
    wanted = _wanted(arguments)
    if (option := _any_size_option(arguments)) is not None:
        raise WrongUsage(f"{option} is for images of any size; model '{first.name}' has one quality")
    target = "--target-bytes" if arguments.target_bytes is not None else "--min-psnr"
    if arguments.model is not None and _has_target(arguments):
        raise WrongUsage(f"{target} chooses the model for each image; leave out --model, or {target}")
    if arguments.container is not None and _has_target(arguments):
        raise WrongUsage(f"a container holds images of one model; leave out --container, or {target}")
    cards = models.cards_beside(wanted) if _has_target(arguments) else [first]
    missing = [card.name for card in cards if not models.has_decoder(card)]
    verifies = arguments.verify_reconstruction
    if verifies is None:
        verifies = not missing and arguments.container is None
    if arguments.max_mse is not None and not verifies:
        raise WrongUsage(
            f"--max-mse needs the decoder of model '{missing[0]}', which is not in '{arguments.models_dir}'"
        )
    guards = _open(models, cards, console, verifies=verifies)

    @cache
    def beside() -> Ladder:
        others = [card for card in models.cards_beside(cards[0].name) if card.name != cards[0].name]
        if verifies:
            others = [card for card in others if models.has_decoder(card)]
        return Ladder([*guards, *_open(models, others, console, verifies=verifies)] if others else guards)

    # A raw payload does not name its model, so that the receiver must know it beforehand.
    is_open = arguments.model is None and arguments.framing == "full"
    above = (lambda guard: beside().above(guard)) if is_open else None

    @cache
    def any_size() -> AnySizeSender | None:
        if not is_open or arguments.fit not in (None, "strict") or arguments.max_mse is not None:
            return None
        card = models.default_any_size()
        return None if card is None else _open_any_size(models, card, arguments)

    return Choice(guards, above, any_size, arguments)


def _open(models: Models, cards: list[ModelCard], console: Console, *, verifies: bool) -> list[Guard]:
    """Open models; where there are several to choose from, without those that cannot be used."""
    guards: list[Guard] = []
    for number, card in enumerate(cards, start=1):
        try:
            decoder: Any = models.decoder(card) if verifies else None  # of the same kind as the card
            guards.append(Guard(models.encoder(card), decoder))
        except ModelError as error:
            if number == len(cards) and not guards:
                raise
            console.warn(card.name, error)
    return guards


def _wanted(arguments: argparse.Namespace) -> str | None:
    return arguments.model or os.environ.get("LATENTWIRE_DEFAULT_MODEL")


def _any_size_option(arguments: argparse.Namespace) -> str | None:
    """Return the option that only models for images of any size have, if one is given."""
    if arguments.quality is not None:
        return "--quality"
    return None if arguments.effort is None else "--effort"


def _has_target(arguments: argparse.Namespace) -> bool:
    """Return whether a size or a PSNR is asked for."""
    return arguments.target_bytes is not None or arguments.min_psnr is not None


def _refuse_vector_options(arguments: argparse.Namespace, card: AnySizeCard) -> None:
    if arguments.fit not in (None, "strict"):
        raise WrongUsage(f"model '{card.name}' takes images of any size as they are; leave out --fit")
    if arguments.max_mse is not None:
        raise WrongUsage("--max-mse is for vector models; ask for --min-psnr")


def _open_any_size(models: Models, card: AnySizeCard, arguments: argparse.Namespace) -> AnySizeSender:
    verifies, refines = arguments.verify_reconstruction, (arguments.effort or 1) > 1
    if refines and card.refinement is None:
        raise WrongUsage(f"model '{card.name}' has no refiner; leave out --effort")
    needing = "--min-psnr" if arguments.min_psnr is not None else "--effort" if refines else None
    if verifies is None:
        verifies = models.has_decoder(card) and (arguments.container is None or needing is not None)
    if needing is not None and not verifies:
        raise WrongUsage(f"{needing} needs the decoder of model '{card.name}', to see what a receiver will see")
    return models.any_size_sender(card, verifies=verifies)
