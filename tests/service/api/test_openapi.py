import re
from collections.abc import Callable
from typing import Any

import pytest

from latentwire.problems import ALL_PROBLEMS, PROBLEM_MEDIA_TYPE
from tests.service.client import Client

PROTOCOL = {
    *("/v2", "/v2/health/live", "/v2/health/ready"),
    *(f"/v2/models/{{name}}{rest}" for rest in ("", "/ready", "/infer")),
}
SHARED = {"/models", "/models/{name}", "/livez", "/readyz", "/metrics", *PROTOCOL}
ROUTES = {
    "sender": {"/encode", "/encode/batch", "/compare", *SHARED},
    "receiver": {"/decode", "/decode/batch", *SHARED},
    "both": {"/encode", "/encode/batch", "/decode", "/decode/batch", "/compare", *SHARED},
}


def document_of(client: Client) -> dict[str, Any]:
    document: dict[str, Any] = client.get("/openapi.json").json()
    return document


@pytest.mark.parametrize("role", ROUTES)
def test_the_document_lists_the_routes_of_the_role(start: Callable[..., Client], role: str) -> None:
    document = document_of(start(role=role))
    assert set(document["paths"]) == ROUTES[role]
    assert f"`{role}`" in document["info"]["description"]


def test_every_problem_in_the_document_is_of_the_table(client: Client) -> None:
    document = document_of(client)
    known = {problem.code: problem for problem in ALL_PROBLEMS}
    for path in document["paths"].values():
        for operation in path.values():
            for status, answer in operation["responses"].items():
                if status == "200":
                    continue
                content = answer["content"][PROBLEM_MEDIA_TYPE]
                assert content["schema"] == {"$ref": "#/components/schemas/Problem"}
                for code, example in content["examples"].items():
                    assert int(status) == known[code].status == example["value"]["status"]
    assert document["components"]["schemas"]["Problem"]["properties"]["code"]["enum"] == sorted(known)


def test_every_reference_in_the_document_leads_somewhere(client: Client) -> None:
    document = document_of(client)

    def check(node: object) -> None:
        if isinstance(node, dict):
            if "$ref" in node:
                kind, name = node["$ref"].removeprefix("#/components/").split("/")
                assert name in document["components"][kind]
            for child in node.values():
                check(child)
        elif isinstance(node, list):
            for child in node:
                check(child)

    check(document)


def test_bodies_and_answers_have_every_type_with_an_example_for_json(client: Client) -> None:
    paths = document_of(client)["paths"]
    encode, decode = paths["/encode"]["post"], paths["/decode"]["post"]
    assert {"image/png", "image/jpeg", "multipart/form-data"} < set(encode["requestBody"]["content"])
    assert set(encode["responses"]["200"]["content"]) == {"application/json", "application/octet-stream"}
    assert set(decode["requestBody"]["content"]) == {"application/octet-stream", "application/json"}
    assert set(decode["responses"]["200"]["content"]) == {
        "image/png",
        "image/webp",
        "application/x-npy",
        "application/json",
    }
    assert "example" in encode["responses"]["200"]["content"]["application/json"]
    assert "examples" in decode["requestBody"]["content"]["application/json"]


def test_the_docs_page_brings_all_that_it_loads(client: Client) -> None:
    response = client.get("/docs")
    assert response.status_code == 200
    loaded = [*re.findall(r'(?:src|href)="([^"]+)"', response.text), "openapi.json"]
    assert any(address.endswith("swagger-ui-bundle.js") for address in loaded)
    for address in loaded:
        # Relative, so that the page works behind any path prefix.
        assert not re.match("[a-z]+:|/", address)
        assert client.get(f"/{address}").status_code == 200
