"""Fixtures that more than one room's tests use."""

import os
from pathlib import Path

import pytest
from hypothesis import settings

from tests.tiny_model import publish_guarded_model, publish_tiny_model

# How long an example takes is the machine's business.
settings.register_profile("any-machine", deadline=None)
settings.load_profile("any-machine")

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a tiny published model, both halves, in a models folder of its own. Not to be written to."""
    root = tmp_path_factory.mktemp("tiny")
    return publish_tiny_model(root / "models", root / "scratch")


@pytest.fixture(scope="session")
def guarded_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a tiny published model with a guard, in a models folder of its own. Not to be written to."""
    root = tmp_path_factory.mktemp("guarded")
    return publish_guarded_model(root / "models", root / "scratch")


@pytest.fixture(scope="session")
def mnist_root() -> Path:
    """The data folder that holds `mnist/`; tests that ask for it are skipped where there is none."""
    default = REPOSITORY.parent / "shared" / "data"
    root = Path(os.environ.get("LATENTWIRE_DATA", default))
    if not (root / "mnist").is_dir():
        pytest.skip(f"no MNIST in {root}: set LATENTWIRE_DATA to a folder that holds mnist/")
    return root
