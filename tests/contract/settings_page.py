"""`python -m tests.contract.settings_page` writes docs/SETTINGS.md from the fields of the settings."""

from types import NoneType, UnionType
from typing import Literal, get_args, get_origin

from pydantic.fields import FieldInfo

from service.settings import Settings
from tests.contract.goldens import REPOSITORY

PAGE = REPOSITORY / "docs" / "SETTINGS.md"
COMMAND = "python -m tests.contract.settings_page"
HEAD = f"""# Settings

`python -m service` takes each setting as a flag or as an environment variable; a flag goes before a variable. A switch
has two flags, `--access-log` and `--no-access-log`, and takes `true` and `false` as a variable.
[RUNNING.md](RUNNING.md) tells what some of them are for.
`{COMMAND}` wrote this page from `service/settings.py`.

| flag | variable | takes | default | meaning |
|---|---|---|---|---|
"""


def settings_page() -> str:
    """Return the text of the page."""
    return HEAD + "".join(_row(name, field) for name, field in Settings.model_fields.items())


def _row(name: str, field: FieldInfo) -> str:
    if field.default_factory is not None:
        shown = "see there"
    elif _is_number(field.default):
        shown = f"`{field.default}`"
    else:
        shown = {True: "on", False: "off", None: "–"}.get(field.default) or f"`{field.default}`"
    flag = name.replace("_", "-")
    return f"| `--{flag}` | `LATENTWIRE_{name.upper()}` | {_takes(field)} | {shown} | {field.description} |\n"


def _is_number(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _takes(field: FieldInfo) -> str:
    kinds = [
        kind
        for kind in (get_args(field.annotation) if _is_union(field) else [field.annotation])
        if kind is not NoneType
    ]
    if get_origin(kinds[0]) is Literal:
        return ", ".join(f"`{choice}`" for choice in get_args(kinds[0]))
    if kinds[0] is int:
        bounds = {
            name: getattr(bound, name) for bound in field.metadata for name in ("ge", "le") if hasattr(bound, name)
        }
        return f"{bounds['ge']:,} to {bounds['le']:,}"
    return {"bool": "switch", "Path": "path", "str": "text", "SecretStr": "text"}[getattr(kinds[0], "__name__", "")]


def _is_union(field: FieldInfo) -> bool:
    return isinstance(field.annotation, UnionType) or type(None) in get_args(field.annotation)


if __name__ == "__main__":
    PAGE.write_text(settings_page(), encoding="utf-8")
