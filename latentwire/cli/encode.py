"""`latentwire encode`: image files -> a bitstream each, or one container of all.

The results are those of the service.
"""

import argparse
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from latentwire.cli.choice import Choice, first_card, open_choice
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
from latentwire.errors import ImageError
from latentwire.format.any_size_container import PayloadContainerWriter
from latentwire.format.container import Chunk
from latentwire.imaging import image
from latentwire.imaging.fitting import FittedImage, Fitting
from latentwire.imaging.formats import installed_formats, suffixes_of
from latentwire.options import OnOod
from latentwire.selection.assessment import GuardedImage
from latentwire.selection.guard import Guard


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
    card = first_card(models, arguments)
    sources = find_sources(arguments.files, suffixes_of(installed_formats()), "images", console)
    if not sources:
        return
    choice = open_choice(models, card, arguments, console)
    session = _Session(choice, arguments, console, len(sources))
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
    if [arguments.quality, arguments.target_bytes, arguments.min_psnr].count(None) < 2:
        raise WrongUsage("--quality, --target-bytes and --min-psnr each choose the quality; give one of them")
    if arguments.min_psnr is not None and arguments.max_mse is not None:
        raise WrongUsage("--min-psnr and --max-mse both set how good the picture must be; leave out one of them")


class _Session:
    """One run of the command: its models and options, and what it has encoded."""

    def __init__(self, choice: Choice, arguments: argparse.Namespace, console: Console, total: int) -> None:
        self._choice = choice
        self._raw: bool = arguments.framing == "raw"
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
                guarded = self._choice.encode(source.read())
                data = self._choice.bytes_of(guarded.encoded)
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
                guard = self._choice.guard
                is_chosen = guard is not None and (self._choice.chooses_model or guarded.card is not guard.card)
                chosen = f", of model {guarded.card.name}" if is_chosen else ""
                # A raw payload does not say which model was chosen for it.
                if path is not None and (outputs.single or (is_chosen and self._raw)):
                    self._console.result(f"{path}: {_describe(guarded, len(data))}{chosen}")
                elif is_chosen and self._raw:
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
            with writing(path) as file:
                for piece in self._container(sources):
                    self._bytes += file.write(piece)
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

    def _container(self, sources: list[Source]) -> Iterator[bytes]:
        if (guard := self._choice.guard) is None:
            yield from self._any_size_container(sources)
            return
        writer = guard.open_container()
        for part in self._chunks(sources, guard):
            yield writer.add(part)
        self._check_any()
        yield writer.finish()

    def _any_size_container(self, sources: list[Source]) -> Iterator[bytes]:
        writer: PayloadContainerWriter | None = None
        for source in sources:
            try:
                guarded = self._choice.encode(source.read())
                writer = writer or PayloadContainerWriter(guarded.card.fingerprint)
                yield writer.add(guarded.encoded.payload)
            except (ImageError, FileProblem, OSError) as error:
                self._console.fail(source.name, error)
            else:
                self._in_container.append(source)
                self._count(source, guarded)
            self._step()
        self._check_any()
        if writer is not None:
            yield writer.finish()

    def _check_any(self) -> None:
        if not self._images:
            raise FileProblem("not written, as no image could be encoded")

    def _chunks(self, sources: list[Source], guard: Guard) -> Iterator[Chunk]:
        for start in range(0, len(sources), image.ENCODE_BATCH_SIZE):
            read: list[tuple[Source, FittedImage]] = []
            for source in sources[start : start + image.ENCODE_BATCH_SIZE]:
                try:
                    read.append((source, self._read(source)))
                except (ImageError, FileProblem, OSError) as error:
                    self._console.fail(source.name, error)
                self._step()
            for indices in image.slices(np.arange(len(read)), guard.card.image):
                yield from self._encode_part(guard, [read[index] for index in indices])

    def _encode_part(self, guard: Guard, read: list[tuple[Source, FittedImage]]) -> Iterator[Chunk]:
        """Encode images for a container, without those that are refused."""
        on_ood: OnOod = self._arguments.on_ood
        try:
            pixels = np.stack([fitted.pixels for _, fitted in read])
            fittings = [fitted.fitting for _, fitted in read]
            guarded = guard.encode_chunk(pixels, on_ood, "reconstruction", fittings)
        except ImageError as error:
            if len(read) == 1:
                self._console.fail(read[0][0].name, error)
                return
            for one in read:
                yield from self._encode_part(guard, [one])
            return
        if on_ood == "warn":
            for index, ood in guarded.ood_images.items():
                self._console.warn(read[index][0].name, ood.sentence)
        self._images += len(read)
        for source, fitted in read:
            self._in_container.append(source)
            self._count_steps(fitted.fitting)
        self._lossless += len(guarded.chunk.payloads)
        yield guarded.chunk

    def _read(self, source: Source) -> FittedImage:
        return self._choice.read(source.read())

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
            f"{chosen if self._choice.chooses_model or len(self._of_model) > 1 else ''}"
        )


def _describe(guarded: GuardedImage, size_bytes: int) -> str:
    fitted = "" if guarded.fitting is None else f", after {guarded.fitting.sentence}"
    if guarded.sent_as is not None:
        finding = guarded.ood or guarded.doubt
        why = finding.sentence if finding else f"its symbols would take more bytes{fitted}"
        return f"{pluralize(size_bytes, 'byte')}, lossless ({guarded.sent_as}): {why}"
    measured = "" if guarded.psnr_db is None else f", {guarded.psnr_db:.2f} dB"
    quality = "" if guarded.quality is None else f", quality {guarded.quality:.1f}"
    return f"{pluralize(size_bytes, 'byte')}{measured}{quality}{fitted}"
