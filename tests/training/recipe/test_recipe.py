from pathlib import Path

import pytest

from training.errors import InvalidRecipe
from training.recipe import Codebook, Conv, ConvPlain, Dense, Recipe, load_recipe, make_recipe, recipe_names
from training.recipe.architecture import KINDS


def test_every_recipe_of_the_project_loads_and_is_named_after_its_file() -> None:
    names = recipe_names()
    assert {"synthetic-tiny", "mnist-dense-10", "mnist-conv-10"} <= set(names)
    for name in names:
        recipe = load_recipe(name)
        assert recipe.name == name
        assert recipe.description.endswith(".")


@pytest.mark.parametrize("name", ["002-dense", "mnist-conv-10", "cifar-conv", "mnist-codebook-2"])
def test_a_recipe_is_the_same_after_it_was_written_and_read(tmp_path: Path, name: str) -> None:
    odd = {
        "description": 'quotes " and \\ and é\nand a second line',
        "stop_on": "validation",
        "learning_rate": 1e-7,
        "channels_last": True,
    }
    recipe = load_recipe(name, odd)
    path = tmp_path / "recipe.toml"
    path.write_text(recipe.to_toml(), encoding="utf-8")
    assert load_recipe(str(path)) == recipe
    assert make_recipe(recipe.model_dump(mode="json")) == recipe
    assert make_recipe({"name": "a"}, recipe.options()) == recipe


def test_a_recipe_file_without_a_name_is_named_after_itself(tmp_path: Path) -> None:
    (tmp_path / "my-own.toml").write_text("epochs = 3\n")
    assert load_recipe(str(tmp_path / "my-own.toml")).name == "my-own"


def test_each_architecture_has_its_own_fields() -> None:
    kinds = {name: type(load_recipe(name).architecture) for name in ("002-dense", "mnist-conv-10", "cifar-conv")}
    assert kinds == {"002-dense": Dense, "mnist-conv-10": Conv, "cifar-conv": ConvPlain}
    assert load_recipe("mnist-codebook-3").architecture == Codebook(code_size=3, entries=400)
    assert make_recipe({"name": "a"}).architecture == Dense()


def test_words_of_the_command_line_override_fields() -> None:
    recipe = load_recipe(
        "synthetic-tiny", {"epochs": "2", "layers": "784, 32", "learning_rate": "1e-3", "channels_last": "true"}
    )
    assert (recipe.epochs, recipe.architecture, recipe.learning_rate) == (2, Dense(layers=(784, 32)), 0.001)
    assert recipe.channels_last
    assert recipe.code_size == 32
    assert load_recipe("cifar-conv", {"dense_layers": ""}).architecture == load_recipe("cifar-conv").architecture


def test_another_architecture_keeps_the_fields_that_it_has() -> None:
    conv = load_recipe("004-dense-8", {"architecture": "conv", "code_size": "9"}).architecture
    assert conv == Conv(activation="relu", code_activation="sigmoid", normalisation="none", code_size=9)
    assert load_recipe("mnist-conv-8", {"architecture": "codebook"}).architecture == Codebook(code_size=8)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"epochz": 3}, ["epochz", "did you mean 'epochs'"]),
        ({"epochs": 0}, ["'epochs' is 0", "greater than or equal to 1"]),
        ({"epochs": "many"}, ["'epochs' is 'many'", "valid integer"]),
        ({"learning_rate": float("nan")}, ["'learning_rate'"]),
        ({"layers": "64,x"}, ["'layers' is '64,x'", "valid integer"]),
        ({"layers": (64, 0)}, ["'layers' is (64, 0)", "greater than or equal to 1"]),
        ({"layers": (784, 10**9, 10)}, ["'layers'", "less than or equal to 65536"]),
        ({"layers": ""}, ["layers needs the image's number of values first and the code's size last"]),
        ({"code_size": 3}, ["the architecture dense has no field 'code_size'", "conv and conv-plain and codebook"]),
        ({"decoder_layers": (10, 50)}, ["decoder_layers lead from 10 to 50", "code's 10 to the image's 784"]),
        ({"decoder_layers": (3, 784)}, ["decoder_layers lead from 3 to 784", "code's 10 to the image's 784"]),
        ({"tied": True, "decoder_layers": (10, 784)}, ["tied needs a decoder that mirrors the encoder"]),
        ({"tied": True, "architecture": "conv"}, ["the architecture conv has no field 'tied'; it is a field of dense"]),
        ({"architecture": "conv-plain", "decoder_widths": (4,)}, ["does not give the image's size"]),
        ({"architecture": "conv-plain", "conv_widths": ()}, ["at least one block"]),
        ({"architecture": "conv-plain", "kernel_size": 4}, ["kernel_size must be odd"]),
        ({"architecture": "conv-plain", "conv_code": "map", "dense_layers": (9,)}, ["conv_code map"]),
        ({"architecture": "conv-plain", "conv_code": "map", "variational": True}, ["conv_code map"]),
        ({"architecture": "conv", "hidden": 0}, ["'hidden' is 0"]),
        ({"loss": "bce", "output_activation": "none"}, ["bce", "only the output_activation sigmoid"]),
        ({"loss": "bce", "output_activation": "relu"}, ["bce", "only the output_activation sigmoid"]),
        ({"loss": "bec"}, ["'loss' is 'bec'", "'mse', 'l1' or 'bce'"]),
        ({"rate_lambda": -1}, ["'rate_lambda' is -1", "greater than or equal to 0"]),
        ({"rate_lambda": 10, "variational": True}, ["rate_lambda counts the bits of rounded codes", "choose one"]),
        ({"rate_lambda": 10, "architecture": "codebook"}, ["a codebook", "trained for a rate_lambda"]),
        ({"rate_lambda": 10, "loss": "l1"}, ["the loss must be mse, not l1"]),
        ({"variational": True, "code_activation": "relu"}, ["their code_activation must be none"]),
        ({"noise": 1}, ["'noise' is 1", "less than 1"]),
        ({"noise_std": -1}, ["'noise_std' is -1"]),
        ({"patience": 0, "stop_on": "training"}, ["'patience' is 0"]),
        ({"architecture": "conv", "encoder_blocks": (1, 1)}, ["'encoder_blocks'"]),
        ({"architecture": "conv", "encoder_blocks": (1, -1, 1)}, ["'encoder_blocks'", "greater than or equal to 0"]),
        ({"architecture": "convolution"}, ["'architecture' is 'convolution'", "dense, conv, conv-plain, codebook"]),
        ({"architecture": "conv", "code_size": 0}, ["'code_size' is 0"]),
        ({"validation_images": -1}, ["'validation_images' is -1"]),
        ({"ema_decay": 1}, ["'ema_decay' is 1"]),
        ({"schedule": "one-cycle", "warmup": 0}, ["contradicts itself", "warmup"]),
        ({"name": "Not A Name"}, ["'name' is 'Not A Name'"]),
    ],
)
def test_a_wrong_field_is_told_in_one_sentence_that_names_it(options: dict[str, object], words: list[str]) -> None:
    with pytest.raises(InvalidRecipe) as caught:
        make_recipe({"name": "a"}, options)
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("architecture = 3", "'architecture' is 3"),
        ('architecture = "conv"', "'architecture' is 'conv'"),
        ("[architecture]\nlayers = [784, 10]\nwidth = 3", "the architecture dense has no field 'width'"),
        ("layers = [784, 10]", "a recipe has no field 'layers'"),
    ],
)
def test_a_wrong_table_of_a_file_is_told(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "a.toml"
    path.write_text(text)
    with pytest.raises(InvalidRecipe, match=words):
        load_recipe(str(path))


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
    fields = [*Recipe.model_fields.items(), *(item for kind in KINDS.values() for item in kind.model_fields.items())]
    assert all(field.description for name, field in fields if name != "kind")
