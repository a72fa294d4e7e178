from pathlib import Path

import pytest

from training.errors import CannotWrite, InvalidRun
from training.recipe import Recipe
from training.runs import RunFolder, create_run


def test_a_run_is_named_after_its_recipe_and_the_time(
    tmp_path: Path, tiny: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run = create_run(tiny)
    assert run.path.parent == Path("runs")
    assert run.path.name.startswith("synthetic-tiny-2")
    assert run.recipe() == tiny


def test_a_folder_that_holds_something_is_not_overwritten_and_the_way_on_is_one_that_works(
    tmp_path: Path, tiny: Recipe, finished_run: RunFolder
) -> None:
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "a.txt").write_text("mine")
    with pytest.raises(InvalidRun, match=r"holds other files; choose another folder with --run"):
        create_run(tiny, tmp_path / "notes")
    create_run(tiny, tmp_path / "run")
    with pytest.raises(InvalidRun, match="a run that never began; remove it, or choose another folder"):
        create_run(tiny, tmp_path / "run")
    with pytest.raises(InvalidRun, match=r"go on with its run by `python -m training resume .*`, or choose another"):
        create_run(tiny, finished_run.path)


def test_a_command_that_a_message_gives_can_be_typed_whatever_the_folder_is_called(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "my run")
    with pytest.raises(InvalidRun, match=r"`python -m training export '.*/my run'`"):
        run.read_json(run.export_file, "export")


def test_what_has_not_begun_is_taken_back_and_what_has_stays(
    tmp_path: Path, tiny: Recipe, finished_run: RunFolder
) -> None:
    run = create_run(tiny, tmp_path / "run")
    (run.path / "notes.txt").write_text("mine")
    run.discard()
    assert [path.name for path in run.path.iterdir()] == ["notes.txt"]
    create_run(tiny, tmp_path / "other").discard()
    assert not (tmp_path / "other").exists()
    finished_run.discard()
    assert finished_run.recipe() == tiny


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path, tiny: Recipe) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(CannotWrite, match="cannot be made"):
        create_run(tiny, tmp_path / "file" / "run")


def test_a_folder_that_is_not_a_run_is_told(tmp_path: Path) -> None:
    with pytest.raises(InvalidRun, match=r"not the folder of a run: it has no recipe\.toml"):
        RunFolder(tmp_path).recipe()


def test_metrics_are_read_up_to_a_line_that_a_crash_cut_short(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    assert run.metrics() == []
    for epoch in (1, 2, 3):
        run.append_metrics({"epoch": epoch})
    with run.metrics_file.open("a") as file:
        file.write('{"epoch": 4, "lo')
    assert [metrics["epoch"] for metrics in run.metrics()] == [1, 2, 3]
    run.drop_metrics_after(2)
    run.append_metrics({"epoch": 3})
    assert [metrics["epoch"] for metrics in run.metrics()] == [1, 2, 3]


@pytest.mark.parametrize("content", [None, "", "{", "[1]"])
def test_a_missing_or_damaged_file_is_told_with_the_command_that_makes_it(tmp_path: Path, content: str | None) -> None:
    run = RunFolder(tmp_path)
    if content is not None:
        run.export_file.write_text(content)
    with pytest.raises(InvalidRun, match=f"`python -m training export {tmp_path}`"):
        run.read_json(run.export_file, "export")
