"""Each role's OpenAPI document against the real server."""

import json
import re
from pathlib import Path

import pytest

from latentwire.encoder import Encoder
from tests.service import conformance
from tests.service.api.test_openapi import ROUTES
from tests.service.launching import LaunchServer, Server
from tests.tiny_model import strange_pixels

FEW = ("--max-examples", "12", "--seed", "1")
BOTH, SENDER = "both-0123456789abcdef", "sender-0123456789abcdef"


@pytest.fixture(scope="module")
def bodies(models_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bodies")
    conformance.write_bodies(folder, Encoder.open(models_dir / "tiny"), strange_pixels(3))
    return folder


def compare(server: Server, bodies: Path, scratch: Path, key: str | None = None) -> conformance.Finding:
    address = str(server.client.base_url)
    found = conformance.finish(conformance.start(address, bodies, ("tiny", "other"), scratch, *FEW, key=key), scratch)
    assert found.code == 0, found.words
    return found


def answered_well(server: Server, key: str | None = None) -> set[str]:
    headers = {} if key is None else {"Authorization": f"Bearer {key}"}
    metrics = server.client.get("/metrics", headers=headers).text
    counted = re.findall(r"^latentwire_http_requests_total\{(.*?)\} ", metrics, flags=re.MULTILINE)
    return {re.sub(r'.*route="(.*?)".*', r"\1", labels) for labels in counted if 'outcome="ok"' in labels}


# Both roles in one are compared with a key for one of them, so that the other's routes refuse it.
@pytest.mark.parametrize("role", ["sender", "receiver"])
def test_a_role_keeps_to_its_document(
    launch_server: LaunchServer, models_dir: Path, bodies: Path, tmp_path: Path, role: str
) -> None:
    server = launch_server(models_dir, "--default-model", "tiny", "--role", role)
    found = compare(server, bodies, tmp_path)
    assert found.routes == len(ROUTES[role])
    assert found.requests > 100
    # Else the document would only have been compared with refusals.
    assert answered_well(server) >= ROUTES[role]


def test_a_service_with_keys_keeps_to_its_document(
    launch_server: LaunchServer, models_dir: Path, bodies: Path, tmp_path: Path
) -> None:
    (tmp_path / "keys").write_text(f"{BOTH}\nsender:{SENDER}\n")
    server = launch_server(models_dir, "--default-model", "tiny", "--api-keys-file", str(tmp_path / "keys"))
    found = compare(server, bodies, tmp_path, SENDER)
    assert found.routes == len(ROUTES["both"])
    assert found.requests > 100
    assert answered_well(server, BOTH) >= ROUTES["both"] - {"/decode", "/decode/batch"}


def test_an_undocumented_status_is_found_out(
    launch_server: LaunchServer, models_dir: Path, bodies: Path, tmp_path: Path
) -> None:
    server = launch_server(models_dir, "--default-model", "tiny")
    document = server.client.get("/openapi.json").json()
    document["paths"] = {"/models/{name}": document["paths"]["/models/{name}"]}
    del document["paths"]["/models/{name}"]["get"]["responses"]["404"]
    (tmp_path / "document.json").write_text(json.dumps(document), encoding="utf-8")
    address = str(server.client.base_url)
    process = conformance.start(address, bodies, ("tiny",), tmp_path, *FEW, document=tmp_path / "document.json")
    found = conformance.finish(process, tmp_path)
    assert found.code == 1
    assert "Undocumented status code" in found.words
