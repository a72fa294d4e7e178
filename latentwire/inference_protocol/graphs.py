"""The graphs of vector models under the names that the protocol has for them, and what they take and give."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from latentwire.errors import InvalidTensor, UnknownModel, WrongRole
from latentwire.imaging import image
from latentwire.model.card import ModelCard
from latentwire.registry import Registry

Floats = npt.NDArray[np.float32]

DATATYPE = "FP32"
PLATFORM = "onnx_onnxv1"


class TensorShape(NamedTuple):
    """A tensor's name, and the shape of one element of its batch."""

    name: str
    shape: tuple[int, ...]

    @property
    def values(self) -> int:
        """Numbers of one element of the batch."""
        return math.prod(self.shape)

    def metadata(self, batch: int = -1) -> dict[str, Any]:
        """Return name, datatype and shape, for a batch of this size; -1 is any."""
        return {"name": self.name, "datatype": DATATYPE, "shape": [batch, *self.shape]}


class Graph(NamedTuple):
    """One half of a vector model: one tensor in, one out, both float32 with a batch as their first dimension."""

    name: str
    card: ModelCard
    input: TensorShape
    output: TensorShape
    run: Callable[[Floats], Floats]

    def metadata(self) -> dict[str, Any]:
        """Return the protocol's metadata of a model."""
        tensors = {"inputs": [self.input.metadata()], "outputs": [self.output.metadata()]}
        return {"name": self.name, "platform": PLATFORM, **tensors}

    def infer(self, values: Floats) -> Floats:
        """Return the output for an input, both (N, ...), with bounded memory for what is between them.

        Raises:
            InvalidTensor: a number of the output is not finite.
        """
        output = np.concatenate([self.run(part) for part in image.slices(values, self.card.image)])
        if not np.isfinite(output).all():
            raise InvalidTensor(f"the output of {self.name} is not finite for this input")
        return output


def find_graph(registry: Registry, name: str) -> Graph:
    """Return the graph that is called `MODEL.encoder` or `MODEL.decoder`.

    Raises:
        UnknownModel: no model has this name, or it is for images of any size, whose graphs have no fixed shape.
        ModelNotReady: the model cannot be used.
        WrongRole: the process has only the other half of models.
    """
    model, _, half = name.rpartition(".")
    halves: dict[str, Any] = {"encoder": registry.encoders, "decoder": registry.decoders}
    if half not in halves:
        raise UnknownModel(
            f"no graph is called '{name[:64]}'; a graph has its model's name with .encoder or .decoder behind it, as "
            f"{registry.default}.encoder"
        )
    if halves[half] is None:
        raise WrongRole(f"this process has no {half}s")
    found = halves[half].by_name(model)
    card = found.card
    if not isinstance(card, ModelCard):
        raise UnknownModel(f"model '{model}' is for images of any size; only vector models have graphs of fixed shape")
    height, width, channels = card.image.as_tuple()
    code, x_shape = TensorShape("y", (card.code_size,)), (channels, height, width)
    if half == "encoder":
        return Graph(name, card, TensorShape("x", x_shape), code, found.y_of)
    return Graph(name, card, code, TensorShape("x_hat", x_shape), found.x_hat)
