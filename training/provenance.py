"""Versions, code revision and processor of a run. No host names, users or paths."""

import platform
import shutil
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from latentwire.cpus import usable_cpus

_PACKAGES = ("torch", "numpy", "onnx", "onnxscript", "onnxruntime", "pillow", "pydantic")


def describe_environment() -> dict[str, Any]:
    """Return the content of a run's `environment.json`."""
    return {
        "git_revision": git_revision(),
        "python": platform.python_version(),
        "packages": {name: found for name in _PACKAGES if (found := _version(name))},
        "system": platform.system(),
        "machine": platform.machine(),
        "processors": usable_cpus(),
    }


def git_revision() -> str | None:
    """Return the checked-out commit, with `-dirty` after it if tracked files are changed; None without git."""
    git = shutil.which("git")
    if git is None:
        return None
    command = [git, "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)  # noqa: S603 - no input
    return result.stdout.strip() if result.returncode == 0 else None


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
