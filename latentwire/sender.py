"""The sender of the Python API: images -> bitstreams, without the decoder."""

import os
from collections.abc import Iterable, Mapping, Sized
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt
from PIL import Image

from latentwire.any_size.encoder import AnySizeEncoder
from latentwire.any_size.sender import AnySizeSender
from latentwire.effort import Effort
from latentwire.encoder import Encoder
from latentwire.errors import ImageError, naming_image
from latentwire.format.any_size_container import PayloadContainerWriter
from latentwire.imaging import image
from latentwire.imaging.fitting import FittedImage, Fitting
from latentwire.imaging.formats import installed_formats
from latentwire.imaging.reader import AnySizeReader, ImageReader
from latentwire.model.any_size_card import AnySizeCard, load_any_card
from latentwire.model.card import ModelCard
from latentwire.options import Background, Fit, Framing, OnOod, Verify
from latentwire.selection.any_size import encode_any_size
from latentwire.selection.assessment import GuardedImage, OodFinding
from latentwire.selection.guard import Guard

# An image file as its path or its bytes; uint8 pixels (H, W), (H, W, 1), (H, W, 3) or (H, W, 4); or a Pillow image.
ImageSource = str | os.PathLike[str] | bytes | npt.NDArray[np.uint8] | Image.Image


@dataclass(frozen=True, slots=True)
class Encoded:
    """One encoded image.

    Attributes:
        bitstream: the bytes to send; under the raw framing, the payload without header and checksum.
        framing: `full` or `raw`.
        model: `name@model_id` of the model that made the bitstream.
        code: code of the image before quantization, float32 (code size); empty for an image of any size.
        payload_bytes: number of bytes of the bitstream without header and checksum.
        ideal_bits: length of the payload in bits, by the probabilities of the model.
        mse: mean squared error of the reconstruction, values in [0, 1], against the image as fitted.
        psnr_db: peak signal-to-noise ratio of the reconstruction, in dB, infinite if exact.
        max_error: largest difference of one value in [0, 1].
        ood: why the image is out-of-distribution; None if it is not.
        doubt: why the code may show something else than the image; None if it does not, or without a decoder.
        sent_as: `code`, or the lossless format in the bitstream: `raw`, `png` or `webp`.
        quality: of 0 to 100, that an image of any size was encoded at; None if it is sent losslessly, and for a vector
            model, which has one quality.
        fitted: how the pixels of the source were changed to fit the model; None if they were not.

    `mse`, `psnr_db` and `max_error` are None without a decoder, and for an image that is sent losslessly after its
    pixels were changed: what the change has lost is not measured.
    """

    bitstream: bytes
    framing: Framing
    model: str
    code: npt.NDArray[np.float32]
    payload_bytes: int
    ideal_bits: float
    mse: float | None
    psnr_db: float | None
    max_error: float | None
    ood: OodFinding | None
    doubt: OodFinding | None
    sent_as: str
    fitted: Fitting | None = None
    quality: float | None = None


@dataclass(frozen=True, slots=True)
class EncodedMany:
    """Many encoded images.

    Attributes:
        container: the bytes to send.
        images: number of images in the container.
        model: `name@model_id` of the model that made the container.
        ood: why images are out-of-distribution, by their index.
        fitted: how the pixels of images were changed to fit the model, by their index.
    """

    container: bytes
    images: int
    model: str
    ood: Mapping[int, OodFinding]
    fitted: Mapping[int, Fitting]


class Sender:
    """Encodes images with the encoder of one model. A sender does not load the decoder.

    The model is of one of two kinds: a vector model takes images of one shape, and has one quality; a model for images
    of any size takes grey and RGB images, at the quality that is asked for. Several threads may use one sender.
    """

    def __init__(self, half: Guard | AnySizeSender) -> None:
        self._half = half

    @classmethod
    def load(cls, folder: str | os.PathLike[str], *, threads: int = 1) -> Self:
        """Open the encoder of the model in `folder`, and check it against the golden data in its card.

        Args:
            folder: of the model, as `models/mnist-conv-10`.
            threads: number of threads that one run of the graph may use; small graphs are fastest with 1.

        Raises:
            ModelError: the files of the model cannot be used.
        """
        path = Path(folder)
        card = load_any_card(path)
        if isinstance(card, AnySizeCard):
            any_size = AnySizeEncoder.open(path, card, threads)
            any_size.check_golden()
            return cls(AnySizeSender(any_size))
        encoder = Encoder.open(path, threads)
        encoder.check_golden()
        return cls(Guard(encoder))

    @property
    def card(self) -> ModelCard | AnySizeCard:
        """The card of the model; its `kind` is `vector` or `any-size`."""
        return self._half.card

    def encode(
        self,
        source: ImageSource,
        *,
        fit: Fit = "strict",
        background: Background = "auto",
        on_ood: OnOod = "fallback",
        framing: Framing = "full",
        quality: float | None = None,
        target_bytes: int | None = None,
    ) -> Encoded:
        """Encode one image.

        Args:
            source: path or bytes of an image file, uint8 array (H, W) or (H, W, C), or Pillow image.
            fit: what to do with an image of another size or colour mode than the model's: refuse it (`strict`), scale
                it (`resize`), or keep its proportions and pad it (`pad`).
            background: what shows through transparent pixels, and around a padded image: `white`, `black`, or the one
                that differs more from the visible pixels (`auto`). See `latentwire.imaging.reader.ImageReader`.
            on_ood: what to do with an out-of-distribution image: refuse it (`refuse`), encode it all the same (`warn`),
                or encode it losslessly (`fallback`).
            framing: `full`, or `raw` for the payload without header and checksum.
            quality: of a model for images of any size: from 0, the fewest bytes, to 100; None for 50.
            target_bytes: of a model for images of any size: the best quality at which the bitstream has at most this
                many bytes.

        `fit` and `on_ood` are for vector models; any image fits a model for images of any size.

        Raises:
            OSError: the file cannot be read.
            ImageError: the image cannot be encoded; OutOfDistribution, ImageMismatch, InvalidImage and others.
            ValueError: the model has no such option, or the options contradict each other.
        """
        if isinstance(self._half, Guard):
            refuse_quality(quality, target_bytes)
            return self._encode(self._half, source, fit, background, on_ood, framing, None)
        return self._encode_any_size(self._half, source, background, framing, quality, target_bytes)

    def encode_many(
        self,
        sources: Iterable[ImageSource],
        *,
        fit: Fit = "strict",
        background: Background = "auto",
        on_ood: OnOod = "fallback",
        quality: float | None = None,
    ) -> EncodedMany:
        """Encode many images into one container, which takes fewer bytes an image than single bitstreams.

        Args:
            sources: as in `encode`; read one after another.
            fit: as in `encode`.
            background: as in `encode`.
            on_ood: as in `encode`.
            quality: as in `encode`, of each image.

        Raises:
            OSError: a file cannot be read.
            ImageError: an image cannot be encoded; the error has its number, from 0.
            ValueError: the model has no such option.
        """
        return self._encode_many(sources, fit, background, on_ood, "latent", quality)

    @staticmethod
    def _encode(
        guard: Guard,
        source: ImageSource,
        fit: Fit,
        background: Background,
        on_ood: OnOod,
        framing: Framing,
        max_mse: float | None,
    ) -> Encoded:
        read = _read(source, ImageReader(guard.card.image, fit, background, formats=installed_formats()))
        return _result(_encode_fitted(guard, read, on_ood, max_mse), framing)

    @staticmethod
    def _encode_any_size(
        sender: AnySizeSender,
        source: ImageSource,
        background: Background,
        framing: Framing,
        quality: float | None,
        target_bytes: int | None,
        min_psnr_db: float | None = None,
        effort: Effort | None = None,
    ) -> Encoded:
        read = _read(source, AnySizeReader(background, formats=installed_formats()))
        guarded = encode_any_size(
            sender,
            read,
            framing,
            quality=quality,
            target_bytes=target_bytes,
            min_psnr_db=min_psnr_db,
            effort=effort,
        )
        return _result(guarded, framing)

    def _encode_many(
        self,
        sources: Iterable[ImageSource],
        fit: Fit,
        background: Background,
        on_ood: OnOod,
        verify: Verify,
        quality: float | None,
    ) -> EncodedMany:
        guard = self._half
        if not isinstance(guard, Guard):
            return self._encode_many_any_size(guard, sources, background, quality)
        refuse_quality(quality)
        writer = guard.open_container(len(sources) if isinstance(sources, Sized) else 0)
        parts: list[bytes] = []
        ood: dict[int, OodFinding] = {}
        fitted: dict[int, Fitting] = {}
        reader = ImageReader(guard.card.image, fit, background, formats=installed_formats())
        images = (_read_one_of_many(number, source, reader) for number, source in enumerate(sources))
        while batch := list(islice(images, image.ENCODE_BATCH_SIZE)):
            fitted.update({writer.images + index: read.fitting for index, read in enumerate(batch) if read.fitting})
            for indices in image.slices(np.arange(len(batch)), guard.card.image):
                some = [batch[index] for index in indices]
                pixels, fittings = np.stack([read.pixels for read in some]), [read.fitting for read in some]
                guarded = guard.encode_chunk(pixels, on_ood, verify, fittings, writer.images)
                ood.update({writer.images + index: finding for index, finding in guarded.ood_images.items()})
                parts.append(writer.add(guarded.chunk))
        return EncodedMany(b"".join([*parts, writer.finish()]), writer.images, guard.card.full_name, ood, fitted)

    @staticmethod
    def _encode_many_any_size(
        sender: AnySizeSender, sources: Iterable[ImageSource], background: Background, quality: float | None
    ) -> EncodedMany:
        writer = PayloadContainerWriter(sender.card.fingerprint, len(sources) if isinstance(sources, Sized) else 0)
        reader = AnySizeReader(background, formats=installed_formats())
        parts: list[bytes] = []
        fitted: dict[int, Fitting] = {}
        for index, source in enumerate(sources):
            read = _read_one_of_many(index, source, reader)
            fitted.update({index: read.fitting} if read.fitting else {})
            with naming_image(index):
                parts.append(writer.add(sender.encode(read.pixels, measure=False, quality=quality).payload))
        return EncodedMany(b"".join([*parts, writer.finish()]), writer.images, sender.card.full_name, {}, fitted)


def _encode_fitted(guard: Guard, read: FittedImage, on_ood: OnOod, max_mse: float | None) -> GuardedImage:
    try:
        return guard.encode(read.pixels, on_ood, max_mse).after(read.fitting)
    except ImageError as error:
        raise read.explain(error) from None


def _read(source: ImageSource, reader: ImageReader | AnySizeReader) -> FittedImage:
    if isinstance(source, np.ndarray):
        return image.fit_array(source, reader)
    if isinstance(source, Image.Image):
        return reader.read_picture(source)
    return reader.read(source if isinstance(source, bytes) else Path(source).read_bytes())


def _read_one_of_many(number: int, source: ImageSource, reader: ImageReader | AnySizeReader) -> FittedImage:
    with naming_image(number):
        return _read(source, reader)


def refuse_quality(*wishes: float | None) -> None:
    """Refuse what only a model for images of any size has; raise ValueError."""
    if any(wish is not None for wish in wishes):
        raise ValueError("a vector model has one quality; quality and its targets are for images of any size")


def _result(guarded: GuardedImage, framing: Framing) -> Encoded:
    encoded = guarded.encoded
    return Encoded(
        bitstream=encoded.bitstream if framing == "full" else encoded.payload,
        framing=framing,
        model=guarded.card.full_name,
        code=encoded.y,
        payload_bytes=len(encoded.payload),
        ideal_bits=encoded.ideal_bits,
        mse=guarded.mse,
        psnr_db=guarded.psnr_db,
        max_error=guarded.max_error,
        ood=guarded.ood,
        doubt=guarded.doubt,
        sent_as=guarded.sent_as or "code",
        fitted=guarded.fitting,
        quality=guarded.quality,
    )
