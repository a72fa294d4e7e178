"""Fixtures of several packages' tests."""

import gc
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

# numpy and torch read these when they are imported. On matrices as small as here, a second thread mostly waits for the
# first, and does so with the processor that another test could use: eigenvectors take ten times as long.
os.environ |= {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}

import pytest
from hypothesis import settings

from tests.tiny_any_size_model import publish_tiny_any_size_model
from tests.tiny_model import publish_guarded_model, publish_tiny_model
from training.data.datasets import default_data_dir

# torch and its exporter make millions of objects, few of them in circles.
gc.set_threshold(50_000)

# The services that tests start see no setting of the shell that runs the tests.
for _name in [name for name in os.environ if name == "PORT" or name.startswith("LATENTWIRE_")]:
    if _name != "LATENTWIRE_DATA":
        del os.environ[_name]

# The duration of an example depends on the machine.
settings.register_profile("any-machine", deadline=None)
settings.load_profile("any-machine")


def pytest_xdist_auto_num_workers() -> int | None:
    """Return what `--numprocesses auto` means: more processes than cores, as many tests wait for servers."""
    if "PYTEST_XDIST_AUTO_NUM_WORKERS" in os.environ:
        return None  # xdist reads it
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, 3 * cores // 2)


def pytest_collection_finish() -> None:
    """Let the garbage collector pass over the modules and tests, which stay."""
    gc.freeze()


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
def any_size_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a tiny published model for images of any size. Not to be written to."""
    root = tmp_path_factory.mktemp("any-size")
    return publish_tiny_any_size_model(root / "models", root / "scratch")


@pytest.fixture(scope="session")
def mnist_root() -> Path:
    """The data folder that holds `mnist/`; tests that need it are skipped without it."""
    root = default_data_dir().absolute()
    if not (root / "mnist").is_dir():
        pytest.skip(f"no MNIST in {root}: set LATENTWIRE_DATA to a folder that holds mnist/")
    return root


@pytest.fixture(scope="session")
def make_certificate(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[Path, Path]]:
    """Make a self-signed certificate of this host and its key: two files with this name, in a folder of their own."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")

    def make(name: str) -> tuple[Path, Path]:
        folder = tmp_path_factory.mktemp("certificate")
        certificate, key = folder / f"{name}.pem", folder / f"{name}-key.pem"
        files = ["-keyout", str(key), "-out", str(certificate)]
        names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
        command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *files, *names]
        subprocess.run(command, check=True, capture_output=True)
        return certificate, key

    return make
