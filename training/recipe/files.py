"""TOML files and options -> recipes.

A file has the fields of `Recipe`, and those of its architecture in the table `[architecture]`. Options override both by
their names alone, as the command line gives them: `architecture` is a kind, a list may be one string with commas.
"""

import difflib
import re
import tomllib
import unicodedata
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from training.errors import InvalidRecipe
from training.recipe.architecture import KINDS
from training.recipe.recipe import Recipe

RECIPES_DIR = Path(__file__).parents[1] / "recipes"
MAX_RECIPE_BYTES = 1 << 16

# Fields that a recipe has for its own data set alone.
_OF_THE_DATASET = ("name", "description", "licence", "training_images", "validation_images")

_ARCHITECTURE_FIELDS = {name for kind in KINDS.values() for name in kind.model_fields} - {"kind"}


def recipe_names() -> list[str]:
    """Return the names of the recipes that come with the project, sorted."""
    return sorted(path.stem for path in RECIPES_DIR.glob("*.toml"))


def load_recipe(name_or_path: str, options: Mapping[str, object] | None = None) -> Recipe:
    """Load a recipe by its name, or by the path of a `.toml` file, and override some of its fields.

    A file without a `name` is named after itself. With another `dataset` among the options, what the file says of its
    own data set does not hold: the recipe is named after the data set, without a description, and with the default
    numbers of images.

    Raises:
        InvalidRecipe: no such recipe, not TOML, a field that does not exist, or a value that it does not take.
    """
    path = Path(name_or_path) if name_or_path.endswith(".toml") else RECIPES_DIR / f"{name_or_path}.toml"
    try:
        if path.stat().st_size > MAX_RECIPE_BYTES:
            raise InvalidRecipe(f"{path} is over {MAX_RECIPE_BYTES} bytes, which no recipe needs")
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        if path.parent == RECIPES_DIR:
            hint = _did_you_mean(name_or_path, recipe_names())
            raise InvalidRecipe(f"there is no recipe '{name_or_path}'{hint}") from error
        raise InvalidRecipe(f"the recipe {path} cannot be read") from error
    try:
        fields = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InvalidRecipe(f"the recipe {path} is not valid TOML: {error}") from error
    options = options or {}
    other = options.get("dataset", fields.get("dataset", _OWN_DATASET))
    if other != fields.get("dataset", _OWN_DATASET):
        fields = {name: value for name, value in fields.items() if name not in _OF_THE_DATASET}
        fields["name"] = model_name(str(other))
    return make_recipe({"name": path.stem, **fields}, options)


def model_name(dataset: str) -> str:
    """Return the name of a model of a data set, given by its name or path."""
    last = Path(dataset).resolve().name.removesuffix(".npz")
    plain = unicodedata.normalize("NFKD", last).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9._]+", "-", plain).strip("-._")[:64] or "own-images"


def make_recipe(fields: Mapping[str, Any], options: Mapping[str, object] | None = None) -> Recipe:
    """Check the fields of a recipe, with those of its architecture in a mapping of their own, and override some.

    Another architecture than that of `fields` keeps those of its fields that it has, too.

    Raises:
        InvalidRecipe: a field that does not exist, or a value that it does not take.
    """
    merged = _override(fields, options or {})
    try:
        return Recipe.model_validate(merged)
    except ValidationError as error:
        raise InvalidRecipe(_sentence(error.errors(include_url=False)[0], merged)) from error


_OWN_DATASET = Recipe.model_fields["dataset"].default


def _override(fields: Mapping[str, Any], options: Mapping[str, object]) -> dict[str, Any]:
    merged, architecture = dict(fields), fields.get("architecture", {"kind": "dense"})
    if not isinstance(architecture, Mapping):
        return merged
    kind = options.get("architecture", architecture.get("kind", "dense"))
    if kind != architecture.get("kind", kind) and kind in KINDS:
        architecture = {name: value for name, value in architecture.items() if name in KINDS[str(kind)].model_fields}
    own = {name: value for name, value in options.items() if name in _ARCHITECTURE_FIELDS}
    merged |= {name: value for name, value in options.items() if name not in own}
    merged["architecture"] = {**architecture, **own, "kind": kind}
    return merged


def _sentence(error: ErrorDetails, fields: Mapping[str, Any]) -> str:
    """Say which field is wrong, and what it should be."""
    location, message = error["loc"], error["msg"].removeprefix("Value error, ")
    kind = str(location[1]) if location[:1] == ("architecture",) and len(location) > 1 else None
    if error["type"] == "value_error":
        return f"the recipe contradicts itself: {message}"
    if error["type"] == "union_tag_invalid":
        return f"the recipe's field 'architecture' is '{fields['architecture']['kind']}'; there are {', '.join(KINDS)}"
    field = str(location[2 if kind else 0])
    if error["type"] == "extra_forbidden":
        if kind is None:
            return (
                f"a recipe has no field '{field}'{_did_you_mean(field, {*Recipe.model_fields, *_ARCHITECTURE_FIELDS})}"
            )
        others = [other for other, model in KINDS.items() if field in model.model_fields]
        hint = (
            f"; it is a field of {' and '.join(others)}" if others else _did_you_mean(field, KINDS[kind].model_fields)
        )
        return f"the architecture {kind} has no field '{field}'{hint}"
    given = (fields["architecture"] if kind else fields).get(field)
    value = "missing" if error["type"] == "missing" else repr(given)
    return f"the recipe's field '{field}' is {value}: {message[0].lower()}{message[1:]}"


def _did_you_mean(word: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(word, known := sorted(known), n=1)
    return f"; did you mean '{close[0]}'?" if close else f"; there are {', '.join(known)}"
