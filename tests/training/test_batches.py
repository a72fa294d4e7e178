import io
import sys

import pytest

from latentwire.imaging.image import MAX_BATCH_VALUES
from training.batches import part_size, parts


@pytest.mark.parametrize(
    ("shape", "size"),
    [
        ((28, 28, 1), 500),
        ((32, 32, 3), 500),
        ((224, 224, 3), 27),
        ((480, 640, 3), 4),
        ((4096, 4096, 4), 1),
    ],
)
def test_parts_are_bounded_by_images_and_by_values(shape: tuple[int, int, int], size: int) -> None:
    assert part_size(shape) == size
    assert size == 1 or size * shape[0] * shape[1] * shape[2] <= MAX_BATCH_VALUES


@pytest.mark.parametrize("count", [0, 1, 4, 5, 13])
def test_parts_cover_all_images_once(count: int) -> None:
    images = list(range(count))
    assert [image for part in parts(count, (480, 640, 3), "look") for image in images[part]] == images


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_only_a_terminal_sees_how_far_the_work_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("training.batches._BAR_DELAY_S", 0)
    list(parts(10, (480, 640, 3), "guard: fit"))
    assert capsys.readouterr() == ("", "")
    terminal = _Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    list(parts(10, (480, 640, 3)))
    assert terminal.getvalue() == ""
    list(parts(10, (480, 640, 3), "guard: fit"))
    assert "guard: fit" in terminal.getvalue()
    assert "/10" in terminal.getvalue()
