from pathlib import Path

import pytest

from training.errors import InvalidRecipe
from training.recipe import Recipe, choices, load_recipe, make_recipe, recipe_names


def test_every_recipe_of_the_project_loads_and_is_named_after_its_file() -> None:
    names = recipe_names()
    assert {"synthetic-tiny", "mnist-dense-10", "mnist-conv-10"} <= set(names)
    for name in names:
        recipe = load_recipe(name)
        assert recipe.name == name
        assert recipe.description.endswith(".")


def test_a_recipe_is_the_same_after_it_was_written_and_read(tmp_path: Path) -> None:
    recipe = make_recipe(
        {
            "name": "odd",
            "description": 'quotes " and \\ and é\nand a second line',
            "layers": (3, 2, 1),
            "decoder_layers": (),
            "learning_rate": 1e-7,
            "channels_last": True,
        }
    )
    path = tmp_path / "recipe.toml"
    path.write_text(recipe.to_toml(), encoding="utf-8")
    assert load_recipe(str(path)) == recipe


def test_a_recipe_file_without_a_name_is_named_after_itself(tmp_path: Path) -> None:
    (tmp_path / "my-own.toml").write_text("epochs = 3\n")
    assert load_recipe(str(tmp_path / "my-own.toml")).name == "my-own"


def test_words_of_the_command_line_override_fields() -> None:
    recipe = load_recipe(
        "synthetic-tiny", {"epochs": "2", "layers": "64, 32", "learning_rate": "1e-3", "channels_last": "true"}
    )
    assert (recipe.epochs, recipe.layers, recipe.learning_rate, recipe.channels_last) == (2, (64, 32), 0.001, True)
    assert load_recipe("synthetic-tiny", {"layers": ""}).layers == ()


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"epochz": 3}, ["epochz", "did you mean 'epochs'"]),
        ({"epochs": 0}, ["'epochs' is 0", "greater than or equal to 1"]),
        ({"epochs": "many"}, ["'epochs' is 'many'", "valid integer"]),
        ({"learning_rate": float("nan")}, ["'learning_rate'"]),
        ({"layers": "64,x"}, ["'layers' is '64,x'"]),
        ({"layers": (64, 0)}, ["layers holds a size below 1"]),
        ({"encoder_blocks": (1, 1)}, ["'encoder_blocks'"]),
        ({"encoder_blocks": (1, -1, 1)}, ["encoder_blocks holds a negative number"]),
        ({"architecture": "convolution"}, ["'architecture' is 'convolution'", "'dense' or 'conv'"]),
        ({"code_size": 0}, ["'code_size' is 0"]),
        ({"validation_images": 0}, ["'validation_images' is 0"]),
        ({"ema_decay": 1}, ["'ema_decay' is 1"]),
        ({"schedule": "one-cycle", "warmup": 0}, ["contradicts itself", "warmup"]),
        ({"name": "Not A Name"}, ["'name' is 'Not A Name'"]),
    ],
)
def test_a_wrong_field_is_told_in_one_sentence_that_names_it(fields: dict[str, object], words: list[str]) -> None:
    with pytest.raises(InvalidRecipe) as caught:
        make_recipe({"name": "a", **fields})
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message


def test_a_recipe_without_a_name_is_refused() -> None:
    with pytest.raises(InvalidRecipe, match="'name' is missing"):
        make_recipe({})


def test_an_unknown_recipe_is_answered_with_the_closest_one() -> None:
    with pytest.raises(InvalidRecipe, match="did you mean 'mnist-conv-10'"):
        load_recipe("mnist-conf-10")


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"epochs = ", "not valid TOML"), (b"\xff\xfe", "cannot be read"), (b"#" * 100_000, "no recipe needs")],
)
def test_a_file_that_is_not_a_recipe_is_refused(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "a.toml"
    path.write_bytes(content)
    with pytest.raises(InvalidRecipe, match=words):
        load_recipe(str(path))


def test_a_missing_recipe_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidRecipe, match="cannot be read"):
        load_recipe(str(tmp_path / "none.toml"))


def test_every_field_says_what_it_is() -> None:
    assert all(field.description for field in Recipe.model_fields.values())
    assert choices("fit") == ("strict", "resize", "pad")
    assert choices("epochs") == ()
