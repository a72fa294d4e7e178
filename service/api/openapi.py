"""What the OpenAPI document says beyond the routes themselves: the introduction and what several routes share."""

import base64
from collections.abc import Iterable
from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from latentwire.format.bitstream import write_bitstream
from service.errors import Forbidden, Unauthenticated
from service.http.problems import ALL_PROBLEMS, document_problems
from service.middleware.auth import open_paths
from service.settings import Settings

PROBLEM_SCHEMA: dict[str, Any] = {
    "title": "Problem",
    "description": "An error, as RFC 9457 has it. `code` is stable, `detail` is a sentence for people.",
    "type": "object",
    "required": ["type", "title", "status", "detail", "code"],
    "properties": {
        "type": {"type": "string", "format": "uri"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "code": {"type": "string", "enum": sorted({problem.code for problem in ALL_PROBLEMS})},
    },
}
EXAMPLE_MODEL_ID = "9d0c6b7d5f0a3b0f3a0e2f0f4f6f5b1c8c2d6e7f8091a2b3c4d5e6f708192a3b"
EXAMPLE_BITSTREAM = write_bitstream(b"\x1a\x20", bytes.fromhex(EXAMPLE_MODEL_ID[:8]))
EXAMPLE_BITSTREAM_BASE64 = base64.b64encode(EXAMPLE_BITSTREAM).decode()
BINARY: dict[str, Any] = {"schema": {"type": "string", "format": "binary"}}
MODEL_HEADER: dict[str, Any] = {
    "Latentwire-Model": {"schema": {"type": "string"}, "description": "`name@model_id` of the model used"}
}
MODEL_PARAMETER: dict[str, Any] = {
    "name": "model",
    "in": "query",
    "schema": {"type": "string"},
    "description": "Name of the model; without it, the default model.",
}

_SCHEMA_REFERENCE = "#/components/schemas/{model}"
_TASKS = {
    "both": "encodes images and decodes codes",
    "sender": "encodes images; a receiver decodes their codes",
    "receiver": "decodes codes that a sender has made",
}


def document_json(answer: type[BaseModel]) -> dict[int | str, dict[str, Any]]:
    """Describe a JSON answer for FastAPI's `responses`; its schema is one of those that `describe` is given.

    As a `response_model`, FastAPI would have it checked each time, and import all of pydantic's version 1 at the start.
    """
    schema = {"$ref": _SCHEMA_REFERENCE.format(model=answer.__name__)}
    return {200: {"description": "Successful Response", "content": {"application/json": {"schema": schema}}}}


def describe(
    app: FastAPI, settings: Settings, answers: Iterable[type[BaseModel]], bodies: Iterable[type[BaseModel]]
) -> None:
    """Give `app` an introduction, and its OpenAPI document the schemas of answers, bodies and errors."""
    app.summary = "Images to codes of a few bytes, and back."
    app.description = (
        f"This process is of the role `{settings.role}`: it {_TASKS[settings.role]}.\n\n"
        "Every error is an `application/problem+json` document with a stable `code`."
    )
    generate = app.openapi

    def openapi() -> dict[str, Any]:
        document = generate()
        schemas = document.setdefault("components", {}).setdefault("schemas", {})
        _, definitions = models_json_schema(
            [*((answer, "serialization") for answer in answers), *((body, "validation") for body in bodies)],
            ref_template=_SCHEMA_REFERENCE,
        )
        schemas |= {**definitions["$defs"], "Problem": PROBLEM_SCHEMA}
        if settings.asks_for_keys:
            _describe_keys(document, settings)
        return document

    app.openapi = openapi  # type: ignore[method-assign]


def _describe_keys(document: dict[str, Any], settings: Settings) -> None:
    scheme = {"type": "http", "scheme": "bearer", "description": "One of the keys that this service was started with."}
    document["components"]["securitySchemes"] = {"key": scheme}
    for path, operations in document["paths"].items():
        if path not in open_paths(settings):
            for operation in operations.values():
                operation["security"] = [{"key": []}]
                operation["responses"] |= document_problems([Unauthenticated, Forbidden])
