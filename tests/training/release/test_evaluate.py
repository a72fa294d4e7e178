from pathlib import Path

import numpy as np
import pytest

from latentwire.decoder import Decoder
from latentwire.encoder import Encoder
from latentwire.errors import ImageMismatch
from latentwire.model.card import load_card
from training.data.datasets import Dataset, Images
from training.release.evaluate import evaluate_model, quality_table


def test_the_figures_are_those_of_single_images_through_the_codec(published: Path, dataset: Dataset) -> None:
    few = dataset._replace(test=dataset.test.take(np.arange(7)))
    quality = evaluate_model(published, few)
    encoder, decoder = Encoder.open(published), Decoder.open(published)
    errors, sizes = [], []
    for pixels in few.test.pixels:
        (code,) = encoder.encode(pixels[None])
        errors.append(np.square((decoder.decode([code.bitstream])[0] - pixels.astype(float)) / 255).mean())
        sizes.append(len(code.bitstream))
    assert quality.images == 7
    assert quality.dataset == "synthetic test"
    # Batches of another size may differ in the last bits.
    assert quality.mse == pytest.approx(np.mean(errors), rel=1e-4)
    assert quality.bitstream_bytes == np.mean(sizes)
    assert quality.payload_bytes == quality.bitstream_bytes - 8
    assert quality.float_mse < quality.mse
    assert quality.payload_bytes - 1 < quality.ideal_bits / 8 < quality.payload_bytes + 0.1


def test_all_test_images_are_measured_whatever_the_batch(published: Path, dataset: Dataset) -> None:
    many = dataset._replace(test=dataset.test.take(np.arange(501) % 500))
    assert evaluate_model(published, many).images == 501
    assert evaluate_model(published, many).mse != evaluate_model(published, dataset).mse


def test_the_table_sets_the_measured_figures_beside_those_of_the_card(published: Path, dataset: Dataset) -> None:
    card = load_card(published)
    quality = evaluate_model(published, dataset)
    assert card.quality == quality
    lines = quality_table(quality, card.quality).splitlines()
    assert lines[0] == "500 images of synthetic test"
    (row,) = [line for line in lines if line.startswith("RMSE, as delivered")]
    assert row.split()[-2:] == [f"{quality.rmse:.5f}"] * 2
    assert len(quality_table(quality).splitlines()) == len(lines) - 1


def test_images_of_another_shape_are_refused(published: Path) -> None:
    colour = Images(np.zeros((2, 28, 28, 3), np.uint8), np.zeros(2, np.uint8))
    with pytest.raises(ImageMismatch, match="takes 28 × 28 pixels, 1 channel; colour has 28 × 28 pixels, 3 channels"):
        evaluate_model(published, Dataset("colour", colour, colour))
