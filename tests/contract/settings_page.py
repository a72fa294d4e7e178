"""`python -m tests.contract.settings_page` writes docs/SETTINGS.md from the fields of `service.settings.Settings`."""

from types import NoneType, UnionType
from typing import Literal, get_args, get_origin

from pydantic.fields import FieldInfo

from service.settings import Settings
from tests.contract.goldens import REPOSITORY

PAGE = REPOSITORY / "docs" / "SETTINGS.md"
COMMAND = "python -m tests.contract.settings_page"
HEAD = f"""# Settings

`python -m service` takes each setting as a flag or as an environment variable; a flag overrides its variable. A switch
has two flags, such as `--access-log` and `--no-access-log`; as a variable it takes `true` and `false`.

An empty variable counts as not set, as compose makes one of each that its file names and nobody has set; only those of
keys and TLS must not be empty. A variable `LATENTWIRE_…` that is no setting is named at the start. The port is that of
`--port`, else `LATENTWIRE_PORT`, else `PORT`.

[RUNNING.md](RUNNING.md) explains how to choose them.
`{COMMAND}` generates this page from `service/settings.py`.
"""
TABLE_HEAD = """
| flag | variable | values | default | meaning |
|---|---|---|---|---|
"""
# The first setting of each topic.
TOPICS = {
    "role": "Models",
    "host": "Network",
    "max_body_bytes": "Single requests",
    "max_concurrent_batches": "Batches",
    "workers": "Processors",
    "api_keys_file": "Access",
    "drain_period_s": "Operation",
}


def settings_page() -> str:
    """Return the text of the page."""
    page = HEAD
    for name, field in Settings.model_fields.items():
        if name in TOPICS:
            page += f"\n## {TOPICS[name]}\n{TABLE_HEAD}"
        page += _row(name, field)
    return page


def _row(name: str, field: FieldInfo) -> str:
    if field.default_factory is not None:
        shown = "computed"
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
