"""What Dockerfile and compose file promise, as far as no build is needed; `make image-check` does the rest."""

import re
from typing import Any

import pytest
import yaml

from service.server.shutdown import DUMP_S, HUNG_S
from tests.contract.goldens import REPOSITORY

COMPOSE: dict[str, Any] = yaml.safe_load((REPOSITORY / "docker-compose.yml").read_text(encoding="utf-8"))
DOCKERFILE = (REPOSITORY / "Dockerfile").read_text(encoding="utf-8")
# The instructions of each stage, by the stage's name.
STAGES = {
    stage[0]: stage[1]
    for stage in re.findall(r"^FROM \S+ AS (\w+)\n(.*?)(?=^FROM |\Z)", DOCKERFILE, re.DOTALL | re.MULTILINE)
}

each_service = pytest.mark.parametrize("name", sorted(COMPOSE["services"]))


@each_service
def test_each_container_has_limits_and_no_rights(name: str) -> None:
    service = COMPOSE["services"][name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["mem_limit"]
    assert service["cpus"]
    assert service["pids_limit"]


@each_service
def test_each_container_is_a_target_of_the_dockerfile(name: str) -> None:
    assert COMPOSE["services"][name]["build"]["target"] in STAGES


def test_the_whole_service_runs_by_default_and_the_halves_by_profile() -> None:
    profiles = {name: service.get("profiles") for name, service in COMPOSE["services"].items()}
    halves = {name: ["split"] for name in ("sender", "sender-edge", "receiver", "receiver-edge")}
    assert profiles == {"edge": None, "latentwire": None, **halves}


def test_only_edges_are_reached_from_outside_and_each_leads_to_a_service() -> None:
    for service in COMPOSE["services"].values():
        if service["build"]["target"] == "edge":
            (upstream,) = service["depends_on"]
            assert service["environment"]["LATENTWIRE_EDGE_UPSTREAMS"] == f"{upstream}:8000"
            assert all(port.startswith("127.0.0.1:") for port in service["ports"])
        else:
            assert "ports" not in service
            # Uvicorn takes the client's address from the edge.
            assert service["environment"]["FORWARDED_ALLOW_IPS"] == "*"


@each_service
def test_a_container_is_killed_only_after_it_should_have_ended_by_itself(name: str) -> None:
    service = COMPOSE["services"][name]
    timeout_s = int(service["environment"]["LATENTWIRE_GRACEFUL_SHUTDOWN_TIMEOUT_S"])
    assert int(service["stop_grace_period"].removesuffix("s")) > timeout_s + HUNG_S + DUMP_S


@pytest.mark.parametrize("stage", ["base", "edge"])
def test_images_do_not_run_as_root_and_check_their_health(stage: str) -> None:
    assert re.search(r"^USER (?!0|root)", STAGES[stage], flags=re.MULTILINE)
    assert re.search(r"^HEALTHCHECK ", STAGES[stage], flags=re.MULTILINE)
