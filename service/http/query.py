"""The query string of a request -> its parameters, each at most once and none unknown; and their values."""

import re
from collections.abc import Collection
from typing import TypeVar
from urllib.parse import parse_qsl

from latentwire.errors import InvalidParameter

MAX_PARAMETERS = 16

Choice = TypeVar("Choice", bound=str)

_INTEGER = re.compile(r"[0-9]{1,9}")
_NUMBER = re.compile(r"([0-9]{1,9}(\.[0-9]{0,15})?|\.[0-9]{1,15})([eE][-+]?[0-9]{1,2})?")


def parse_query(raw: bytes, known: Collection[str]) -> dict[str, str]:
    """Return the parameters of a query string by name.

    Raises:
        InvalidParameter: a name that is not in `known`, or that occurs twice.
    """
    if not raw:
        return {}
    try:
        pairs = parse_qsl(raw.decode("latin-1"), keep_blank_values=True, max_num_fields=MAX_PARAMETERS)
    except ValueError as error:
        raise InvalidParameter(f"the query has more than {MAX_PARAMETERS} parameters") from error
    parameters: dict[str, str] = {}
    for name, value in pairs:
        if name not in known:
            raise InvalidParameter(f"this route has no parameter '{name[:64]}'; it has {', '.join(sorted(known))}")
        if name in parameters:
            raise InvalidParameter(f"the parameter '{name}' is given twice")
        parameters[name] = value
    return parameters


def parse_choice(name: str, choices: tuple[Choice, ...], value: str) -> Choice:
    """Return the choice that equals `value`.

    Raises:
        InvalidParameter: none does.
    """
    if value not in choices:
        raise InvalidParameter(f"{name} takes {', '.join(choices[:-1])} or {choices[-1]}, not '{value[:64]}'")
    return value


def parse_number(name: str, value: str | None, description: str, maximum: float) -> float | None:
    """Return a number from 0 to `maximum`, or None if the parameter is missing.

    Raises:
        InvalidParameter: the value is not such a number; the message uses `description`.
    """
    if value is not None and not (_NUMBER.fullmatch(value) and float(value) <= maximum):
        raise InvalidParameter(f"{name} takes a number {description}, not '{value[:64]}'")
    return None if value is None else float(value)


def parse_positive_integer(name: str, value: str | None) -> int | None:
    """Return a whole number, or None if the parameter is missing.

    Raises:
        InvalidParameter: the value is not a whole number from 1 to 999,999,999.
    """
    if value is not None and (not _INTEGER.fullmatch(value) or int(value) == 0):
        raise InvalidParameter(f"{name} takes a whole number from 1 to 999999999, not '{value[:64]}'")
    return None if value is None else int(value)
