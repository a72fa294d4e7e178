"""One training run's every choice: a checked, frozen `Recipe`, read from a TOML file and options.

`architecture` has the fields of each architecture, `recipe` those of a run, `files` reads and overrides both. It
imports no torch, so that commands which only read a recipe start at once.
"""

from training.recipe.architecture import Architecture, Codebook, Conv, ConvPlain, Dense, Layered
from training.recipe.files import load_recipe, make_recipe, model_name, recipe_names
from training.recipe.recipe import Recipe

__all__ = [
    "Architecture",
    "Codebook",
    "Conv",
    "ConvPlain",
    "Dense",
    "Layered",
    "Recipe",
    "load_recipe",
    "make_recipe",
    "model_name",
    "recipe_names",
]
