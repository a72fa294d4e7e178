import logging
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from service.errors import StartupRefused
from service.middleware import api_keys as module
from service.middleware.api_keys import KeyFile, open_keys, read_keys
from service.settings import Settings

FIRST, SECOND, THIRD = "first-key-0123456789", "second-key-0123456789/+==", "third.key~0123456789"


@pytest.fixture
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOOK_EVERY_S", 0.0)


def test_keys_are_read_with_their_holders_past_comments_and_blanks() -> None:
    keys = read_keys(f"# ours\n\n  {FIRST}  # phone\nsender:{SECOND} receiver:{THIRD}\n", "there")
    assert [keys.role_of(key.encode()) for key in (FIRST, SECOND, THIRD)] == ["both", "sender", "receiver"]
    for other in (b"", FIRST[:-1].encode(), FIRST.encode() + b"0", f"sender:{SECOND}".encode(), b"\xff" * 300):
        assert keys.role_of(other) is None


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "holds no key"),
        (f" \n# {FIRST}\n", "holds no key"),
        ("short", "key 1 in there is none"),
        (f"{FIRST} {'x' * 19}", "key 2 in there is none"),
        (f"relay:{FIRST}", "key 1 in there is none"),
        (f"sender: {FIRST}", "key 1 in there is none"),
        (f"{FIRST}\nsender:{FIRST}", "key 2 in there has been given before"),
        ("ä" * 30, "key 1 in there is none"),
        ("x" * 257, "key 1 in there is none"),
        ("\n".join(f"{FIRST}{number}" for number in range(101)), "holds 101 keys; 100 are allowed"),
    ],
)
def test_what_is_no_list_of_keys_is_refused_without_showing_one(text: str, says: str) -> None:
    with pytest.raises(StartupRefused) as caught:
        read_keys(text, "there")
    assert says in str(caught.value)
    assert FIRST not in str(caught.value)


@pytest.mark.usefixtures("no_waiting")
def test_a_changed_file_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    path.write_text(FIRST)
    file = KeyFile(path)
    assert file.current().role_of(FIRST.encode()) == "both"
    path.write_text(f"{FIRST}\n{SECOND}\n")
    assert {file.current().role_of(key.encode()) for key in (FIRST, SECOND)} == {"both"}
    (tmp_path / "new").write_text(f"{SECOND}\n")
    (tmp_path / "new").rename(path)
    assert file.current().role_of(FIRST.encode()) is None
    assert file.current().role_of(SECOND.encode()) == "both"


def test_a_file_is_looked_at_only_now_and_then(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "keys"
    path.write_text(FIRST)
    file = KeyFile(path)
    clock_s = [time.monotonic()]
    monkeypatch.setattr(time, "monotonic", lambda: clock_s[0])
    path.write_text(SECOND)
    assert file.current().role_of(FIRST.encode()) == "both"
    clock_s[0] += 1.5
    assert file.current().role_of(FIRST.encode()) is None


@pytest.mark.usefixtures("no_waiting")
def test_the_last_good_keys_stay_when_the_file_goes_bad(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "keys"
    path.write_text(FIRST)
    file = KeyFile(path)

    def empty() -> None:
        path.rmdir()
        path.touch()

    damages: dict[str, Callable[[], object]] = {
        "cannot be read: No such file": path.unlink,
        "is not a regular file": path.mkdir,
        "holds no key": empty,
        "key 1 in the key file": lambda: path.write_text("a bad secret"),
    }
    for says, damage in damages.items():
        damage()
        for _ in range(3):
            assert file.current().role_of(FIRST.encode()) == "both"
        assert [says in record.getMessage() for record in caplog.records] == [True], says
        assert caplog.records[0].levelno == logging.ERROR
        assert "secret" not in caplog.text
        caplog.clear()
    path.write_text(SECOND)
    assert file.current().role_of(SECOND.encode()) == "both"
    assert file.current().role_of(FIRST.encode()) is None


def test_a_file_that_holds_no_keys_is_refused(tmp_path: Path) -> None:
    long, pipe = tmp_path / "long", tmp_path / "pipe"
    long.write_text("#" * 70_000)
    os.mkfifo(pipe)
    (tmp_path / "empty").touch()
    for name, says in {
        "missing": "cannot be read: No such file",
        "empty": "holds no key",
        "": "is not a regular file",
        "pipe": "is not a regular file",
        "long": "longer than 65,536 bytes",
    }.items():
        with pytest.raises(StartupRefused, match=says):
            open_keys(Settings(api_keys_file=tmp_path / name))


def test_keys_come_from_one_place_or_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert open_keys(Settings()) is None
    monkeypatch.setenv("LATENTWIRE_API_KEYS", f"{FIRST} sender:{SECOND}")
    settings = Settings()
    current = open_keys(settings)
    assert current is not None
    assert current().role_of(SECOND.encode()) == "sender"
    assert FIRST not in repr(settings) + str(settings.model_dump())
    with pytest.raises(StartupRefused, match="choose one"):
        open_keys(Settings(api_keys_file=tmp_path / "keys"))
    monkeypatch.setenv("LATENTWIRE_API_KEYS", "")
    with pytest.raises(StartupRefused, match="the setting api_keys holds no key"):
        open_keys(Settings())
