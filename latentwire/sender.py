"""The sender of the Python API: images -> bitstreams, without the decoder."""

import os
from collections.abc import Iterable, Iterator, Mapping, Sized
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt
from PIL import Image

from latentwire.encoder import Encoder
from latentwire.imaging import image
from latentwire.model.card import ModelCard
from latentwire.options import Fit, Framing, OnOod, Verify
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
        code: code of the image before quantization, float32 (code size).
        payload_bytes: number of bytes of the bitstream without header and checksum.
        ideal_bits: length of the payload in bits, by the probabilities of the model.
        mse: mean squared error of the reconstruction, values in [0, 1]; None without a decoder.
        psnr_db: peak signal-to-noise ratio of the reconstruction, in dB, infinite if exact; None without a decoder.
        max_error: largest difference of one value in [0, 1]; None without a decoder.
        ood: why the image is out-of-distribution; None if it is not.
        sent_as: `code`, or the lossless format in the bitstream: `raw`, `png` or `webp`.
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
    sent_as: str


@dataclass(frozen=True, slots=True)
class EncodedMany:
    """Many encoded images.

    Attributes:
        container: the bytes to send.
        images: number of images in the container.
        model: `name@model_id` of the model that made the container.
        ood: why images are out-of-distribution, by their index.
    """

    container: bytes
    images: int
    model: str
    ood: Mapping[int, OodFinding]


class Sender:
    """Encodes images with the encoder of one model. A sender does not load the decoder.

    Several threads may use one sender.
    """

    def __init__(self, guard: Guard) -> None:
        self._guard = guard

    @classmethod
    def load(cls, folder: str | os.PathLike[str], *, threads: int = 1) -> Self:
        """Open the encoder of the model in `folder`, and check it against the golden data in its card.

        Args:
            folder: of the model, as `models/mnist-conv-10`.
            threads: number of threads that one run of the graph may use; small graphs are fastest with 1.

        Raises:
            ModelError: the files of the model cannot be used.
        """
        encoder = Encoder.open(Path(folder), threads)
        encoder.check_golden()
        return cls(Guard(encoder))

    @property
    def card(self) -> ModelCard:
        """The card of the model: its image shape, code size, quality and provenance."""
        return self._guard.card

    def encode(
        self, source: ImageSource, *, fit: Fit = "strict", on_ood: OnOod = "fallback", framing: Framing = "full"
    ) -> Encoded:
        """Encode one image.

        Args:
            source: path or bytes of an image file, uint8 array (H, W) or (H, W, C), or Pillow image.
            fit: what to do with an image of another size or colour mode than the model's: refuse it (`strict`), scale
                it (`resize`), or keep its proportions and pad it with black (`pad`).
            on_ood: what to do with an out-of-distribution image: refuse it (`refuse`), encode it all the same (`warn`),
                or encode it losslessly (`fallback`).
            framing: `full`, or `raw` for the payload without header and checksum.

        Raises:
            OSError: the file cannot be read.
            ImageError: the image cannot be encoded; OutOfDistribution, ImageMismatch, InvalidImage and others.
        """
        return self._encode(source, fit, on_ood, framing, None)

    def encode_many(
        self, sources: Iterable[ImageSource], *, fit: Fit = "strict", on_ood: OnOod = "fallback"
    ) -> EncodedMany:
        """Encode many images into one container, which takes fewer bytes an image than single bitstreams.

        Args:
            sources: as in `encode`; read one after another.
            fit: as in `encode`.
            on_ood: as in `encode`.

        Raises:
            OSError: a file cannot be read.
            ImageError: an image cannot be encoded.
        """
        return self._encode_many(sources, fit, on_ood, "latent")

    def _encode(self, source: ImageSource, fit: Fit, on_ood: OnOod, framing: Framing, max_mse: float | None) -> Encoded:
        return _result(self._guard.encode(self._read(source, fit), on_ood, max_mse), framing)

    def _encode_many(self, sources: Iterable[ImageSource], fit: Fit, on_ood: OnOod, verify: Verify) -> EncodedMany:
        writer = self._guard.open_container(len(sources) if isinstance(sources, Sized) else 0)
        parts: list[bytes] = []
        ood: dict[int, OodFinding] = {}
        for batch in _batches((self._read(source, fit) for source in sources), image.ENCODE_BATCH_SIZE):
            for pixels in image.slices(batch, self.card.image):
                guarded = self._guard.encode_chunk(pixels, on_ood, verify)
                ood.update({writer.images + index: finding for index, finding in guarded.ood_images.items()})
                parts.append(writer.add(guarded.chunk))
        return EncodedMany(b"".join([*parts, writer.finish()]), writer.images, self.card.full_name, ood)

    def _read(self, source: ImageSource, fit: Fit) -> image.Pixels:
        shape = self.card.image
        if isinstance(source, np.ndarray):
            return image.fit_array(source, shape, fit)
        if isinstance(source, Image.Image):
            return image.fit_picture(source, shape, fit)
        data = source if isinstance(source, bytes) else Path(source).read_bytes()
        return image.read_image(data, shape, fit)


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
        sent_as=guarded.sent_as or "code",
    )


def _batches(pixels: Iterator[image.Pixels], size: int) -> Iterator[image.Pixels]:
    """Yield images, uint8 (H, W, C), as stacks of at most `size`, uint8 (N, H, W, C)."""
    while batch := list(islice(pixels, size)):
        yield np.stack(batch)
