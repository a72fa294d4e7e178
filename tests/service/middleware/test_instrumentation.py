import json
import logging
import logging.config
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from service.observability.logs import JsonFormatter
from tests.service.client import Client

ROOT = Path(__file__).parents[3]


def test_a_sane_request_id_comes_back(client: Client) -> None:
    answer = client.get("/livez", headers={"X-Request-Id": "order-7:part_2.b"})
    assert answer.headers["x-request-id"] == "order-7:part_2.b"


@pytest.mark.parametrize("given", ["", "two words", "a" * 129, 'x"y', "-", "né"])
def test_another_request_id_is_made_anew(client: Client, given: str) -> None:
    answer = client.get("/livez", headers={"X-Request-Id": given.encode("latin-1")})
    assert re.fullmatch("[0-9a-f]{16}", answer.headers["x-request-id"])


def test_errors_have_a_request_id(client: Client) -> None:
    ids = [client.get("/nowhere").headers["x-request-id"], client.encode(b"").headers["x-request-id"]]
    assert len(set(ids)) == 2


def test_a_fault_has_a_request_id_and_is_counted(
    start: Callable[..., Client], png: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = start()
    monkeypatch.setattr("service.api.encode.read_single_file", None)
    answer = client.encode(png, "multipart/form-data; boundary=b")
    assert answer.status_code == 500
    assert answer.headers["x-request-id"]
    text = client.get("/metrics").text
    labels = 'method="POST",outcome="internal-error",route="/encode",status="500"'
    assert f"latentwire_http_requests_total{{{labels}}} 1.0" in text


def test_a_json_line_tells_where_it_went_wrong() -> None:
    try:
        int("a fault")
    except ValueError:
        record = logging.LogRecord("a.b", logging.ERROR, "", 0, "it %s", ("failed",), sys.exc_info())
    line = JsonFormatter().format(record)
    assert "\n" not in line
    content = json.loads(line)
    assert (content["level"], content["logger"], content["message"]) == ("error", "a.b", "it failed")
    assert content["traceback"].endswith("base 10: 'a fault'")


def test_every_line_of_a_server_is_json(models_dir: Path, png: bytes) -> None:
    command = [sys.executable, "-m", "service", "--port", "0", "--models-dir", str(models_dir)]
    command += ["--default-model", "tiny", "--log-format", "json"]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert process.stdout
    try:
        greeting = process.stdout.readline()
        found = re.search(r"(http://\S+) ", greeting)
        assert found, greeting
        address = found[1]
        headers = {"X-Request-Id": "mine", "Authorization": "Bearer sesame"}
        answer = httpx.post(f"{address}/encode?fit=pad", content=png, headers=headers)
        httpx.post(f"{address}/encode?model=hush", content=png)
        httpx.get(f"{address}/secret-path?key=hush")
    finally:
        process.terminate()
        rest, _ = process.communicate(timeout=30)
    assert not re.search("sesame|hush|secret-path|fit=pad", rest)
    lines = [json.loads(line) for line in (greeting + rest).splitlines()]
    assert all({"time", "level", "logger", "message"} <= set(line) for line in lines)
    first, second, third = (line for line in lines if line["message"] == "request")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00", first["time"])
    assert first["request_id"] == "mine"
    assert (first["level"], first["method"], first["route"], first["status"]) == ("info", "POST", "/encode", 200)
    assert (first["outcome"], first["bytes_in"], first["bytes_out"]) == ("ok", len(png), len(answer.content))
    assert first["model"] == answer.headers["latentwire-model"]
    assert first["duration_ms"] > 0
    assert (second["status"], second["outcome"], second["model"]) == (404, "unknown-model", None)
    assert (third["route"], third["outcome"]) == ("other", "not-found")
