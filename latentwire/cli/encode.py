"""`latentwire encode`: image files -> codes, or one container of all.

Images are encoded as the service encodes them: alone for a code of its own, and some at a time for a container.
"""

import argparse
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from latentwire.cli.console import Desk, WrongUsage, counted
from latentwire.cli.files import (
    IMAGE_SUFFIXES,
    STREAM,
    SUFFIX_OF_FRAMING,
    FileProblem,
    Places,
    Source,
    check_stream,
    find_sources,
    writing,
)
from latentwire.cli.models import Models
from latentwire.encoder import EncodedImage
from latentwire.errors import ImageError
from latentwire.format.container import Chunk
from latentwire.imaging import image
from latentwire.options import Fit, OnOod
from latentwire.selection.guard import Guard, GuardedImage
from latentwire.selection.ladder import Ladder, Selection


def encode(arguments: argparse.Namespace, desk: Desk) -> None:
    """Encode what was named.

    Raises:
        WrongUsage: what was typed cannot be done.
        ModelError: the model's files are not what they should be.
    """
    _refuse_contradictions(arguments)
    places = Places(arguments.out, arguments.files if arguments.container is None else [], force=arguments.force)
    if places.to_stream or arguments.container == STREAM:
        check_stream()
    models = Models(arguments.models_dir)
    wanted = arguments.model or os.environ.get("LATENTWIRE_DEFAULT_MODEL")
    cards = models.cards_beside(wanted) if _is_of_ladder(arguments) else [models.card(wanted)]
    sources = find_sources(arguments.files, IMAGE_SUFFIXES, "images", desk)
    if not sources:
        return
    missing = [card.name for card in cards if not models.has_decoder(card)]
    guarding = not missing if arguments.verify_reconstruction is None else arguments.verify_reconstruction
    if arguments.container is not None:
        guarding = bool(arguments.verify_reconstruction)
    if arguments.max_mse is not None and not guarding:
        raise WrongUsage(
            f"--max-mse needs the decoder of model '{missing[0]}', which is not in '{arguments.models_dir}'"
        )
    guards = [Guard(models.encoder(card), models.decoder(card) if guarding else None) for card in cards]
    session = _Session(guards, arguments, desk, len(sources))
    if arguments.container is None:
        session.encode_each(sources, places)
    else:
        session.encode_together(sources)


def _refuse_contradictions(arguments: argparse.Namespace) -> None:
    if arguments.container is not None and (arguments.out is not None or arguments.framing == "raw"):
        raise WrongUsage("--container takes all codes; leave out --out and --framing")
    if arguments.container is not None and arguments.max_mse is not None:
        raise WrongUsage("images for a container are judged by the model's own limits; leave out --max-mse")
    if arguments.max_mse is not None and arguments.verify_reconstruction is False:
        raise WrongUsage("--max-mse needs to decode what is encoded; leave out --no-verify-reconstruction")
    if arguments.target_bytes is not None and arguments.min_psnr is not None:
        raise WrongUsage("--target-bytes and --min-psnr each choose the model; leave out one of them")
    if _is_of_ladder(arguments):
        target = "--target-bytes" if arguments.target_bytes is not None else "--min-psnr"
        if arguments.model is not None:
            raise WrongUsage(f"{target} chooses the model for each image; leave out --model, or {target}")
        if arguments.container is not None:
            raise WrongUsage(f"a container holds the codes of one model; leave out --container, or {target}")
    if arguments.min_psnr is not None and arguments.max_mse is not None:
        raise WrongUsage("--min-psnr and --max-mse both say how good the picture must be; leave out one of them")


def _is_of_ladder(arguments: argparse.Namespace) -> bool:
    """Whether the model is to be chosen for each image."""
    return arguments.target_bytes is not None or arguments.min_psnr is not None


class _Session:
    """One command's models and wishes, and what came of them so far."""

    def __init__(self, guards: Sequence[Guard], arguments: argparse.Namespace, desk: Desk, total: int) -> None:
        self._guard = guards[0]
        self._ladder = Ladder(guards) if _is_of_ladder(arguments) else None
        self._raw: bool = arguments.framing == "raw"
        self._arguments = arguments
        self._desk = desk
        self._total = total
        self._done = self._images = self._bytes = self._as_themselves = 0
        self._of_model: Counter[str] = Counter()

    def encode_each(self, sources: list[Source], places: Places) -> None:
        """Write a code for each image."""
        for source in sources:
            try:
                path = places.file_for(source, SUFFIX_OF_FRAMING[self._arguments.framing])
                card, guarded = self._choose(self._read(source))
                code = self._bytes_of(guarded.encoded)
                with writing(path) as file:
                    file.write(code)
            except BrokenPipeError:
                raise
            except (ImageError, FileProblem, OSError) as error:
                self._desk.fail(source.name, error)
            else:
                self._count(source, guarded)
                self._bytes += len(code)
                self._of_model[card.name] += 1
                chosen = f", of model {card.name}" if self._ladder else ""
                # A payload alone does not say which model was chosen for it.
                if path is not None and (places.one or (self._ladder and self._raw)):
                    self._desk.tell(f"{path}: {_in_words(guarded, len(code))}{chosen}")
                elif self._ladder and self._raw:
                    self._desk.remark(source.name, f"{_in_words(guarded, len(code))}{chosen}")
            self._step()
        if not places.one:
            self._tell_all()

    def encode_together(self, sources: list[Source]) -> None:
        """Write one container with the codes of all images, in their order."""
        out: str = self._arguments.container
        try:
            path = None
            if out != STREAM:
                path = Places(None, [], force=self._arguments.force).claim(Path(out), Source(out, None, Path(out)))
            writer = self._guard.open_container()
            with writing(path) as file:
                for codes in self._chunks(sources):
                    self._bytes += file.write(writer.add(codes))
                self._check_any()
                self._bytes += file.write(writer.finish())
        except BrokenPipeError:
            raise
        except (FileProblem, OSError) as error:
            self._desk.fail(out, error)
            return
        if path is not None:
            self._tell_all(f"{path}: ")

    def _choose(self, pixels: image.Pixels) -> Selection:
        wishes = self._arguments
        if self._ladder is None:
            return Selection(self._guard.card, self._guard.encode(pixels, wishes.on_ood, wishes.max_mse))
        if wishes.target_bytes is None:
            return self._ladder.smallest_reaching(pixels, wishes.min_psnr, wishes.on_ood)
        return self._ladder.best_within(
            pixels, wishes.target_bytes, lambda code: len(self._bytes_of(code)), wishes.on_ood, wishes.max_mse
        )

    def _bytes_of(self, code: EncodedImage) -> bytes:
        return code.payload if self._raw else code.bitstream

    def _check_any(self) -> None:
        if not self._images:
            raise FileProblem("not written, as there is no image to put into it")

    def _chunks(self, sources: list[Source]) -> Iterator[Chunk]:
        for start in range(0, len(sources), image.ENCODE_BATCH_SIZE):
            read: list[tuple[Source, image.Pixels]] = []
            for source in sources[start : start + image.ENCODE_BATCH_SIZE]:
                try:
                    read.append((source, self._read(source)))
                except (ImageError, FileProblem, OSError) as error:
                    self._desk.fail(source.name, error)
                self._step()
            at = 0
            for part in image.slices(np.stack([pixels for _, pixels in read]), self._guard.card.image) if read else ():
                yield from self._codes([source for source, _ in read[at : at + len(part)]], part)
                at += len(part)

    def _codes(self, sources: list[Source], pixels: image.Pixels) -> Iterator[Chunk]:
        """Encode a few images for a container, without those that are refused."""
        on_ood: OnOod = self._arguments.on_ood
        try:
            guarded = self._guard.encode_chunk(pixels, on_ood, verify="reconstruction")
        except ImageError as error:
            if len(sources) == 1:
                self._desk.fail(sources[0].name, error)
                return
            for at, source in enumerate(sources):
                yield from self._codes([source], pixels[at : at + 1])
            return
        if on_ood == "warn":
            for place, ood in guarded.ood_images.items():
                self._desk.warn(sources[place].name, ood.sentence)
        self._images += len(sources)
        self._as_themselves += len(guarded.chunk.payloads)
        yield guarded.chunk

    def _read(self, source: Source) -> image.Pixels:
        fit: Fit = self._arguments.fit
        return image.read_image(source.read(), self._guard.card.image, fit, self._arguments.max_image_pixels)

    def _count(self, source: Source, guarded: GuardedImage) -> None:
        self._images += 1
        self._as_themselves += guarded.sent_as is not None
        if guarded.ood is not None and guarded.sent_as is None:
            self._desk.warn(source.name, guarded.ood.sentence)

    def _step(self) -> None:
        self._done += 1
        self._desk.progress(self._done, self._total)

    def _tell_all(self, where: str = "") -> None:
        each = f", {self._bytes / self._images:.2f} an image" if self._images else ""
        itself = f"; {self._as_themselves:,} of them losslessly" if self._as_themselves else ""
        chosen = "".join(f"; {count:,} of model {name}" for name, count in sorted(self._of_model.items()))
        self._desk.tell(
            f"{where}{counted(self._images, 'image')} in {counted(self._bytes, 'byte')}{each}{itself}"
            f"{chosen if self._ladder else ''}"
        )


def _in_words(guarded: GuardedImage, code_bytes: int) -> str:
    if guarded.sent_as is not None:
        why = guarded.ood.sentence if guarded.ood else "its code would be longer"
        return f"{counted(code_bytes, 'byte')}, the image losslessly ({guarded.sent_as}): {why}"
    quality = "" if guarded.psnr_db is None else f", {guarded.psnr_db:.2f} dB"
    return f"{counted(code_bytes, 'byte')}{quality}"
