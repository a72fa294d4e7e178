from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from training.photo.crops import Batch, CropSettings, make_batch
from training.photo.klt import start_as_klt
from training.photo.model import LEVELS, PhotoCodec, Widths
from training.photo.pictures import Picture, load_split

SMALL = Widths(
    encoder_quarter=12,
    encoder_quarter_inner=12,
    encoder_eighth=16,
    encoder_inner=12,
    latents=24,
    decoder_eighth=16,
    decoder_eighth_inner=16,
    decoder_quarter=12,
    decoder_quarter_inner=12,
    hyper_latents=6,
    hyper=8,
    first_group=8,
    context=(8, 8, 8),
)


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def photo_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve made-up photographs: smooth colours with edges and some noise, of several sizes."""
    folder = tmp_path_factory.mktemp("photos")
    random = np.random.default_rng(7)
    for number in range(12):
        height, width = 150 + 20 * (number % 4), 260 - 15 * (number % 5)
        coarse = random.integers(0, 256, (5, 7, 3), dtype=np.uint8)
        smooth = np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)).astype(np.int16)
        smooth[height // 3 :, width // 2 :] += 40
        noisy = smooth + random.integers(-6, 7, smooth.shape)
        Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8)).save(folder / f"{number:04d}.png")
    return folder


@pytest.fixture(scope="session")
def pictures(photo_folder: Path) -> list[Picture]:
    return load_split(photo_folder, validation_share=0.2).training


@pytest.fixture(scope="session")
def batch(pictures: list[Picture]) -> Batch:
    return make_batch(pictures, CropSettings(crop=64, pixels=8 * 64**2, small_share=0), LEVELS, (0, 0, 0))


@pytest.fixture
def codec(batch: Batch) -> PhotoCodec:
    """A small network whose context corrects something."""
    return make_codec(batch)


def make_codec(batch: Batch) -> PhotoCodec:
    """Return the network of `codec`, for a fixture of a larger scope."""
    torch.manual_seed(0)
    codec = PhotoCodec(SMALL)
    start_as_klt(codec, batch.pixels)
    with torch.no_grad():
        for weight in codec.context.parameters():
            weight.add_(0.1 * torch.randn_like(weight))
    return codec.eval()
