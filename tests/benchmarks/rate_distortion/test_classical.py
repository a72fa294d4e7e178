"""On pictures of 28 × 28 pixels, as the settings are chosen for tiny ones."""

import importlib.util

import numpy as np
import pytest
from PIL import features

from benchmarks.rate_distortion import classical
from benchmarks.rate_distortion.classical import CODECS, missing, settings_alone, settings_together
from training.data.synthetic import draw_digits


@pytest.fixture(scope="module")
def digit() -> classical.Grey:
    pixels = draw_digits(1, seed=3)[0]
    grey: classical.Grey = pixels.reshape(28, 28)
    return grey


@pytest.mark.parametrize("codec", CODECS)
def test_each_codec_gives_a_picture_of_the_same_size_back(codec: str, digit: classical.Grey) -> None:
    if codec in missing() and codec != "PNG":
        pytest.skip(missing()[codec])
    for settings in (settings_alone(), settings_together()):
        cheapest, *_, best = (setting for setting in settings if setting.codec == codec)
        poor, good = (setting.read(setting.write(digit)) for setting in (cheapest, best))
        assert poor.shape == good.shape == (28, 28)
        assert poor.dtype == good.dtype == np.uint8
        assert np.abs(good.astype(int) - digit).mean() < 16


def test_what_is_called_lossless_is_so(digit: classical.Grey) -> None:
    for setting in settings_alone():
        if "lossless" in setting.name or setting.codec == "PNG":
            assert np.array_equal(setting.read(setting.write(digit)), digit), setting.name


def test_no_setting_is_there_twice() -> None:
    for settings in (settings_alone(), settings_together()):
        names = [(setting.codec, setting.name, setting.library) for setting in settings]
        assert len(set(names)) == len(names)


def test_a_codec_whose_library_is_missing_is_named_and_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    monkeypatch.setattr(features, "check", lambda feature: feature != "avif")
    assert set(missing()) == {"AVIF", "JPEG XL", "PNG"}
    assert "imagecodecs is not installed" in missing()["JPEG XL"]
    assert {setting.codec for setting in settings_alone()} == {"JPEG", "JPEG 2000", "WebP", "PNG"}
