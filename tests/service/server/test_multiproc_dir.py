"""The folder that processes share: locked while anybody has it, removed when nobody has."""

import os
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from service.server.multiproc_dir import PREFIX, shared_folder


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_a_left_folder_is_removed_and_one_in_use_is_not(temporary: Path) -> None:
    left = temporary / f"{PREFIX}left"
    left.mkdir()
    (left / "counter_1.db").write_bytes(b"1")
    with shared_folder() as first, shared_folder() as second:
        assert not left.exists()
        assert {first, second} == set(temporary.iterdir())
    assert not list(temporary.iterdir())


def test_a_folder_stays_while_a_fork_of_its_parent_lives(temporary: Path) -> None:
    code = f"""
import os, sys, tempfile
from service.server.multiproc_dir import shared_folder
tempfile.tempdir = {str(temporary)!r}
shared = shared_folder()
print(shared.__enter__(), flush=True)
if not os.fork():
    sys.stdin.read()
os._exit(0)
"""
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        assert parent.stdin
        assert parent.stdout
        left = Path(parent.stdout.readline().decode().strip())
        parent.wait()
        with shared_folder():
            assert left.is_dir()
        parent.stdin.close()
        parent.stdout.read()  # to its end, which comes with that of the fork
    with shared_folder():
        assert not left.exists()


def test_what_others_have_there_stays(temporary: Path) -> None:
    elsewhere = temporary / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "kept").write_bytes(b"1")
    link, file = temporary / f"{PREFIX}link", temporary / f"{PREFIX}file"
    link.symlink_to(elsewhere)
    file.write_bytes(b"1")
    with shared_folder():
        pass
    assert set(temporary.iterdir()) == {elsewhere, link, file}
    assert (elsewhere / "kept").exists()


def test_the_folder_of_another_user_stays(temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = temporary / f"{PREFIX}other"
    other.mkdir()
    user = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: user + 1)
    with pytest.raises(OSError, match="somebody else"), shared_folder():
        pass
    assert other.exists()


def test_many_that_start_at_once_keep_their_folders() -> None:
    with ExitStack() as stack, ThreadPoolExecutor(16) as threads:
        folders = list(threads.map(lambda _: stack.enter_context(shared_folder()), range(64)))
        assert all(folder.is_dir() for folder in folders)
        assert len(set(folders)) == 64
