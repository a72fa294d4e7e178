import logging
import time
from pathlib import Path

import pytest

from latentwire.file_watcher import CHECK_EVERY_S, FileWatcher


class Clock:
    """Stands still until the watcher's next check is due."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def advance(self) -> None:
        self.now_s += CHECK_EVERY_S


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(time, "monotonic", lambda: clock.now_s)
    return clock


def watch(*paths: Path) -> FileWatcher[str]:
    def read() -> str:
        try:
            content = "".join(path.read_text() for path in paths)
        except OSError as error:
            raise ValueError(f"cannot be read: {error.strerror}") from error
        if "bad" in content:
            raise ValueError("bad content")
        return content

    return FileWatcher(paths, read, "words")


def test_a_changed_file_is_read_again_when_the_next_check_is_due(
    tmp_path: Path, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "file"
    path.write_text("first")
    watcher = watch(path)
    path.write_text("second")
    assert watcher.current() == "first"
    clock.advance()
    assert watcher.current() == "second"
    (tmp_path / "new").write_text("third!")
    (tmp_path / "new").rename(path)
    clock.advance()
    assert watcher.current() == "third!"
    assert [record.levelno for record in caplog.records] == [logging.WARNING] * 2


def test_the_last_good_content_stays_and_each_failure_is_logged_once(
    tmp_path: Path, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "file"
    path.write_text("good")
    watcher = watch(path)
    for damage, says in ((path.unlink, "cannot be read"), (lambda: path.write_text("bad"), "bad content")):
        caplog.clear()
        damage()
        for _ in range(3):
            clock.advance()
            assert watcher.current() == "good"
        assert [says in record.getMessage() for record in caplog.records] == [True]
    path.write_text("better")
    clock.advance()
    assert watcher.current() == "better"


def test_of_two_files_the_second_may_come_later(tmp_path: Path, clock: Clock) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    one.write_text("1")
    other.write_text("2")
    watcher = watch(one, other)
    one.write_text("bad 1")
    clock.advance()
    assert watcher.current() == "12"
    one.write_text("new 1, ")
    other.write_text("new 2")
    clock.advance()
    assert watcher.current() == "new 1, new 2"


def test_what_cannot_be_read_at_first_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="cannot be read"):
        watch(tmp_path / "missing")
