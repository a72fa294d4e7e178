"""Untrusted JSON -> a dictionary.

The number of lists, objects and elements is limited before the JSON is parsed, so that neither deep nesting nor a mass
of small elements costs much.
"""

import json
import re
from typing import Any, NoReturn

from pydantic import ValidationError

from latentwire.errors import InvalidJson

# Longer JSON must be ASCII: one character outside the Basic Multilingual Plane makes Python use four bytes for each
# character of a text.
MAX_WIDE_BYTES = 1 << 16
_WIDE = re.compile(rb"[\x80-\xff]|\\u[dD]")


def parse_json_object(body: bytes, *, max_lists_and_objects: int, max_commas: int) -> dict[str, Any]:
    """Parse a JSON object.

    Raises:
        InvalidJson: not UTF-8, not JSON, not an object, more lists and objects or commas than allowed, a name twice, a
            number that JSON does not have (NaN, Infinity), or long and not ASCII.
    """
    if len(body) > MAX_WIDE_BYTES and _WIDE.search(body):
        raise InvalidJson("the JSON is long and has characters beyond ASCII, which nothing here needs")
    if body.count(b"[") + body.count(b"{") > max_lists_and_objects:
        raise InvalidJson(f"the JSON has more than the {max_lists_and_objects:,} lists and objects that are allowed")
    if body.count(b",") > max_commas:
        raise InvalidJson(f"the JSON has more than the {max_commas:,} commas that are allowed")
    try:
        content = json.loads(body.decode(), object_pairs_hook=_without_duplicates, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:  # the former is also of what is not UTF-8, and of too long an integer
        raise InvalidJson("the body is not valid JSON, or lists in it are nested too deeply") from error
    if not isinstance(content, dict):
        raise InvalidJson('the body is not a JSON object, which begins with {"')
    return content


def first_fault(error: ValidationError) -> str:
    """Return which field of an object is wrong first, and why, without its value."""
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    return f"{'.'.join(str(part) for part in first['loc'])[:64]}: {first['msg']}"


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) != len(pairs):
        raise InvalidJson("the JSON names a field twice")
    return content


def _refuse_constant(name: str) -> NoReturn:
    raise InvalidJson(f"the JSON has {name}, which is not a number; send finite numbers only")
