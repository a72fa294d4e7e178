"""The files that run checks elsewhere (hosted CI, pre-commit, dependabot) name what exists here."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.contract.goldens import REPOSITORY

YAML_FILES = sorted([*REPOSITORY.glob(".github/**/*.yml"), REPOSITORY / ".pre-commit-config.yaml"])
WORKFLOW = REPOSITORY / ".github" / "workflows" / "ci.yml"


def _load(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def _make_targets() -> set[str]:
    return set(re.findall(r"^([a-z-]+):", (REPOSITORY / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))


@pytest.mark.parametrize("path", YAML_FILES, ids=lambda path: path.name)
def test_yaml_files_hold_a_mapping(path: Path) -> None:
    assert isinstance(_load(path), dict)


def test_the_workflow_runs_targets_and_scripts_that_exist() -> None:
    commands = "\n".join(step.get("run", "") for job in _load(WORKFLOW)["jobs"].values() for step in job["steps"])
    targets = set(re.findall(r"\bmake ([a-z-]+)", commands))
    scripts = re.findall(r"(?<!\S)\.ci/[a-z-]+", commands)
    assert {"check", "coverage", "test-lowest", "image-check", "docs"} <= targets
    assert targets <= _make_targets()
    assert scripts
    assert all((REPOSITORY / script).is_file() for script in scripts)


def test_the_workflow_tests_the_lowest_and_the_highest_python_that_is_announced() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    announced = [text.rsplit(" ", 1)[1] for text in project["classifiers"] if "Python :: 3." in text]
    tested = _load(WORKFLOW)["jobs"]["tests"]["strategy"]["matrix"]["python"]
    assert tested == [announced[0], announced[-1]]
    assert project["requires-python"] == f">={tested[0]}"


def test_commit_hooks_are_the_tools_of_make_check() -> None:
    checks = (REPOSITORY / "Makefile").read_text(encoding="utf-8").split("\ncheck:")[1].split("\n\n")[0]
    tools = set(re.findall(r"\$\(DEV\)/bin/([a-z-]+)", checks))
    hooks = [
        hook for repository in _load(REPOSITORY / ".pre-commit-config.yaml")["repos"] for hook in repository["hooks"]
    ]
    assert {hook["entry"].split()[0].removeprefix(".venv/bin/") for hook in hooks} == tools


def test_coverage_has_a_floor() -> None:
    report = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["coverage"]["report"]
    assert report["fail_under"] >= 90
