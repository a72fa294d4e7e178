"""Clients that generators make of the service's own description work, in Python without any settings."""

import base64
import importlib
import io
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.service.launching import LaunchServer, Server
from tests.tiny_model import CODE_SIZE, SHAPE

PACKAGE = "generated_latentwire_client"
TYPESCRIPT = Path(__file__).with_name("typescript")
NPM = shutil.which("npm")


@pytest.fixture(scope="module")
def server(launch_server: LaunchServer, models_dir: Path) -> Server:
    return launch_server(models_dir, "--default-model", "tiny")


@pytest.fixture(scope="module")
def generated(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of the generated package, from which it can be imported."""
    folder = tmp_path_factory.mktemp("generated")
    (folder / "openapi.json").write_text(server.client.get("/openapi.json").text, encoding="utf-8")
    # Generated code is formatted by default, with programs that the path need not name.
    (folder / "config.json").write_text(json.dumps({"post_hooks": []}), encoding="utf-8")
    subprocess.run(
        [
            *(sys.executable, "-m", "openapi_python_client", "generate", "--path", "openapi.json"),
            *("--config", "config.json", "--meta", "none", "--output-path", PACKAGE),
        ],
        cwd=folder,
        check=True,
        capture_output=True,
    )
    sys.path.insert(0, str(folder))
    yield folder
    sys.path.remove(str(folder))


def part(name: str) -> Any:
    return importlib.import_module(f"{PACKAGE}{name}")


@pytest.fixture
def client(server: Server, generated: Path) -> Iterator[Any]:
    with part("").Client(str(server.client.base_url), headers={"Accept": "application/json"}) as client:
        yield client


def file_of(data: bytes) -> Any:
    return part(".types").File(payload=io.BytesIO(data))


def test_an_image_is_encoded_and_its_code_is_decoded(client: Any, png: bytes) -> None:
    encoded = part(".api.codec.encode_image").sync(client=client, body=file_of(png))
    assert (encoded.model, encoded.sent_as) == ("tiny", "code")
    for code in (
        part(".models").CodeJson(bitstream=encoded.bitstream),
        file_of(base64.b64decode(encoded.bitstream)),
    ):
        decoded = part(".api.codec.decode_image").sync(client=client, body=code)
        assert base64.b64decode(decoded.image).startswith(b"\x89PNG")


def test_a_batch_is_encoded(client: Any, server: Server) -> None:
    shape = server.client.get("/models").json()["models"][-1]["shape"]
    array = io.BytesIO()
    np.save(array, np.zeros((3, *shape), dtype=np.uint8))
    encoded = part(".api.codec.encode_batch").sync(client=client, body=file_of(array.getvalue()))
    assert len(encoded.images) == 3


def test_models_are_listed_and_problems_are_objects(client: Any) -> None:
    listed = part(".api.models.list_models").sync(client=client)
    assert [model.name for model in listed.models] == ["other", "tiny"]
    card = part(".api.models.get_model").sync("tiny", client=client)
    assert card.model_id == listed.models[1].model_id
    problem = part(".api.models.get_model").sync("nobody", client=client)
    assert (problem.status, problem.code) == (404, "unknown-model")


def test_a_graph_is_run(client: Any) -> None:
    models = part(".models")
    datatype = models.InputTensorDatatype.FP32
    code = models.InputTensor(name="y", shape=[1, CODE_SIZE], datatype=datatype, data=[0.0] * CODE_SIZE)
    infer = part(".api.inference.infer").sync
    (output,) = infer("tiny.decoder", client=client, body=models.InferenceRequest(inputs=[code])).outputs
    assert (output.name, len(output.data)) == ("x_hat", SHAPE.height * SHAPE.width)
    assert infer("tiny", client=client, body=models.InferenceRequest(inputs=[code])).error.startswith("no graph")


@pytest.mark.skipif(NPM is None, reason="npm is not installed")
def test_a_typescript_client_compiles_and_works(server: Server, png: bytes, tmp_path: Path) -> None:
    shutil.copytree(TYPESCRIPT, tmp_path, dirs_exist_ok=True)
    (tmp_path / "openapi.json").write_text(server.client.get("/openapi.json").text, encoding="utf-8")
    install = [str(NPM), "ci", "--loglevel=error", "--ignore-scripts", "--prefer-offline", "--fetch-retries=1"]
    installed = subprocess.run(install, cwd=tmp_path, capture_output=True, text=True)
    if installed.returncode:
        pytest.skip(f"npm cannot install the packages: {installed.stderr[-300:]}")
    built = subprocess.run([str(NPM), "run", "--silent", "build"], cwd=tmp_path, capture_output=True, text=True)
    assert built.returncode == 0, built.stdout + built.stderr
    address, image = str(server.client.base_url).rstrip("/"), base64.b64encode(png).decode()
    command = ["node", "client.js", address, image]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    result = json.loads(ran.stdout)
    assert result["model"] == "tiny"
    assert result["header"].startswith("tiny@")
    assert bytes(result["decoded"]) == b"\x89PNG"
    assert result["problem"] == "unknown-model"
