"""What the Dockerfile and the compose file promise and can be told without building them; see `make image-check`."""

import re
from typing import Any

import pytest
import yaml

from tests.contract.goldens import REPOSITORY

COMPOSE: dict[str, Any] = yaml.safe_load((REPOSITORY / "docker-compose.yml").read_text(encoding="utf-8"))
DOCKERFILE = (REPOSITORY / "Dockerfile").read_text(encoding="utf-8")

each_service = pytest.mark.parametrize("name", sorted(COMPOSE["services"]))


@each_service
def test_each_container_is_bounded_and_without_rights(name: str) -> None:
    service = COMPOSE["services"][name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["mem_limit"]
    assert service["cpus"]
    assert service["pids_limit"]


@each_service
def test_each_container_is_a_target_of_the_dockerfile(name: str) -> None:
    target = COMPOSE["services"][name]["build"]["target"]
    assert re.search(rf"^FROM base AS {target}$", DOCKERFILE, flags=re.MULTILINE)


def test_the_whole_service_runs_by_default_and_the_halves_by_profile() -> None:
    profiles = {name: service.get("profiles") for name, service in COMPOSE["services"].items()}
    assert profiles == {"latentwire": None, "sender": ["split"], "receiver": ["split"]}


def test_images_do_not_run_as_root_and_watch_their_health() -> None:
    assert re.search(r"^USER (?!0|root)", DOCKERFILE, flags=re.MULTILINE)
    assert "HEALTHCHECK" in DOCKERFILE
