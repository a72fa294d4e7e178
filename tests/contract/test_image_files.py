"""What the container images are built from: locked packages and bills of materials."""

import importlib.util
import re
import sys
import tomllib
from pathlib import Path
from types import ModuleType

import pytest
import yaml

from tests.contract.goldens import REPOSITORY

LOCKS = [REPOSITORY / "deploy" / name for name in ("requirements.txt", "build-requirements.txt")]
PIN = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;\\]+)", re.MULTILINE)
EXTRAS = ("service", "signing", "tracing")

STATUS = """\
Package: nginx-light
Status: install ok installed
Architecture: all
Version: 1.22.1-9+deb12u3
Description: small web server
 Package: not-a-field
 .
 Version: 0

Package: libstdc++6
Status: install ok installed
Architecture: amd64
Version: 2:12.2.0-14

Package: removed
Status: deinstall ok config-files
Architecture: amd64
Version: 1

"""


def _pins(path: Path) -> dict[str, str]:
    text = path.read_text(encoding="utf-8")
    return {re.sub(r"[._]", "-", name).lower(): version for name, version in PIN.findall(text)}


@pytest.fixture(scope="module")
def sbom() -> ModuleType:
    spec = importlib.util.spec_from_file_location("sbom", REPOSITORY / "deploy" / "sbom.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("path", LOCKS, ids=lambda path: path.name)
def test_every_package_of_an_image_has_hashes(path: Path) -> None:
    requirements = path.read_text(encoding="utf-8").replace("\\\n", " ").splitlines()
    packages = [line for line in requirements if line and not line.startswith("#")]
    assert packages
    assert all(re.match(r"\S+==\S+ .*--hash=sha256:[0-9a-f]{64}", line) for line in packages)


def test_images_hold_the_locked_versions_of_what_the_service_needs() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    needed = [*project["dependencies"], *(each for extra in EXTRAS for each in extras[extra])]
    locked, constraints = _pins(LOCKS[0]), _pins(REPOSITORY / "constraints.txt")
    assert {re.split(r"[^a-z0-9-]", each)[0] for each in needed} <= set(locked), "run `make lock-images`"
    assert {name: constraints[name] for name in locked} == locked, "run `make lock-images`"


def test_images_install_nothing_without_a_hash() -> None:
    dockerfile = (REPOSITORY / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
    installs = re.findall(r"pip\b[^&\n]*? install [^&\n]*", dockerfile)
    assert len(installs) == 3
    assert all("--require-hashes" in each or "--no-index" in each for each in installs)


def test_every_stage_starts_from_the_base_image_that_is_given() -> None:
    dockerfile = (REPOSITORY / "Dockerfile").read_text(encoding="utf-8")
    default = re.findall(r"^ARG BASE_IMAGE=(\S+)", dockerfile, re.MULTILINE)
    stages = re.findall(r"^FROM (\S+) AS (\S+)", dockerfile, re.MULTILINE)
    names = {name for _, name in stages}
    assert {origin for origin, _ in stages} - names == {"${BASE_IMAGE}"}
    compose = yaml.safe_load((REPOSITORY / "docker-compose.yml").read_text(encoding="utf-8"))
    builds = [service["build"] for service in compose["services"].values()]
    assert {build["args"]["BASE_IMAGE"] for build in builds} == {f"${{BASE_IMAGE:-{default[0]}}}"}
    assert {build["target"] for build in builds} <= names


def test_a_bill_names_debian_packages_that_are_installed(sbom: ModuleType) -> None:
    assert [(each["name"], each["version"], each["purl"]) for each in sbom.debian_packages(STATUS, "bookworm")] == [
        ("nginx-light", "1.22.1-9+deb12u3", "pkg:deb/debian/nginx-light@1.22.1-9%2Bdeb12u3?arch=all&distro=bookworm"),
        ("libstdc++6", "2:12.2.0-14", "pkg:deb/debian/libstdc%2B%2B6@2%3A12.2.0-14?arch=amd64&distro=bookworm"),
    ]


def test_a_bill_names_models_and_their_files(sbom: ModuleType, tiny_model: Path) -> None:
    [model] = sbom.models(tiny_model.parent)
    assert (model["type"], model["name"]) == ("machine-learning-model", "tiny")
    assert [file["name"] for file in model["components"]] == ["card.json", "decoder.onnx", "encoder.onnx"]
    assert all(re.fullmatch("[0-9a-f]{64}", file["hashes"][0]["content"]) for file in model["components"])


def test_bills_of_several_environments_become_one(sbom: ModuleType) -> None:
    def bill(*names: str) -> dict[str, object]:
        return {
            "bomFormat": "CycloneDX",
            "metadata": {"tools": {}},
            "components": [{"type": "library", "bom-ref": name, "name": name} for name in names],
            "dependencies": [{"ref": name} for name in names],
        }

    other = {"type": "library", "bom-ref": "c", "name": "c"}
    merged = sbom.merge("image", "base:1", [bill("b", "a"), bill("a", "d")], [other])
    python = f"pkg:generic/python@{sys.version.split()[0]}"
    assert [each["bom-ref"] for each in merged["components"]] == ["a", "b", "c", "d", python]
    assert [each["ref"] for each in merged["dependencies"]] == ["a", "b", "d"]
    assert merged["metadata"]["component"]["name"] == "image"
    assert merged == sbom.merge("image", "base:1", [bill("b", "a"), bill("a", "d")], [other])
