"""What a graph says of itself to whoever opens it: value ranges, channel order, data set, licence, checkpoint.

Viewers such as Netron show the documentation strings and the metadata. They are part of the graph's bytes and so of the
model id, which is a hash over both graphs. The id can therefore not stand in a graph; the SHA-256 of the checkpoint,
which both graphs of a model share with its card, tells what belongs together.
"""

import onnx

from latentwire.model.card import ImageShape
from training.data.datasets import public_name
from training.recipe import Recipe

_CHANNELS = {1: "grey", 3: "red, green, blue", 4: "red, green, blue, alpha"}


def annotate(model: onnx.ModelProto, recipe: Recipe, shape: ImageShape, checkpoint_sha256: str) -> None:
    """Write the notes into a graph with the input x and the output y, or the input y and the output x_hat."""
    size = f"float32 (batch, {shape.channels}, {shape.height}, {shape.width})"
    pixels = f"{size}: batch, channels ({_CHANNELS[shape.channels]}), rows from the top, columns from the left"
    values = {
        "x": f"{pixels}; values from 0 (black) to 1 (white), which are levels of 8 bits divided by 255",
        "y": f"float32 (batch, {recipe.code_size}): the code before quantization; card.json has the quantizer",
        "x_hat": f"{pixels}; values about from 0 (black) to 1 (white), to be clipped, multiplied by 255 and rounded",
    }
    for value in (*model.graph.input, *model.graph.output):
        value.doc_string = values[value.name]
    half = "encoder" if model.graph.input[0].name == "x" else "decoder"
    model.doc_string = f"The {half} of an autoencoder for images of {shape}. {recipe.description}".rstrip()
    notes = {
        "model": recipe.name,
        "half": half,
        "input": values[model.graph.input[0].name],
        "output": values[model.graph.output[0].name],
        "channel_order": _CHANNELS[shape.channels],
        "value_range": "0 to 1",
        "licence": recipe.licence,
        "trained_on": public_name(recipe.dataset),
        "checkpoint_sha256": checkpoint_sha256,
    }
    del model.metadata_props[:]
    for key, value in notes.items():
        if value:
            model.metadata_props.add(key=key, value=value)
