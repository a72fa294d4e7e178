"""`latentwire encode`: image files -> a bitstream each, or one container of all.

The results are those of the service.
"""

import argparse
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path

import numpy as np

from latentwire.cli.console import Console, WrongUsage, pluralize
from latentwire.cli.files import (
    STREAM,
    SUFFIX_OF_FRAMING,
    FileProblem,
    OutputPaths,
    Source,
    check_stdout,
    find_sources,
    writing,
)
from latentwire.cli.models import Models
from latentwire.cli.names import write_names
from latentwire.encoder import EncodedImage
from latentwire.errors import ImageError, ModelError
from latentwire.format.container import Chunk
from latentwire.imaging import image
from latentwire.imaging.fitting import FittedImage, Fitting
from latentwire.imaging.formats import installed_formats, suffixes_of
from latentwire.imaging.reader import ImageReader
from latentwire.model.card import ModelCard
from latentwire.options import OnOod
from latentwire.selection.assessment import GuardedImage
from latentwire.selection.guard import Guard
from latentwire.selection.ladder import Ladder


def encode(arguments: argparse.Namespace, console: Console) -> None:
    """Encode all files of a command line.

    Raises:
        WrongUsage: the command line cannot be carried out.
        ModelError: the files of the model cannot be used.
    """
    _refuse_contradictions(arguments)
    outputs = OutputPaths(arguments.out, arguments.files if arguments.container is None else [], force=arguments.force)
    if outputs.to_stream or arguments.container == STREAM:
        check_stdout()
    models = Models(arguments.models_dir)
    wanted = arguments.model or os.environ.get("LATENTWIRE_DEFAULT_MODEL")
    cards = models.cards_beside(wanted) if _selects_model(arguments) else [models.card(wanted)]
    sources = find_sources(arguments.files, suffixes_of(installed_formats()), "images", console)
    if not sources:
        return
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
    session = _Session(guards, arguments, console, len(sources), above)
    if arguments.container is None:
        session.encode_each(sources, outputs)
    else:
        session.encode_container(sources)


def _refuse_contradictions(arguments: argparse.Namespace) -> None:
    if arguments.container is not None and (arguments.out is not None or arguments.framing == "raw"):
        raise WrongUsage("--container takes all images; leave out --out and --framing")
    if arguments.names is not None and arguments.container is None:
        raise WrongUsage("--names goes with --container; the bitstreams of single images are named after them")
    if arguments.container is not None and arguments.max_mse is not None:
        raise WrongUsage("--container uses the limits of the model; leave out --max-mse")
    if arguments.max_mse is not None and arguments.verify_reconstruction is False:
        raise WrongUsage("--max-mse needs the reconstruction; leave out --no-verify-reconstruction")
    if arguments.target_bytes is not None and arguments.min_psnr is not None:
        raise WrongUsage("--target-bytes and --min-psnr each choose the model; leave out one of them")
    if _selects_model(arguments):
        target = "--target-bytes" if arguments.target_bytes is not None else "--min-psnr"
        if arguments.model is not None:
            raise WrongUsage(f"{target} chooses the model for each image; leave out --model, or {target}")
        if arguments.container is not None:
            raise WrongUsage(f"a container holds images of one model; leave out --container, or {target}")
    if arguments.min_psnr is not None and arguments.max_mse is not None:
        raise WrongUsage("--min-psnr and --max-mse both set how good the picture must be; leave out one of them")


def _open(models: Models, cards: list[ModelCard], console: Console, *, verifies: bool) -> list[Guard]:
    """Open models; where there are several to choose from, without those that cannot be used."""
    guards: list[Guard] = []
    for number, card in enumerate(cards, start=1):
        try:
            guards.append(Guard(models.encoder(card), models.decoder(card) if verifies else None))
        except ModelError as error:
            if number == len(cards) and not guards:
                raise
            console.warn(card.name, error)
    return guards


def _selects_model(arguments: argparse.Namespace) -> bool:
    """Return whether an option chooses the model for each image."""
    return arguments.target_bytes is not None or arguments.min_psnr is not None


class _Session:
    """One run of the command: its models and options, and what it has encoded."""

    def __init__(
        self,
        guards: Sequence[Guard],
        arguments: argparse.Namespace,
        console: Console,
        total: int,
        above: Callable[[Guard], list[Guard]] | None,
    ) -> None:
        self._guard = guards[0]
        self._above = above
        self._ladder = Ladder(guards) if _selects_model(arguments) else None
        self._raw: bool = arguments.framing == "raw"
        self._reader = ImageReader(
            self._guard.card.image,
            arguments.fit,
            arguments.background,
            arguments.max_image_pixels,
            installed_formats(),
        )
        self._arguments = arguments
        self._console = console
        self._total = total
        self._done = self._images = self._bytes = self._lossless = 0
        self._of_model: Counter[str] = Counter()
        self._in_container: list[Source] = []
        self._fitted: Counter[str] = Counter()

    def encode_each(self, sources: list[Source], outputs: OutputPaths) -> None:
        """Write a bitstream for each image."""
        for source in sources:
            try:
                path = outputs.file_for(source, SUFFIX_OF_FRAMING[self._arguments.framing])
                read = self._read(source)
                guarded = self._choose(read.pixels).after(read.fitting)
                data = self._bytes_of(guarded.encoded)
                with writing(path) as file:
                    file.write(data)
            except BrokenPipeError:
                raise
            except (ImageError, FileProblem, OSError) as error:
                self._console.fail(source.name, error)
            else:
                self._count(source, guarded)
                self._bytes += len(data)
                self._of_model[guarded.card.name] += 1
                is_other = guarded.card is not self._guard.card
                chosen = f", of model {guarded.card.name}" if self._ladder or is_other else ""
                # A raw payload does not say which model was chosen for it.
                if path is not None and (outputs.single or (self._ladder and self._raw)):
                    self._console.result(f"{path}: {_describe(guarded, len(data))}{chosen}")
                elif self._ladder and self._raw:
                    self._console.info(source.name, f"{_describe(guarded, len(data))}{chosen}")
            self._step()
        if not outputs.single:
            self._report()

    def encode_container(self, sources: list[Source]) -> None:
        """Write one container of all images, in their order."""
        out: str = self._arguments.container
        outputs = OutputPaths(None, [], force=self._arguments.force)
        names: str | None = self._arguments.names
        try:
            path = None if out == STREAM else outputs.claim(Path(out), Source(out, None, Path(out)))
            names_path = None if names is None else outputs.claim(Path(names), Source(names, None, Path(names)))
            writer = self._guard.open_container()
            with writing(path) as file:
                for part in self._chunks(sources):
                    self._bytes += file.write(writer.add(part))
                self._check_any()
                self._bytes += file.write(writer.finish())
            if names_path is not None:
                with writing(names_path) as file:
                    file.write(write_names(self._in_container))
        except BrokenPipeError:
            raise
        except (FileProblem, OSError) as error:
            self._console.fail(out, error)
            return
        if path is not None:
            self._report(f"{path}: ")

    def _choose(self, pixels: image.Pixels) -> GuardedImage:
        options = self._arguments
        if self._ladder is None:
            return self._guard.encode(pixels, options.on_ood, options.max_mse, self._above)
        if options.target_bytes is None:
            return self._ladder.smallest_reaching(pixels, options.min_psnr, options.on_ood)
        return self._ladder.best_within(
            pixels, options.target_bytes, lambda encoded: len(self._bytes_of(encoded)), options.on_ood, options.max_mse
        )

    def _bytes_of(self, encoded: EncodedImage) -> bytes:
        return encoded.payload if self._raw else encoded.bitstream

    def _check_any(self) -> None:
        if not self._images:
            raise FileProblem("not written, as no image could be encoded")

    def _chunks(self, sources: list[Source]) -> Iterator[Chunk]:
        for start in range(0, len(sources), image.ENCODE_BATCH_SIZE):
            read: list[tuple[Source, FittedImage]] = []
            for source in sources[start : start + image.ENCODE_BATCH_SIZE]:
                try:
                    read.append((source, self._read(source)))
                except (ImageError, FileProblem, OSError) as error:
                    self._console.fail(source.name, error)
                self._step()
            for indices in image.slices(np.arange(len(read)), self._guard.card.image):
                yield from self._encode_part([read[index] for index in indices])

    def _encode_part(self, read: list[tuple[Source, FittedImage]]) -> Iterator[Chunk]:
        """Encode images for a container, without those that are refused."""
        on_ood: OnOod = self._arguments.on_ood
        try:
            pixels = np.stack([fitted.pixels for _, fitted in read])
            guarded = self._guard.encode_chunk(pixels, on_ood, verify="reconstruction")
        except ImageError as error:
            if len(read) == 1:
                self._console.fail(read[0][0].name, error)
                return
            for one in read:
                yield from self._encode_part([one])
            return
        if on_ood == "warn":
            for index, ood in guarded.ood_images.items():
                source, fitted = read[index]
                self._console.warn(source.name, ood.after(fitted.fitting).sentence)
        self._images += len(read)
        for source, fitted in read:
            self._in_container.append(source)
            self._count_steps(fitted.fitting)
        self._lossless += len(guarded.chunk.payloads)
        yield guarded.chunk

    def _read(self, source: Source) -> FittedImage:
        return self._reader.read(source.read())

    def _count(self, source: Source, guarded: GuardedImage) -> None:
        self._images += 1
        self._lossless += guarded.sent_as is not None
        self._count_steps(guarded.fitting)
        finding = guarded.ood or guarded.doubt
        if finding is not None and guarded.sent_as is None:
            self._console.warn(source.name, finding.sentence)

    def _count_steps(self, fitting: Fitting | None) -> None:
        self._fitted.update(() if fitting is None else fitting.steps)

    def _step(self) -> None:
        self._done += 1
        self._console.progress(self._done, self._total)

    def _report(self, where: str = "") -> None:
        each = f", {self._bytes / self._images:.2f} an image" if self._images else ""
        lossless = f"; {self._lossless:,} of them losslessly" if self._lossless else ""
        chosen = "".join(f"; {count:,} of model {name}" for name, count in sorted(self._of_model.items()))
        fitted = "".join(f"; {count:,} {step}" for step, count in self._fitted.items())
        self._console.result(
            f"{where}{pluralize(self._images, 'image')} in {pluralize(self._bytes, 'byte')}{each}{lossless}{fitted}"
            f"{chosen if self._ladder or len(self._of_model) > 1 else ''}"
        )


def _describe(guarded: GuardedImage, size_bytes: int) -> str:
    fitted = "" if guarded.fitting is None else f", after {guarded.fitting.sentence}"
    if guarded.sent_as is not None:
        finding = guarded.ood or guarded.doubt
        why = finding.sentence if finding else f"its symbols would take more bytes{fitted}"
        return f"{pluralize(size_bytes, 'byte')}, lossless ({guarded.sent_as}): {why}"
    quality = "" if guarded.psnr_db is None else f", {guarded.psnr_db:.2f} dB"
    return f"{pluralize(size_bytes, 'byte')}{quality}{fitted}"
