import json
import shutil
import threading
from pathlib import Path

import numpy as np
import pytest

from latentwire import Codec, Sender
from latentwire.any_size.encoder import AnySizeEncoder
from latentwire.any_size.sender import AnySizeSender
from latentwire.cancelling import Cancelled, cancelled_by
from latentwire.effort import work_of
from latentwire.errors import ImageTooLarge, InvalidGraph, InvalidParameter, ModelNotReady
from latentwire.model.any_size_card import REFINER_FILE, AnySizeCard, load_any_card
from latentwire.model.card import CARD_FILE, DECODER_FILE
from tests.tiny_any_size_model import drawn_logo, drawn_picture, publish_tiny_any_size_model
from training.release.model_dir import graph_file


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return publish_tiny_any_size_model(tmp_path_factory.mktemp("models"), tmp_path_factory.mktemp("scratch"))


@pytest.fixture(scope="module")
def codec(folder: Path) -> Codec:
    return Codec.load(folder)


def cost_of(folder: Path, codec: Codec, pixels: np.ndarray, effort: int) -> float:
    encoded = codec.encode(pixels, quality=60, effort=effort)  # type: ignore[arg-type]
    card = load_any_card(folder)
    assert isinstance(card, AnySizeCard)
    refiner = AnySizeEncoder.open(folder, card).refiner
    assert refiner is not None
    assert encoded.mse is not None
    received = codec.decode(encoded.bitstream)
    colours = pixels[:, :, : received.shape[2] - (received.shape[2] in (2, 4))].astype(int)
    if received.shape == pixels.shape and received.shape[2] in (1, 3):
        assert encoded.mse == pytest.approx(np.square(received.astype(int) - pixels).mean() / 255**2)
    return encoded.ideal_bits + refiner.bits_per_error(58) * encoded.mse * colours.size


@pytest.mark.parametrize("shape", [(200, 150, 3), (90, 130, 1), (70, 80, 4), (1, 1, 3)])
def test_effort_lowers_bits_and_error_together(folder: Path, codec: Codec, shape: tuple[int, int, int]) -> None:
    pixels = drawn_logo(*shape)
    costs = [cost_of(folder, codec, pixels, effort) for effort in (1, 2, 3)]
    assert costs[2] <= costs[1] <= costs[0]
    if shape[0] > 1:
        assert costs[2] < costs[0] - 20
    first, second = (codec.encode(pixels, effort=3).bitstream for _ in range(2))
    assert first == second


def test_effort_at_a_number_of_bytes_and_at_a_psnr(codec: Codec) -> None:
    pixels = drawn_picture(220, 260)
    gained = saved = 0.0
    for target in (2500, 3200, 4000):
        plain, refined = (codec.encode(pixels, target_bytes=target, effort=effort) for effort in (1, 3))
        assert len(refined.bitstream) <= target
        assert plain.psnr_db is not None
        assert refined.psnr_db is not None
        assert refined.psnr_db >= plain.psnr_db
        gained += refined.psnr_db - plain.psnr_db
        smaller = codec.encode(pixels, min_psnr_db=plain.psnr_db, effort=3)
        assert smaller.psnr_db is not None
        assert smaller.psnr_db >= plain.psnr_db
        assert len(smaller.bitstream) <= len(plain.bitstream)
        saved += len(plain.bitstream) - len(smaller.bitstream)
    assert gained > 0
    assert saved > 0


def test_parts_are_refined_with_their_surroundings(codec: Codec) -> None:
    pixels = drawn_picture(1100, 80)
    plain, refined = (codec.encode(pixels, quality=70, effort=effort) for effort in (1, 2))
    assert plain.psnr_db is not None and refined.psnr_db is not None  # noqa: PT018
    assert refined.bitstream != plain.bitstream
    assert refined.psnr_db > plain.psnr_db or refined.ideal_bits < plain.ideal_bits


def test_refinement_is_given_up_between_passes(codec: Codec) -> None:
    event = threading.Event()
    event.set()
    with cancelled_by(event), pytest.raises(Cancelled):
        codec.encode(drawn_picture(50, 60), effort=3)


def test_who_cannot_refine_says_so(folder: Path, tiny_model: Path) -> None:
    pixels = drawn_picture(40, 50)
    card = load_any_card(folder)
    assert isinstance(card, AnySizeCard)
    bare = AnySizeEncoder.open(folder, card.model_copy(update={"refinement": None}))
    decoder = Codec.load(folder)._half
    assert isinstance(decoder, AnySizeSender)
    with pytest.raises(InvalidParameter, match="no refiner"):
        AnySizeSender(bare, decoder._decoder).encode(pixels, effort=2)
    sender = Sender.load(folder)._half
    assert isinstance(sender, AnySizeSender)
    with pytest.raises(ValueError, match="which has a decoder"):
        sender.encode(pixels, effort=2)
    with pytest.raises(ValueError, match="must be 1, 2 or 3"):
        sender.encode(pixels, effort=4)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="one quality"):
        Codec.load(tiny_model).encode(np.zeros((28, 28), np.uint8), effort=2)


def test_a_refiner_is_checked_at_once_and_opened_when_it_is_used(folder: Path, tmp_path: Path) -> None:
    changed = Path(shutil.copytree(folder, tmp_path / folder.name))
    (changed / REFINER_FILE).write_bytes((changed / DECODER_FILE).read_bytes())
    with pytest.raises(InvalidGraph, match="its card says"):
        Codec.load(changed)
    card = json.loads((changed / CARD_FILE).read_text())
    card["refinement"]["graph"] = graph_file(changed / REFINER_FILE).model_dump()
    (changed / CARD_FILE).write_text(json.dumps(card))
    codec, pixels = Codec.load(changed), drawn_picture(64, 64)
    assert codec.encode(pixels, effort=1).psnr_db is not None
    with pytest.raises(ModelNotReady, match=f"{REFINER_FILE} of model '{folder.name}' has the inputs"):
        codec.encode(pixels, effort=2)


def test_effort_counts_as_pixels_and_has_a_bound() -> None:
    assert work_of(100, 1, 50) == 100
    assert work_of(100, 3, 5600) == 5600
    with pytest.raises(ImageTooLarge, match="an effort of 3 is for 99 at most"):
        work_of(100, 3, 5599)
    # A target repeats the refinement.
    assert work_of(100, 2, 4200, target_bytes=500) == 2800
    assert work_of(100, 2, 4200, min_psnr_db=30) == 4200
    assert work_of(100, 1, 4200, min_psnr_db=30) == 100


def test_small_images_are_refined_by_default(codec: Codec) -> None:
    small, large = drawn_picture(100, 120), drawn_picture(260, 280)
    assert codec.encode(small).bitstream == codec.encode(small, effort=2).bitstream
    assert codec.encode(small).bitstream != codec.encode(small, effort=1).bitstream
    assert codec.encode(large).bitstream == codec.encode(large, effort=1).bitstream
