"""The OpenAPI document of one role: the files of `schemas/`, with what other parts of the service define.

These are the problems, the schemas of pydantic models, and authentication.
"""

from functools import lru_cache
from http import HTTPStatus
from pathlib import Path
from typing import Any

import yaml
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue, models_json_schema
from pydantic_core.core_schema import LiteralSchema

from latentwire.errors import Forbidden, Unauthenticated
from latentwire.format.code_json import CodeJson
from latentwire.model.any_size_card import AnySizeCard
from latentwire.model.card import ModelCard
from latentwire.problems import ALL_PROBLEMS, PROBLEM_MEDIA_TYPE, PROBLEMS
from service.middleware.auth import open_paths
from service.settings import Settings

SCHEMAS = Path(__file__).parent / "schemas"
_TASKS = {
    "both": "encodes images and decodes codes",
    "sender": "encodes images; a receiver decodes their codes",
    "receiver": "decodes codes that a sender has made",
}
_AUTH_PROBLEMS = [PROBLEMS[Unauthenticated].code, PROBLEMS[Forbidden].code]


class _Schemas(GenerateJsonSchema):
    def literal_schema(self, schema: LiteralSchema) -> JsonSchemaValue:
        # openapi-python-client makes invalid Python of a number that is a `const`.
        described = super().literal_schema(schema)
        return {**described, "enum": [described.pop("const")]} if "const" in described else described


@lru_cache(maxsize=1)
def openapi_document(settings: Settings, version: str) -> dict[str, Any]:
    """Return the OpenAPI document of a process with these settings."""
    document: dict[str, Any] = yaml.safe_load((SCHEMAS / "components.yaml").read_bytes())
    document["info"] |= {
        "version": version,
        "description": f"This process has the role `{settings.role}`: it {_TASKS[settings.role]}.\n\n"
        "Every error is an `application/problem+json` document with a stable `code`.",
    }
    _, definitions = models_json_schema(
        [(ModelCard, "serialization"), (AnySizeCard, "serialization"), (CodeJson, "validation")],
        ref_template="#/components/schemas/{model}",
        schema_generator=_Schemas,
    )
    schemas = document["components"]["schemas"]
    schemas |= definitions["$defs"]
    schemas["Problem"]["properties"]["code"]["enum"] = sorted({problem.code for problem in ALL_PROBLEMS})
    compares = settings.encodes and settings.page
    served = {"encode": settings.encodes, "decode": settings.decodes, "compare": compares}
    document["paths"] = {}
    for name in (*served, "encode_batch", "decode_batch", "models", "health", "inference_protocol"):
        if served.get(name.removesuffix("_batch"), True):
            document["paths"] |= yaml.safe_load((SCHEMAS / f"{name}.yaml").read_bytes())["paths"]
    for path, operations in document["paths"].items():
        for operation in operations.values():
            codes = operation.pop("x-problems", [])
            if settings.requires_keys and path not in open_paths(settings):
                operation["security"] = [{"key": []}]
                codes = [*codes, *_AUTH_PROBLEMS]
            operation["responses"] |= _problem_responses(codes)
    if settings.requires_keys:
        document["components"]["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
    return document


def _problem_responses(codes: list[str]) -> dict[str, Any]:
    """Describe problems: one response per status, one example per code."""
    known = {problem.code: problem for problem in ALL_PROBLEMS}
    responses: dict[str, Any] = {}
    for problem in (known[code] for code in codes):
        content = {"schema": {"$ref": "#/components/schemas/Problem"}, "examples": {}}
        empty = {"description": HTTPStatus(problem.status).phrase, "content": {PROBLEM_MEDIA_TYPE: content}}
        response = responses.setdefault(str(problem.status), empty)
        value = problem.document("A sentence that says what is wrong with this request.")
        response["content"][PROBLEM_MEDIA_TYPE]["examples"][problem.code] = {"summary": problem.title, "value": value}
    return responses
