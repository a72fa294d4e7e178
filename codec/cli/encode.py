"""`latentwire encode`: image files -> codes, or one container of all.

Images are encoded as the service encodes them: alone for a code of its own, and some at a time for a container.
"""

import argparse
import os
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import numpy as np

from codec import image
from codec.cli.desk import Desk, WrongUsage, counted
from codec.cli.files import (
    IMAGE_SUFFIXES,
    STREAM,
    SUFFIX_OF_FORM,
    FileProblem,
    Places,
    Source,
    check_stream,
    find_sources,
    writing,
)
from codec.cli.models import Models
from codec.container import Chunk
from codec.encoder import Encoder
from codec.errors import ImageError
from codec.guard import Guard, GuardedImage, OnMisfit


def encode(arguments: argparse.Namespace, desk: Desk) -> None:
    """Encode what was named.

    Raises:
        WrongUsage: what was typed cannot be done.
        ModelError: the model's files are not what they should be.
    """
    if arguments.container is not None and (arguments.out is not None or arguments.form == "bare"):
        raise WrongUsage("--container takes all codes; leave out --out and --form")
    if arguments.container is not None and (arguments.max_mse is not None or arguments.guard):
        raise WrongUsage("images for a container are judged without being decoded; leave out --max-mse and --guard")
    if arguments.max_mse is not None and arguments.guard is False:
        raise WrongUsage("--max-mse needs to decode what is encoded; leave out --no-guard")
    places = Places(arguments.out, arguments.files if arguments.container is None else [], force=arguments.force)
    if places.to_stream or arguments.container == STREAM:
        check_stream()
    models = Models(arguments.models_dir)
    card = models.card(arguments.model or os.environ.get("LATENTWIRE_DEFAULT_MODEL"))
    sources = find_sources(arguments.files, IMAGE_SUFFIXES, "images", desk)
    if not sources:
        return
    guarding = models.has_decoder(card) if arguments.guard is None else arguments.guard
    if arguments.container is not None:
        guarding = False
    if arguments.max_mse is not None and not guarding:
        raise WrongUsage(
            f"--max-mse needs the decoder of model '{card.name}', which is not in '{arguments.models_dir}'"
        )
    encoder = models.encoder(card)
    session = _Session(
        encoder, Guard(encoder, models.decoder(card) if guarding else None), arguments, desk, len(sources)
    )
    if arguments.container is None:
        session.encode_each(sources, places)
    else:
        session.encode_together(sources)


class _Session:
    """One command's encoder and wishes, and what came of them so far."""

    def __init__(self, encoder: Encoder, guard: Guard, arguments: argparse.Namespace, desk: Desk, total: int) -> None:
        self._encoder = encoder
        self._guard = guard
        self._arguments = arguments
        self._desk = desk
        self._total = total
        self._done = self._images = self._bytes = self._as_themselves = 0

    def encode_each(self, sources: list[Source], places: Places) -> None:
        """Write a code for each image."""
        bare = self._arguments.form == "bare"
        for source in sources:
            try:
                path = places.file_for(source, SUFFIX_OF_FORM[self._arguments.form])
                pixels = self._read(source)
                guarded = self._guard.encode(pixels, self._arguments.on_misfit, self._arguments.max_mse)
                code = guarded.code.payload if bare else guarded.code.wire
                with writing(path) as file:
                    file.write(code)
            except BrokenPipeError:
                raise
            except (ImageError, FileProblem, OSError) as error:
                self._desk.fail(source.name, error)
            else:
                self._count(source, guarded)
                self._bytes += len(code)
                if path is not None and places.one:
                    self._desk.tell(f"{path}: {_in_words(guarded, len(code))}")
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
            writer = self._encoder.container()
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

    def _check_any(self) -> None:
        if not self._images:
            raise FileProblem("not written, as there is no image to put into it")

    def _chunks(self, sources: list[Source]) -> Iterator[Chunk]:
        for start in range(0, len(sources), image.GRAPH_IMAGES):
            read: list[tuple[Source, image.Pixels]] = []
            for source in sources[start : start + image.GRAPH_IMAGES]:
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
        on_misfit: OnMisfit = self._arguments.on_misfit
        try:
            codes = self._guard.codes(pixels, on_misfit)
        except ImageError as error:
            if len(sources) == 1:
                self._desk.fail(sources[0].name, error)
                return
            for at, source in enumerate(sources):
                yield from self._codes([source], pixels[at : at + 1])
            return
        if on_misfit == "warn":
            for source, judgement in zip(sources, self._guard.judge(pixels), strict=True):
                if judgement.misfit is not None:
                    self._desk.warn(source.name, judgement.misfit.sentence)
        self._images += codes.images
        self._as_themselves += len(codes.payloads)
        yield codes

    def _read(self, source: Source) -> image.Pixels:
        fit = cast(image.Fit, self._arguments.fit)
        return image.read_image(source.read(), self._guard.card.image, fit, self._arguments.max_image_pixels)

    def _count(self, source: Source, guarded: GuardedImage) -> None:
        self._images += 1
        self._as_themselves += guarded.sent_as is not None
        if guarded.misfit is not None and guarded.sent_as is None:
            self._desk.warn(source.name, guarded.misfit.sentence)

    def _step(self) -> None:
        self._done += 1
        self._desk.progress(self._done, self._total)

    def _tell_all(self, where: str = "") -> None:
        each = f", {self._bytes / self._images:.2f} an image" if self._images else ""
        itself = f"; {self._as_themselves:,} of them as themselves" if self._as_themselves else ""
        self._desk.tell(f"{where}{counted(self._images, 'image')} in {counted(self._bytes, 'byte')}{each}{itself}")


def _in_words(guarded: GuardedImage, code_bytes: int) -> str:
    if guarded.sent_as is not None:
        why = guarded.misfit.sentence if guarded.misfit else "its code would be longer"
        return f"{counted(code_bytes, 'byte')}, the image as itself ({guarded.sent_as}): {why}"
    quality = "" if guarded.psnr_db is None else f", {guarded.psnr_db:.2f} dB"
    return f"{counted(code_bytes, 'byte')}{quality}"
