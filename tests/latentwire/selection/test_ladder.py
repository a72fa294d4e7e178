import base64
import math
from pathlib import Path
from typing import Literal

import numpy as np
import pytest

from latentwire.decoder import Decoder
from latentwire.encoder import EncodedImage, Encoder
from latentwire.errors import OutOfDistribution, TargetMissed
from latentwire.imaging import image
from latentwire.model.card import load_card
from latentwire.model.guard_limits import DoubtLimits, MeaningRates
from latentwire.options import OnOod
from latentwire.selection.assessment import GuardedImage
from latentwire.selection.doubt_scores import Windows
from latentwire.selection.guard import Guard
from latentwire.selection.ladder import Ladder
from tests.tiny_model import familiar_pixels, publish_guarded_model, strange_pixels, with_quality

Rungs = dict[str, Guard]


def payload_size(code: EncodedImage) -> int:
    return len(code.payload)


def open_rungs(folders: list[Path], halves: Literal["both", "encoder"]) -> Rungs:
    rungs = {}
    for folder, mse in zip(folders, (0.2, 0.05, 0.1), strict=True):
        encoder = Encoder.open(folder)
        encoder.card = with_quality(load_card(folder), mse)
        rungs[folder.name] = Guard(encoder, Decoder.open(folder) if halves == "both" else None)
    return rungs


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    root = tmp_path_factory.mktemp("ladder")
    names = ("low", "high", "middle")
    return [publish_guarded_model(root / "models", root / name, name, seed) for seed, name in enumerate(names)]


@pytest.fixture(scope="module")
def rungs(folders: list[Path]) -> Rungs:
    return open_rungs(folders, "both")


@pytest.fixture(scope="module")
def ladder(rungs: Rungs) -> Ladder:
    return Ladder(list(rungs.values()))


@pytest.fixture(scope="module")
def blind(folders: list[Path]) -> Ladder:
    return Ladder(list(open_rungs(folders, "encoder").values()))


@pytest.fixture
def pixels() -> image.Pixels:
    familiar: image.Pixels = familiar_pixels(1, seed=11)[0]
    return familiar


def sizes(rungs: Rungs, pixels: image.Pixels) -> dict[str, int]:
    return {name: payload_size(guard.encode(pixels, "warn").encoded) for name, guard in rungs.items()}


def test_the_best_rung_that_fits_is_taken(ladder: Ladder, rungs: Rungs) -> None:
    quality = {"high": 3, "middle": 2, "low": 1}
    for seed in range(20):
        pixels = familiar_pixels(1, seed=100 + seed)[0]
        size = sizes(rungs, pixels)
        for target in range(min(size.values()), max(size.values()) + 1):
            fits = [name for name in size if size[name] <= target]
            chosen = ladder.best_within(pixels, target, payload_size, "refuse")
            assert chosen.card.name == max(fits, key=lambda name: quality[name])
            assert payload_size(chosen.encoded) <= target


def test_a_lossless_image_is_the_best_where_it_fits(ladder: Ladder, rungs: Rungs, pixels: image.Pixels) -> None:
    chosen = ladder.best_within(pixels, 10_000, payload_size, "refuse")
    assert chosen.card.name == "high"
    assert chosen.mse == 0
    assert chosen.sent_as is not None


def test_no_code_of_one_byte_is_found(ladder: Ladder, rungs: Rungs, pixels: image.Pixels) -> None:
    least = min(sizes(rungs, pixels).values())
    assert least > 1
    with pytest.raises(TargetMissed, match=f"into 1 bytes; the smallest bitstream has {least}"):
        ladder.best_within(pixels, 1, payload_size, "fallback")


def test_what_counts_is_what_is_sent(ladder: Ladder, rungs: Rungs, pixels: image.Pixels) -> None:
    least = min(sizes(rungs, pixels).values())
    with pytest.raises(TargetMissed):
        ladder.best_within(pixels, least, lambda code: len(code.bitstream), "fallback")
    assert ladder.best_within(pixels, least + 8, lambda code: len(code.bitstream), "fallback").ood is None


def test_an_ood_image_within_few_bytes_is_never_silent(ladder: Ladder) -> None:
    strange = strange_pixels(1, seed=3)[0]
    with pytest.raises(TargetMissed, match="losslessly it takes more than 40 bytes"):
        ladder.best_within(strange, 40, payload_size, "fallback")
    with pytest.raises(OutOfDistribution, match="not of the kind"):
        ladder.best_within(strange, 40, payload_size, "refuse")
    assert ladder.best_within(strange, 40, payload_size, "warn").ood is not None


def test_the_lowest_rung_that_reaches_a_quality_is_taken(ladder: Ladder, rungs: Rungs, pixels: image.Pixels) -> None:
    reached = {name: guard.encode(pixels, "warn").psnr_db or 0 for name, guard in rungs.items()}
    for wanted in (0.0, *reached.values()):
        expected = next(name for name in ("low", "middle", "high") if reached[name] >= wanted)
        chosen = ladder.smallest_reaching(pixels, wanted, "refuse")
        assert chosen.card.name == expected
        assert chosen.psnr_db is not None
        assert chosen.psnr_db >= wanted


def test_a_quality_that_no_model_reaches_is_reached_losslessly(ladder: Ladder, pixels: image.Pixels) -> None:
    guarded = ladder.smallest_reaching(pixels, 1000, "fallback")
    assert (guarded.mse, guarded.psnr_db, guarded.ood) == (0, math.inf, None)
    assert guarded.sent_as is not None
    with pytest.raises(TargetMissed, match="no model reaches 1000 dB for this image; the best gives"):
        ladder.smallest_reaching(pixels, 1000, "refuse")
    warned = ladder.smallest_reaching(pixels, 1000, "warn")
    assert warned.sent_as is None
    assert warned.ood is not None
    assert "no model reaches" in warned.ood.sentence


def test_an_ood_image_reaches_no_quality(ladder: Ladder) -> None:
    strange = strange_pixels(1, seed=3)[0]
    fallen_back = ladder.smallest_reaching(strange, 0, "fallback")
    assert fallen_back.sent_as is not None
    assert fallen_back.ood is not None
    with pytest.raises(OutOfDistribution, match="not of the kind"):
        ladder.smallest_reaching(strange, 0, "refuse")
    assert ladder.smallest_reaching(strange, 0, "warn").ood is not None


def test_without_a_decoder_the_card_says_what_is_reached(blind: Ladder, pixels: image.Pixels) -> None:
    assert blind.smallest_reaching(pixels, 6.9, "refuse").card.name == "low"
    assert blind.smallest_reaching(pixels, 7.1, "refuse").card.name == "middle"
    assert blind.smallest_reaching(pixels, 13, "refuse").card.name == "high"
    assert blind.smallest_reaching(pixels, 13.1, "fallback").sent_as is not None
    with pytest.raises(TargetMissed, match=r"no model reaches 13\.1 dB"):
        blind.smallest_reaching(pixels, 13.1, "refuse")


def test_a_model_that_tells_no_quality_is_the_lowest(rungs: Rungs, pixels: image.Pixels) -> None:
    encoder = rungs["high"]._encoder
    unknown = Encoder(encoder.card.model_copy(update={"quality": None}), encoder._graph)
    ladder = Ladder([Guard(unknown), rungs["low"]])
    assert ladder.best_within(pixels, 40, payload_size, "refuse").card.name == "low"
    assert ladder.smallest_reaching(pixels, 0, "refuse").card.name == "low"


def coarse(guard: Guard) -> Guard:
    """The same model with so low a limit of the error that it reproduces no image."""
    assert guard.card.guard is not None
    return Guard(guard._encoder, guard._decoder, guard.card.guard.model_copy(update={"max_mse": 1e-9}))


@pytest.mark.parametrize("on_ood", ["fallback", "refuse"])
def test_an_image_that_a_model_does_not_reproduce_goes_by_the_next_one(
    rungs: Rungs, pixels: image.Pixels, on_ood: OnOod
) -> None:
    low, middle = coarse(rungs["low"]), coarse(rungs["middle"])
    for beside, expected in (([low, rungs["middle"], rungs["high"]], "middle"), ([low, middle, rungs["high"]], "high")):
        sent = low.encode(pixels, on_ood, above=Ladder(beside).above)
        assert (sent.card.name, sent.ood, sent.sent_as) == (expected, None, None)
        assert sent.encoded.bitstream == rungs[expected].encode(pixels).encoded.bitstream
        assert sent.mse == rungs[expected].encode(pixels).mse


def test_an_image_falls_only_where_no_model_reproduces_it(rungs: Rungs, pixels: image.Pixels) -> None:
    all_coarse = [coarse(guard) for guard in rungs.values()]
    fallen = all_coarse[0].encode(pixels, above=Ladder(all_coarse).above)
    assert (fallen.card.name, fallen.mse) == ("low", 0)
    assert fallen.sent_as is not None
    assert fallen.ood is not None
    with pytest.raises(OutOfDistribution, match="model 'low' does not reproduce"):
        all_coarse[0].encode(pixels, "refuse", above=Ladder(all_coarse).above)
    # A model that is named, or the best one, has none above it.
    assert all_coarse[0].encode(pixels).sent_as is not None
    assert coarse(rungs["high"]).encode(pixels, above=Ladder(list(rungs.values())).above).sent_as is not None


def test_a_warning_is_given_with_the_code_of_the_model_itself(rungs: Rungs, pixels: image.Pixels) -> None:
    low = coarse(rungs["low"])
    warned = low.encode(pixels, "warn", above=Ladder(list(rungs.values())).above)
    assert warned.card.name == "low"
    assert warned.ood is not None


def test_no_better_model_is_tried_for_an_image_of_another_kind(rungs: Rungs) -> None:
    def above(guard: Guard) -> list[Guard]:
        raise AssertionError("a better model was tried")

    assert coarse(rungs["low"]).encode(strange_pixels(1, seed=3)[0], above=above).sent_as is not None


def test_images_climb_each_for_itself(rungs: Rungs) -> None:
    batch = np.concatenate([familiar_pixels(6, seed=5), strange_pixels(1, seed=5)])
    errors = [one.mse or 0 for one in rungs["low"].assess(batch)]
    assert rungs["low"].card.guard is not None
    half = rungs["low"].card.guard.model_copy(update={"max_mse": float(np.median(errors[:6]))})
    low = Guard(rungs["low"]._encoder, rungs["low"]._decoder, half)
    above = Ladder([low, rungs["high"]]).above
    together = low.encode_each(batch, above=above)
    alone = [low.encode(one, above=above) for one in batch]
    assert [one.encoded.bitstream for one in together if isinstance(one, GuardedImage)] == [
        one.encoded.bitstream for one in alone
    ]
    assert [one.card.name for one in alone].count("high") == 3


def doubt_limits(guard: Guard) -> DoubtLimits:
    """So low a limit of the local error that every image is in doubt."""
    usual = np.full(Windows(guard.card.image).shape.as_tuple(), 9, np.uint8)
    return DoubtLimits(max_local_error=1e-6, usual_local_png_base64=base64.b64encode(image.write_png(usual)).decode())


def doubting(guard: Guard) -> Guard:
    """The same model, which doubts every image."""
    assert guard.card.guard is not None
    limits = guard.card.guard.model_copy(update={"doubt": doubt_limits(guard)})
    return Guard(guard._encoder, guard._decoder, limits)


def rates(*, holds: bool) -> MeaningRates:
    return MeaningRates(
        ordinary="drawings",
        images=1,
        sure_changes=0,
        changes=0,
        climbed=0,
        fallen=0,
        coded_bytes=1,
        served_bytes=1,
        vanished_marks=0,
        flagged_marks=0,
        invented_marks=0,
        blends=0,
        resolved_blends=0,
        holds=holds,
    )


@pytest.mark.parametrize("on_ood", ["fallback", "refuse", "warn"])
def test_a_model_that_is_named_sends_a_doubtful_image_and_says_so(
    rungs: Rungs, pixels: image.Pixels, on_ood: OnOod
) -> None:
    sent = doubting(rungs["low"]).encode(pixels, on_ood)
    assert (sent.sent_as, sent.ood) == (None, None)
    assert sent.doubt is not None
    assert [one.score for one in sent.doubt.exceeded] == ["local_error"]
    assert "the code of model 'low' may show something else" in sent.doubt.sentence


def test_a_doubtful_image_goes_by_the_next_model_that_is_sure(rungs: Rungs, pixels: image.Pixels) -> None:
    low, middle = doubting(rungs["low"]), doubting(rungs["middle"])
    sent = low.encode(pixels, above=Ladder([low, middle, rungs["high"]]).above)
    assert (sent.card.name, sent.sent_as, sent.doubt) == ("high", None, None)


def test_an_image_that_all_models_doubt_is_sent_losslessly_or_refused(rungs: Rungs, pixels: image.Pixels) -> None:
    all_doubting = [doubting(guard) for guard in rungs.values()]
    above = Ladder(all_doubting).above
    fallen = all_doubting[0].encode(pixels, above=above)
    assert (fallen.mse, fallen.ood) == (0, None)
    assert fallen.doubt is not None
    with pytest.raises(OutOfDistribution, match="may show something else"):
        all_doubting[0].encode(pixels, "refuse", above=above)
    for sent in (Ladder(all_doubting).smallest_reaching(pixels, 0, "fallback"), fallen):
        assert sent.sent_as is not None
        assert sent.doubt is not None
    with pytest.raises(OutOfDistribution, match="may show something else"):
        Ladder(all_doubting).smallest_reaching(pixels, 0, "refuse")
    with pytest.raises(TargetMissed, match="may show something else"):
        Ladder(all_doubting).best_within(pixels, 40, payload_size, "fallback")
    assert Ladder(all_doubting).best_within(pixels, 40, payload_size, "warn").doubt is not None


def test_a_quality_is_reached_only_by_a_model_that_is_sure(rungs: Rungs, pixels: image.Pixels) -> None:
    ladder = Ladder([doubting(rungs["low"]), rungs["middle"], rungs["high"]])
    assert ladder.smallest_reaching(pixels, 0, "fallback").card.name == "middle"


def test_a_sender_without_a_decoder_has_no_doubts(rungs: Rungs, pixels: image.Pixels) -> None:
    assert rungs["low"].card.guard is not None
    limits = rungs["low"].card.guard.model_copy(update={"doubt": doubt_limits(rungs["low"])})
    assert Guard(rungs["low"]._encoder, rungs["low"]._decoder, limits).encode(pixels).doubt is not None
    assert Guard(rungs["low"]._encoder, None, limits).encode(pixels).doubt is None


def test_a_model_that_does_not_keep_the_meaning_is_not_selected(rungs: Rungs, pixels: image.Pixels) -> None:
    def unreliable(guard: Guard) -> Guard:
        assert guard.card.guard is not None
        limits = guard.card.guard.model_copy(update={"meaning": rates(holds=False)})
        card = guard.card.model_copy(update={"guard": limits})
        return Guard(Encoder(card, guard._encoder._graph), guard._decoder)

    low = unreliable(rungs["low"])
    ladder = Ladder([low, rungs["middle"], rungs["high"]])
    assert [rung.card.name for rung in ladder.rungs] == ["middle", "high"]
    assert ladder.smallest_reaching(pixels, 0, "fallback").card.name == "middle"
    # It still serves images that it is sure of.
    middle = unreliable(rungs["middle"])
    assert [rung.card.name for rung in Ladder([low, middle, rungs["high"]]).above(low)] == ["middle", "high"]
    assert [rung.card.name for rung in Ladder([low]).rungs] == ["low"]
    assert low.encode(pixels).card.name == "low"
