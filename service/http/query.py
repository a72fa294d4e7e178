"""The query string of a request -> its parameters, each at most once and none unknown."""

from collections.abc import Collection
from urllib.parse import parse_qsl

from starlette.requests import Request

from latentwire.options import FRAMINGS, Framing
from service.errors import InvalidParameter


def read_query(request: Request, known: Collection[str]) -> dict[str, str]:
    """Return the query parameters of a request by name; raise as `parse_query` does."""
    return parse_query(request.scope["query_string"], known)


def parse_query(raw: bytes, known: Collection[str]) -> dict[str, str]:
    """Return the parameters of a query string by name.

    Raises:
        InvalidParameter: one that is not in `known`, or that is given twice.
    """
    if not raw:
        return {}
    try:
        pairs = parse_qsl(raw.decode("latin-1"), keep_blank_values=True, max_num_fields=16)
    except ValueError as error:
        raise InvalidParameter("the query has more than 16 parameters") from error
    parameters: dict[str, str] = {}
    for name, value in pairs:
        if name not in known:
            raise InvalidParameter(f"this route has no parameter '{name[:64]}'; it has {', '.join(sorted(known))}")
        if name in parameters:
            raise InvalidParameter(f"the parameter '{name}' is given twice")
        parameters[name] = value
    return parameters


def read_framing(value: str) -> Framing:
    """Return `full` or `raw`.

    Raises:
        InvalidParameter: it is neither.
    """
    if value not in FRAMINGS:
        raise InvalidParameter(f"framing takes full or raw, not '{value[:64]}'")
    return value
