from pathlib import Path

import numpy as np
import pytest

from benchmarks.meaning.__main__ import main, table
from benchmarks.meaning.judges import Judge, grey_levels
from benchmarks.meaning.measure import Rung, draw_blends, holds, invented, measure, serve
from latentwire.decoder import Decoder
from latentwire.selection.assessment import GuardedImage
from latentwire.selection.ladder import Ladder
from tests.contract.goldens import MODELS
from training.data.images import Images
from training.data.synthetic import draw_digits

FOLDERS = [MODELS / name for name in ("mnist-rate-20", "mnist-rate-60", "mnist-details")]


@pytest.fixture(scope="module")
def rungs() -> list[Rung]:
    return Rung.open_all([FOLDERS[2], FOLDERS[0], FOLDERS[1]])


@pytest.fixture(scope="module")
def digits() -> Images:
    return Images(*draw_digits(12, seed=11))


def test_what_is_served_is_what_the_library_sends(rungs: list[Rung], digits: Images) -> None:
    coded = [rung.code(digits.pixels) for rung in rungs]
    decoders = {folder.name: Decoder.open(folder) for folder in FOLDERS}
    above = Ladder([rung.guard for rung in rungs]).above
    for first, rung in enumerate(rungs):
        served = serve(digits.pixels, coded, first)
        for index, sent in enumerate(rung.guard.encode_each(digits.pixels, above=above)):
            assert isinstance(sent, GuardedImage)
            if served.models[index] >= 0 and sent.sent_as is not None:
                continue  # it is shorter losslessly
            assert (served.models[index] < 0) == (sent.sent_as is not None)
            assert served.sizes[index] == len(sent.encoded.payload)
            (delivered,) = decoders[sent.card.name].decode([sent.encoded.bitstream])
            assert np.abs(delivered.astype(int) - served.pixels[index]).max() <= 1


def test_the_figures_of_a_model_are_those_of_its_images(
    rungs: list[Rung], digits: Images, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("benchmarks.meaning.measure.MARKED_IMAGES", 12)
    monkeypatch.setattr("benchmarks.meaning.measure.BLENDS", 12)
    known = Images(*draw_digits(300, seed=12))
    judges = [Judge(grey_levels, known.pixels, known.labels)]
    (one,) = measure(rungs, judges, digits, "drawn", chosen=[2])
    assert (one.ordinary, one.images) == ("drawn", 12)
    assert one.climbed == 0
    assert one.served_bytes >= one.coded_bytes > 1
    assert 0 <= one.flagged_marks <= one.vanished_marks
    assert "| `mnist-details` |" in table({"mnist-details": one})


def test_figures_hold_within_their_bounds_only() -> None:
    from tests.latentwire.selection.test_ladder import rates

    good = rates(holds=False)
    assert holds(good)
    for worse in (
        {"sure_changes": 0.0001},
        {"changes": 0.002},
        {"vanished_marks": 100, "flagged_marks": 98},
        {"resolved_blends": 0.006},
        {"fallen": 0.006},
        {"served_bytes": 1.31},
    ):
        assert not holds(good.model_copy(update=worse))


def test_an_invented_mark_is_one_where_the_image_is_black() -> None:
    pixels = np.zeros((3, 28, 28, 1), np.uint8)
    pixels[1, 10:20, 10:20] = 255
    delivered = pixels.copy()
    delivered[0, 3:6, 3:6] = 200
    delivered[1, 10:20, 10:21] = 255  # a blurred edge is no mark
    delivered[2, 3:5, 3:5] = 255
    assert invented(pixels, delivered).tolist() == [True, False, False]


def test_blends_are_of_different_classes(digits: Images) -> None:
    blends = draw_blends(Images(digits.pixels[:2], np.array([1, 2], np.uint8)))
    mean = (digits.pixels[0].astype(int) + digits.pixels[1]) // 2
    assert len(blends) > 100
    np.testing.assert_array_equal(blends, np.broadcast_to(mean, blends.shape))


def test_what_cannot_be_measured_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path / "nothing")]) == 1
    assert "has no readable card.json" in capsys.readouterr().err
