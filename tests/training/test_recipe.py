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
            "decoder_layers": (1, 9, 3),
            "stop_on": "validation",
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


def test_a_recipe_that_an_earlier_version_recorded_is_still_read(tmp_path: Path) -> None:
    (tmp_path / "run.toml").write_text("epochs = 3\nbits = 6\n")
    assert load_recipe(str(tmp_path / "run.toml")).epochs == 3


def test_words_of_the_command_line_override_fields() -> None:
    recipe = load_recipe(
        "synthetic-tiny", {"epochs": "2", "layers": "784, 32", "learning_rate": "1e-3", "channels_last": "true"}
    )
    assert (recipe.epochs, recipe.layers, recipe.learning_rate, recipe.channels_last) == (2, (784, 32), 0.001, True)
    assert load_recipe("mnist-conv-10", {"layers": ""}).layers == ()


def test_layers_and_the_codes_size_follow_one_another() -> None:
    longer = load_recipe("synthetic-tiny", {"code_size": "32"})
    assert (longer.layers, longer.code_size) == ((784, 128, 32), 32)
    other = load_recipe("synthetic-tiny", {"layers": "784,5"})
    assert (other.layers, other.code_size) == ((784, 5), 5)
    lopsided = load_recipe("000-dense-3", {"code_size": 7})
    assert (lopsided.layers, lopsided.decoder_layers) == ((784, 784, 64, 32, 7), (7, 32, 64, 784))
    assert make_recipe({"name": "a", "layers": [784, 9]}).code_size == 9
    assert make_recipe({"name": "a", "code_size": 9}).layers == (784, 512, 128, 9)
    convolutional = load_recipe("synthetic-tiny", {"architecture": "conv"})
    assert (convolutional.layers, convolutional.code_size) == ((), 10)


def test_a_convolutional_run_from_when_layers_were_hidden_ones_only_is_still_read() -> None:
    assert make_recipe({"name": "a", "architecture": "conv", "layers": [512, 128], "code_size": 10}).layers == ()


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"epochz": 3}, ["epochz", "did you mean 'epochs'"]),
        ({"epochs": 0}, ["'epochs' is 0", "greater than or equal to 1"]),
        ({"epochs": "many"}, ["'epochs' is 'many'", "valid integer"]),
        ({"learning_rate": float("nan")}, ["'learning_rate'"]),
        ({"layers": "64,x"}, ["'layers' is '64,x'"]),
        ({"layers": (64, 0)}, ["'code_size' is 0", "greater than or equal to 1"]),
        ({"layers": (784, 0, 10)}, ["layers holds a size that is not from 1 to 65536"]),
        ({"layers": (784, 10**9, 10)}, ["layers holds a size that is not from 1 to 65536"]),
        ({"layers": ""}, ["layers needs the image's number of values first and the code's size last"]),
        ({"layers": "784,10", "code_size": 3}, ["layers end with 10, and code_size is 3"]),
        ({"decoder_layers": (10, 50)}, ["decoder_layers lead from 10 to 50", "code's 10 to the image's 784"]),
        ({"decoder_layers": (3, 784)}, ["decoder_layers lead from 3 to 784", "code's 10 to the image's 784"]),
        ({"tied": True, "decoder_layers": (10, 784)}, ["tied needs a decoder that mirrors the encoder"]),
        ({"tied": True, "architecture": "conv"}, ["tied is of the architecture dense", "convolutions"]),
        ({"tied": True, "architecture": "conv-plain"}, ["tied is of the architecture dense", "convolutions"]),
        ({"architecture": "conv", "layers": (784, 10)}, ["layers and decoder_layers are of the architecture dense"]),
        ({"architecture": "conv-plain", "decoder_widths": (4,)}, ["does not give the image's size"]),
        ({"architecture": "conv-plain", "conv_widths": ()}, ["at least one block"]),
        ({"architecture": "conv-plain", "kernel_size": 4}, ["kernel_size must be odd"]),
        ({"architecture": "conv-plain", "conv_code": "map", "dense_layers": (9,)}, ["conv_code map"]),
        ({"architecture": "conv-plain", "conv_code": "map", "variational": True}, ["conv_code map"]),
        ({"loss": "bce", "output_activation": "none"}, ["bce", "only the output_activation sigmoid"]),
        ({"loss": "bce", "output_activation": "relu"}, ["bce", "only the output_activation sigmoid"]),
        ({"loss": "bec"}, ["'loss' is 'bec'", "'mse', 'l1' or 'bce'"]),
        ({"rate_lambda": -1}, ["'rate_lambda' is -1", "greater than or equal to 0"]),
        ({"rate_lambda": 10, "variational": True}, ["rate_lambda counts the bits of rounded codes", "take one"]),
        ({"rate_lambda": 10, "architecture": "codebook", "layers": ()}, ["a codebook", "trained for a rate_lambda"]),
        ({"rate_lambda": 10, "loss": "l1"}, ["the loss must be mse, not l1"]),
        ({"variational": True, "code_activation": "relu"}, ["their code_activation must be none"]),
        ({"noise": 1}, ["'noise' is 1", "less than 1"]),
        ({"noise_std": -1}, ["'noise_std' is -1"]),
        ({"patience": 0, "stop_on": "training"}, ["'patience' is 0"]),
        ({"encoder_blocks": (1, 1)}, ["'encoder_blocks'"]),
        ({"encoder_blocks": (1, -1, 1)}, ["encoder_blocks holds a negative number"]),
        ({"architecture": "convolution"}, ["'architecture' is 'convolution'", "'conv-plain' or 'codebook'"]),
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
