import re
from pathlib import Path

from training.provenance import describe_environment, git_revision


def test_the_environment_names_versions_but_neither_machine_nor_user() -> None:
    environment = describe_environment()
    assert {"torch", "numpy", "onnxruntime"} <= set(environment["packages"])
    assert str(Path.home()) not in str(environment)


def test_the_revision_is_a_whole_commit_or_nothing() -> None:
    revision = git_revision()
    assert revision is None or re.fullmatch(r"[0-9a-f]{40}(-dirty)?", revision)
