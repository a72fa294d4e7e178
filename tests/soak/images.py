"""Images for each model: test images of its training data set if they are installed, else drawn digits."""

import numpy as np

from latentwire.imaging import image
from latentwire.imaging.image import Pixels
from latentwire.model.card import ModelCard
from training.data.datasets import load_dataset
from training.data.synthetic import draw_digits
from training.errors import TrainingError


def images_for(card: ModelCard, count: int, seed: int) -> Pixels:
    """Return uint8 (count, H, W, C) in the shape of the model."""
    try:
        pixels = load_dataset(card.provenance["recipe"]["dataset"]).test.pixels
    except (KeyError, TrainingError):
        digits, _ = draw_digits(count, seed)
        return np.stack([image.read_image(image.write_png(digit), card.image, "resize") for digit in digits])
    chosen: Pixels = pixels[np.random.default_rng(seed).choice(len(pixels), count, replace=False)]
    return chosen
