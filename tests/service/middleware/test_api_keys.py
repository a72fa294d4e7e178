import os
from pathlib import Path

import pytest
from pydantic import SecretStr

from latentwire import file_watcher
from service.errors import StartupRefused
from service.middleware.api_keys import open_keys, read_keys, role_of
from service.settings import Settings

FIRST, SECOND, THIRD = "first-key-0123456789", "second-key-0123456789/+==", "third.key~0123456789"


def test_keys_are_read_with_their_roles_past_comments_and_blanks() -> None:
    keys = read_keys(f"# ours\n\n  {FIRST}  # phone\nsender:{SECOND} receiver:{THIRD}\n", "there")
    assert [role_of(key.encode(), keys) for key in (FIRST, SECOND, THIRD)] == ["both", "sender", "receiver"]
    for other in (b"", FIRST[:-1].encode(), FIRST.encode() + b"0", f"sender:{SECOND}".encode(), b"\xff" * 300):
        assert role_of(other, keys) is None


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "holds no key"),
        (f" \n# {FIRST}\n", "holds no key"),
        ("short", "key 1 in there is invalid"),
        (f"{FIRST} {'x' * 19}", "key 2 in there is invalid"),
        (f"relay:{FIRST}", "key 1 in there is invalid"),
        (f"sender: {FIRST}", "key 1 in there is invalid"),
        (f"{FIRST}\nsender:{FIRST}", "key 2 in there is a duplicate"),
        ("ä" * 30, "key 1 in there is invalid"),
        ("x" * 257, "key 1 in there is invalid"),
        ("\n".join(f"{FIRST}{number}" for number in range(101)), "holds 101 keys; 100 are allowed"),
    ],
)
def test_an_invalid_list_is_refused_without_showing_a_key(text: str, says: str) -> None:
    with pytest.raises(StartupRefused) as caught:
        read_keys(text, "there")
    assert says in str(caught.value)
    assert FIRST not in str(caught.value)


def test_keys_are_read_again_when_their_file_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_watcher, "CHECK_EVERY_S", 0.0)
    path = tmp_path / "keys"
    path.write_text(FIRST)
    current = open_keys(Settings(api_keys_file=path))
    assert current is not None
    assert role_of(FIRST.encode(), current()) == "both"
    path.write_text(f"sender:{SECOND}\n")
    assert role_of(FIRST.encode(), current()) is None
    assert role_of(SECOND.encode(), current()) == "sender"


def test_the_last_good_keys_stay_when_the_file_goes_bad(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(file_watcher, "CHECK_EVERY_S", 0.0)
    path = tmp_path / "keys"
    path.write_text(FIRST)
    current = open_keys(Settings(api_keys_file=path))
    assert current is not None
    path.write_text("a bad secret")
    assert role_of(FIRST.encode(), current()) == "both"
    assert "key 1 in the key file" in caplog.text
    assert "the keys from before stay in use" in caplog.text
    assert "secret" not in caplog.text


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
    assert role_of(SECOND.encode(), current()) == "sender"
    assert FIRST not in repr(settings) + str(settings.model_dump())
    with pytest.raises(StartupRefused, match="choose one"):
        open_keys(Settings(api_keys_file=tmp_path / "keys"))
    # An empty variable is refused before: tests/service/test_settings.py.
    with pytest.raises(StartupRefused, match="the setting api_keys holds no key"):
        open_keys(Settings(api_keys=SecretStr("")))
