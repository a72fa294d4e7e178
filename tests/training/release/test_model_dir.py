from pathlib import Path

import pytest

from latentwire.model.card import DECODER_FILE, ENCODER_FILE, load_card
from training.errors import CannotWrite, InvalidRun
from training.release.model_dir import check_target, write_model


def _write(published: Path, models: Path, *, replace: bool = False) -> Path:
    return write_model(
        models, load_card(published), published / ENCODER_FILE, published / DECODER_FILE, replace=replace
    )


def test_a_model_is_replaced_only_where_that_is_asked_for(published: Path, tmp_path: Path) -> None:
    folder = _write(published, tmp_path)
    (folder / "README.md").write_text("old")
    with pytest.raises(InvalidRun, match="already holds a model"):
        _write(published, tmp_path)
    assert (folder / "README.md").read_text() == "old"
    _write(published, tmp_path, replace=True)
    assert not (folder / "README.md").exists()
    assert list(tmp_path.iterdir()) == [folder]


@pytest.mark.parametrize("what", ["file", "folder", "link", "dangling link"])
def test_what_is_no_model_is_never_replaced(published: Path, tmp_path: Path, what: str) -> None:
    target = tmp_path / "models" / published.name
    target.parent.mkdir()
    if what == "file":
        target.write_text("mine")
    elif what == "folder":
        target.mkdir()
    else:
        target.symlink_to(published if what == "link" else tmp_path / "nowhere")
    with pytest.raises(InvalidRun, match="is never replaced; choose another --name"):
        _write(published, tmp_path / "models", replace=True)
    assert list(target.parent.iterdir()) == [target]


def test_a_model_that_cannot_be_written_leaves_the_old_one(
    published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = _write(published, tmp_path)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    move = Path.replace

    def full(self: Path, target: Path) -> Path:
        if self.name == "new":
            raise OSError(28, "No space left on device")
        return move(self, target)

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(CannotWrite, match="No space left on device; what was there before is intact"):
        _write(published, tmp_path, replace=True)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert list(tmp_path.iterdir()) == [folder]


@pytest.mark.parametrize("below", ["", "models", "models/more"])
def test_a_file_is_no_folder_of_models(tmp_path: Path, below: str) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(CannotWrite, match=r"file is not a folder; name another --models-dir"):
        check_target(tmp_path / "file" / below, "mine")
