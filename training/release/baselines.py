"""A model and images -> what shows whether the model does anything: its codes, beside the mean image and PCA.

A network that has learned nothing gives all images one code and one picture, which is about the mean of the training
images. Its other figures can look well: such a code costs few bytes, and the guard finds nothing unusual.
"""

import hashlib
import math
from collections import Counter
from pathlib import Path

import numpy as np
from pydantic import Field, ValidationError

from latentwire.encoder import Encoder
from latentwire.imaging import image
from latentwire.model.card import ModelCard
from latentwire.model.schema import Frozen
from training.batches import parts
from training.data.datasets import Dataset
from training.errors import InvalidRun
from training.pca import Pca, fit_pca_to_sample

# A model that is not better than the mean image by this much, in dB, is no model of the images.
LEAST_GAIN_DB = 0.5

# Least entropy of the codes, as a share of that of images which all have a code of their own.
LEAST_ENTROPY_SHARE = 0.1

# Least MSE, as an error of 0 has no PSNR.
_LEAST_MSE = 1e-15


class Baselines(Frozen):
    """Codes of the test images, and what linear models of the training images make of them; PSNR in dB."""

    distinct_images: int = Field(description="test images that differ from each other")
    distinct_codes: int = Field(description="codes that differ from each other")
    code_entropy_bits: float = Field(description="entropy of the codes; at most the logarithm of the images' number")
    mean_image_psnr_db: float = Field(description="of the mean training image in place of each test image")
    pca_psnr_db: float = Field(description="of PCA of as many numbers, not quantized")
    pca_images: int = Field(description="training images that PCA was fitted to")


def measure_baselines(folder: Path, dataset: Dataset) -> Baselines:
    """Measure the baselines of the model in `folder`.

    Raises:
        ModelError: the model's files cannot be used.
    """
    encoder, pixels = Encoder.open(folder), dataset.test.pixels
    shape = dataset.shape.as_tuple()
    codes = [
        code.tobytes() for part in parts(len(pixels), shape) for code in encoder.encode_chunk(pixels[part]).symbols
    ]
    counts = np.array(list(Counter(codes).values()))
    shares = counts / counts.sum()
    pca = fit_pca_to_sample(dataset.train.pixels)
    return Baselines(
        distinct_images=len({hashlib.sha256(picture).digest() for picture in pixels}),
        distinct_codes=len(counts),
        code_entropy_bits=float(-(shares * np.log2(shares)).sum()),
        mean_image_psnr_db=_psnr_db(pca, pixels, 0),
        pca_psnr_db=_psnr_db(pca, pixels, encoder.card.code_size),
        pca_images=pca.images,
    )


def baselines_of(card: ModelCard) -> Baselines | None:
    """Return the baselines in a card; None if it has none.

    Raises:
        InvalidRun: they are damaged.
    """
    try:
        return Baselines.model_validate(card.provenance["baselines"]) if "baselines" in card.provenance else None
    except ValidationError as error:
        raise InvalidRun(f"the baselines in the card of '{card.name}' are damaged; publish its run again") from error


def warnings_of(card: ModelCard) -> list[str]:
    """Return the sentences that say why a model is of no use; none if it does something, or if that is not known."""
    found: list[str] = []
    quality, baselines = card.quality, baselines_of(card)
    if quality is None or baselines is None:
        return found
    possible = math.log2(baselines.distinct_images)
    if baselines.distinct_images > 1 and baselines.distinct_codes == 1:
        found.append(
            f"all {baselines.distinct_images:,} test images get the same code: the network does not tell them apart"
        )
    elif baselines.code_entropy_bits < LEAST_ENTROPY_SHARE * possible:
        found.append(
            f"{baselines.distinct_images:,} test images get only {baselines.distinct_codes:,} codes, with an entropy "
            f"of {baselines.code_entropy_bits:.2f} bits: the network hardly tells them apart"
        )
    if quality.psnr_db < baselines.mean_image_psnr_db + LEAST_GAIN_DB:
        found.append(
            f"test images are delivered with {quality.psnr_db:.2f} dB, and the mean training image alone has "
            f"{baselines.mean_image_psnr_db:.2f} dB: the network has learned next to nothing"
        )
    return found


def baselines_table(baselines: Baselines) -> str:
    """Return the figures as lines of text that continue those of `training.release.evaluate.quality_table`."""
    lines = {
        "PSNR, mean image (dB)": f"{baselines.mean_image_psnr_db:.5f}",
        "PSNR, PCA (dB)": f"{baselines.pca_psnr_db:.5f}",
        "different codes": f"{baselines.distinct_codes:,}",
        "entropy of codes (bits)": f"{baselines.code_entropy_bits:.5f}",
    }
    return "\n".join(f"{label:24}{figure:>12}" for label, figure in lines.items())


def _psnr_db(pca: Pca, pixels: image.Pixels, code_size: int) -> float:
    return -10 * math.log10(max(pca.clipped_rmse(pixels, code_size) ** 2, _LEAST_MSE))
