"""A model's folder and images -> its quality, measured on real bitstreams and delivered pixels.

The library's own Encoder and Decoder are measured, as they ship.
"""

from pathlib import Path

import numpy as np

from latentwire.decoder import Decoder
from latentwire.encoder import Encoder
from latentwire.errors import ImageMismatch
from latentwire.imaging import image
from latentwire.model.card import Quality, load_card
from training.batches import parts
from training.data.datasets import Dataset

# Least MSE, as an error of 0 has no PSNR: below that of one value in a billion that is off by one 8-bit level.
_LEAST_MSE = 1e-15


def evaluate_model(folder: Path, dataset: Dataset) -> Quality:
    """Measure a model on all test images of a data set.

    Raises:
        ModelError: the model's files cannot be used.
        ImageMismatch: its images are not of the data set's shape.
    """
    card = load_card(folder)
    if card.image != dataset.shape:
        raise ImageMismatch(f"model '{card.name}' takes {card.image}; {dataset.name} has {dataset.shape}")
    encoder, decoder = Encoder.open(folder), Decoder.open(folder)
    pixels = dataset.test.pixels
    float_error = error = 0.0
    ideal_bits = 0.0
    payload_bytes = bitstream_bytes = 0
    for part in parts(len(pixels), card.image.as_tuple(), "evaluate"):
        batch = pixels[part]
        encoded = encoder.encode(batch)
        delivered = decoder.decode([code.bitstream for code in encoded])
        x_hat = decoder.x_hat(np.stack([code.y for code in encoded]))
        float_error += float(np.square(x_hat.astype(np.float64) - image.to_x(batch)).sum())
        error += float(np.square((delivered.astype(np.float64) - batch) / 255).sum())
        ideal_bits += sum(code.ideal_bits for code in encoded)
        payload_bytes += sum(len(code.payload) for code in encoded)
        bitstream_bytes += sum(len(code.bitstream) for code in encoded)
    return Quality.from_means(
        dataset=f"{dataset.name} test",
        images=len(pixels),
        shape=card.image,
        float_mse=max(float_error / pixels.size, _LEAST_MSE),
        mse=max(error / pixels.size, _LEAST_MSE),
        ideal_bits=ideal_bits / len(pixels),
        payload_bytes=payload_bytes / len(pixels),
        bitstream_bytes=bitstream_bytes / len(pixels),
    )


def quality_table(measured: Quality, claimed: Quality | None = None) -> str:
    """Return the figures as lines of text, beside those that a card claims, if given."""
    lines = [f"{measured.images:,} images of {measured.dataset}"]
    if claimed:
        lines.append(f"{'':24}{'measured':>12}{'card':>12}")
    for field, label in _LABELS.items():
        beside = f"{getattr(claimed, field):12.5f}" if claimed else ""
        lines.append(f"{label:24}{getattr(measured, field):12.5f}{beside}")
    return "\n".join(lines)


_LABELS = {
    "float_mse": "MSE, float code",
    "float_rmse": "RMSE, float code",
    "float_psnr_db": "PSNR, float code (dB)",
    "mse": "MSE, as delivered",
    "rmse": "RMSE, as delivered",
    "psnr_db": "PSNR, as delivered (dB)",
    "ideal_bits": "ideal code length (bits)",
    "payload_bytes": "payload (bytes)",
    "bitstream_bytes": "bitstream (bytes)",
    "bpp": "bits per pixel",
}
