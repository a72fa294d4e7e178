"""The table of public names in docs/API.md has exactly the names that the service has."""

import re
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from prometheus_client.parser import text_string_to_metric_families

from latentwire.problems import ALL_PROBLEMS, PROBLEMS
from latentwire.timing import StageTimer
from service.api import decode, decode_batch, encode_options
from service.api.inference_protocol import JSON_LENGTH
from service.api.openapi import openapi_document
from service.api.pages import compare
from service.http.headers import ContentHeaders
from service.http.problems import response_to
from service.middleware.cross_origin import RESPONSE_HEADERS
from service.middleware.instrumentation import REQUEST_ID_HEADER
from service.observability.metrics import Metrics
from service.observability.request_record import RequestRecord
from service.settings import Settings
from tests.contract.goldens import REPOSITORY
from tests.service.client import OCTETS, Client

PAGE = (REPOSITORY / "docs" / "API.md").read_text(encoding="utf-8")
ROW = re.compile(
    r"^\| (?P<kind>[a-zA-Z ]+) \| `(?P<name>[^`]+)` \| (?P<where>[^|]*)\| (?P<meaning>.*) \|$", re.MULTILINE
)
# Headers of every HTTP response, and of redirects and files.
STANDARD_HEADERS = {"content-type", "content-length", "location"}

Names = dict[str, set[str]]


class Row(NamedTuple):
    """One row of the table; `where` are the names in code type, or the words, of its third column."""

    kind: str
    name: str
    where: set[str]
    meaning: str


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    table = PAGE.partition("\n## Public names\n")[2].partition("\n## ")[0]
    found = []
    for match in ROW.finditer(table):
        where = set(re.findall("`([^`]+)`", match["where"])) or set(match["where"].split())
        found.append(Row(match["kind"], match["name"], where, match["meaning"]))
    assert len(found) == table.count("\n| ") - 1, "a row has another form"
    assert len({(row.kind, row.name) for row in found}) == len(found), "a name stands twice in the table"
    return found


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return openapi_document(Settings(models_dir=Path()), "1")


def named(rows: list[Row], kind: str) -> Names:
    return {row.name: row.where for row in rows if row.kind == kind}


def operations(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, of_path in document["paths"].items():
        for operation in of_path.values():
            yield path, operation


def resolve(document: dict[str, Any], node: dict[str, Any]) -> dict[str, Any]:
    while "$ref" in node:
        _, kind, name = node["$ref"].removeprefix("#/").split("/")
        node = document["components"][kind][name]
    return node


def test_every_kind_of_name_is_known(rows: list[Row]) -> None:
    assert {row.kind for row in rows} == {
        "query parameter",
        "JSON field",
        "problem field",
        "request header",
        "response header",
        "problem code",
        "metric",
    }


def test_query_parameters(rows: list[Row], document: dict[str, Any]) -> None:
    found: Names = defaultdict(set)
    for path, operation in operations(document):
        for parameter in (resolve(document, given) for given in operation.get("parameters", [])):
            if parameter["in"] == "query":
                found[parameter["name"]].add(path)
    assert named(rows, "query parameter") == found
    taken = {
        "/encode": encode_options.PARAMETERS,
        "/decode": decode.PARAMETERS,
        "/encode/batch": encode_options.BATCH_PARAMETERS,
        "/decode/batch": decode_batch.PARAMETERS,
        "/compare": compare.PARAMETERS,
    }
    assert {path: {name for name in found if path in found[name]} for path in taken} == taken


def test_json_fields(rows: list[Row], document: dict[str, Any]) -> None:
    found: Names = defaultdict(set)

    def collect(path: str, schema: dict[str, Any]) -> None:
        if schema.get("$ref") == "#/components/schemas/ModelCard":
            return  # its schema is in the OpenAPI document
        schema = resolve(document, schema)
        for name, child in schema.get("properties", {}).items():
            found[name].add(path)
            collect(path, child)
        for child in (*schema.get("allOf", ()), schema.get("items", {}), schema.get("additionalProperties", {})):
            if isinstance(child, dict) and child:
                collect(path, child)

    for path, operation in operations(document):
        for body in (operation.get("requestBody", {}), operation["responses"]["200"]):
            collect(path, body.get("content", {}).get("application/json", {}).get("schema", {}))
    assert named(rows, "JSON field") == found
    assert set(named(rows, "problem field")) == set(document["components"]["schemas"]["Problem"]["properties"])


def test_response_headers(rows: list[Row], start: Callable[..., Client], png: bytes) -> None:
    def known_problem(kind: type[Exception]) -> set[str]:
        return set(response_to(kind.__new__(kind), "/").headers)

    client, keyed, shared = start(), start(api_keys="0123456789abcdefghij"), start(cors_origins="https://a.example")
    responses = [
        client.encode(png, accept=OCTETS),
        *(client.get(path) for path in ("/", "/docs", "/encode", "/metrics", "/nowhere")),
        keyed.get("/models"),
        shared.get("/models", headers={"Origin": "https://a.example"}),
    ]
    found = {name for response in responses for name in response.headers}
    found |= {name for kind in PROBLEMS for name in known_problem(kind)}
    # These are sent where they have something to say.
    found |= {"latentwire-doubt", "latentwire-fitted", "latentwire-missing", JSON_LENGTH.decode()}
    # The server sends this one, so that the responses to what it refuses itself also have it.
    found |= {"x-content-type-options"}
    assert {name.lower() for name in named(rows, "response header")} == found - STANDARD_HEADERS


def test_headers_of_the_document(rows: list[Row], document: dict[str, Any]) -> None:
    found = {name for _, operation in operations(document) for name in operation["responses"]["200"].get("headers", {})}
    assert {name for name in named(rows, "response header") if name.startswith(("Latentwire-", "Inference-"))} == found
    # Pages of other origins may read them, too.
    assert found <= set(RESPONSE_HEADERS)


def test_request_headers(rows: list[Row]) -> None:
    content = {name.replace("_", "-") for name in ContentHeaders._fields}
    expected = {*content, JSON_LENGTH.decode(), REQUEST_ID_HEADER.decode(), "authorization", "traceparent"}
    assert {name.lower() for name in named(rows, "request header")} == expected


def test_problem_codes(rows: list[Row]) -> None:
    assert named(rows, "problem code") == {problem.code: {str(problem.status)} for problem in ALL_PROBLEMS}
    titles = {problem.code: problem.title for problem in ALL_PROBLEMS}
    for row in rows:
        if row.kind == "problem code":
            assert row.meaning.startswith(f"{titles[row.name]}."), row.name


def test_metrics_and_labels(rows: list[Row], models_dir: Path) -> None:
    metrics = Metrics("1", "both")
    record = RequestRecord("id", "POST")
    record.route, record.model, record.ood, record.code_bytes = "/encode", "tiny@0", "warned", 1
    record.timer.record("infer", 0, 1)
    metrics.count(record)
    metrics.observe_micro_batch("/encode", 1, StageTimer())
    metrics.count_closed_connection("evicted")
    metrics.watch(lambda: {"requests_in_flight": 1})
    metrics.set_models(cards_of(models_dir), "tiny")
    metrics.show_ready_models(["tiny"], {})
    found: Names = {}
    for family in text_string_to_metric_families(metrics.text("")[0].decode()):
        if not family.name.startswith("process_"):
            name = f"{family.name}_total" if family.type == "counter" else family.name
            assert family.samples, f"{name} was not counted by this test"
            found[name] = {label for sample in family.samples for label in sample.labels} - {"le"}
    assert named(rows, "metric") == found


def cards_of(models_dir: Path) -> list[Any]:
    from latentwire.model.card import load_card

    return [load_card(folder) for folder in models_dir.iterdir()]
