from pathlib import Path

import pytest

from latentwire.errors import InvalidGraph
from service.inference.registry import ModelFiles, open_registry
from service.settings import Settings


@pytest.fixture
def settings(own_models_dir: Path) -> Settings:
    return Settings(models_dir=own_models_dir)


def test_files_are_read_before_they_are_asked_for(settings: Settings) -> None:
    with ModelFiles(settings) as files:
        files.begin(lambda: None)()  # comes after them
        for path in settings.models_dir.glob("*/*.onnx"):
            path.unlink()
        registry = open_registry(settings, files)
    assert registry.check_golden() == []


def test_a_damaged_file_that_was_read_ahead_is_refused(settings: Settings) -> None:
    path = settings.models_dir / "tiny" / "decoder.onnx"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with ModelFiles(settings) as files, pytest.raises(InvalidGraph, match=r"decoder.onnx of model 'tiny'.*SHA-256"):
        open_registry(settings, files)


def test_files_are_read_when_they_are_asked_for_if_not_before(settings: Settings) -> None:
    files = ModelFiles(settings)
    with files:
        pass
    assert files.begin(lambda: 7)() == 7
    assert open_registry(settings, files).check_golden() == []
