"""The integer networks -> `entropy.onnx`, in products of 8-bit integers.

A convolution is a `MatMulInteger` of the values around each position, whose sums are of 32 bits. Inputs are stored as
uint8, with 128 for 0; where an input is not around 0, the bias makes up for it. Sums and biases are added as integers,
so all are exact; they are below 2^24, so float32 holds what is divided by a power of two and rounded down.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import onnx

from training.photo.integers import ACTIVATION_LIMIT, IntegerEntropy, IntegerLayer, integer_layers
from training.photo.onnx_nodes import NCHW_TO_NHWC, NHWC_TO_NCHW, ZERO, OnnxNodes

Integers = npt.NDArray[np.int64]


class _Input(NamedTuple):
    """Integers as uint8 (1, h, w, channels), and what 0 is stored as."""

    name: str
    zero: int


def entropy_graph(entropy: IntegerEntropy, opset: int) -> onnx.ModelProto:
    """Return the graph of `entropy.onnx`; `export` describes its inputs and outputs."""
    nodes = _Nodes()
    channels: dict[str, tuple[int, str]] = {}
    outputs: dict[str, tuple[int, str]] = {}
    first, second, last = integer_layers(entropy.hyper)
    channels["z"] = first.inputs[0].conv.in_channels, "z"
    hidden = nodes.enlarge(nodes.layer("hyper.0", first, [nodes.signed("z")]))
    hidden = nodes.enlarge(nodes.layer("hyper.1", second, [hidden]))
    nodes.end(nodes.layer("hyper.2", last, [hidden]), "means_and_scales")
    outputs["means_and_scales"] = last.inputs[0].conv.out_channels, "{z}*4"
    for number, layers in enumerate(entropy.passes, 1):
        inner, outer = integer_layers(layers)
        near, here = (f"{name}_{number}" for name in ("symbols", "scales"))
        for name, part in zip((near, here), inner.inputs, strict=True):
            channels[name] = part.conv.in_channels, near
        passed = nodes.layer(f"pass.{number}.0", inner, [nodes.signed(near), nodes.unsigned(here)])
        nodes.end(nodes.layer(f"pass.{number}.1", outer, [nodes.hidden(passed)]), f"corrections_{number}")
        outputs[f"corrections_{number}"] = outer.inputs[0].conv.out_channels, "{" + near + "}"
    return nodes.model(opset, channels, outputs)


class _Nodes(OnnxNodes):
    def signed(self, name: str) -> _Input:
        """Return an input graph tensor of integers -127 to 127."""
        zero = self.constant("zero_float", np.float32(ZERO))
        return _Input(self._as_bytes(self.node("Add", name, zero)), ZERO)

    def unsigned(self, name: str) -> _Input:
        """Return an input graph tensor of integers 0 to 255."""
        return _Input(self._as_bytes(name), 0)

    def layer(self, name: str, layer: IntegerLayer, inputs: Sequence[_Input]) -> str:
        """Return a layer's output, float32 (1, h, w, outputs)."""
        bias = layer.bias().detach().numpy().astype(np.int64)
        products = []
        for number, (each, weight) in enumerate(zip(inputs, layer.weights(), strict=True)):
            kernel = weight.detach().numpy().astype(np.int64).transpose(2, 3, 1, 0)
            # The product takes `ZERO` for 0 of all inputs.
            bias += (ZERO - each.zero) * kernel.sum((0, 1, 2))
            products += self._products(f"{name}.{number}", each, kernel)
        total = products[0]
        for product in products[1:]:
            total = self.node("Add", total, product)
        total = self.node("Add", total, self.constant(f"{name}.bias", bias.astype(np.int32)))
        step = self.constant(f"{name}.step", np.exp2(-layer.shift.numpy()).astype(np.float32))
        output = self.node("Floor", self.node("Mul", self.node("Cast", total, to=onnx.TensorProto.FLOAT), step))
        if not layer.hidden:
            return output
        least, most = self.constant("least", np.float32(0)), self.constant("most", np.float32(ACTIVATION_LIMIT))
        return self.node("Clip", output, least, most)

    def hidden(self, output: str) -> _Input:
        """Return the output of a hidden layer as the next one's input."""
        return _Input(self.node("Cast", output, to=onnx.TensorProto.UINT8), 0)

    def enlarge(self, hidden: str) -> _Input:
        """Make four channels of a hidden layer's output 2 x 2 positions."""
        maps = self.node("Transpose", hidden, perm=NHWC_TO_NCHW)
        return self.unsigned(self.node("DepthToSpace", maps, blocksize=2, mode="CRD"))

    def end(self, output: str, name: str) -> None:
        """Make a layer's output one of the graph's."""
        self.name_output(self.node("Transpose", output, perm=NHWC_TO_NCHW), name)

    def _as_bytes(self, name: str) -> str:
        return self.node("Transpose", self.node("Cast", name, to=onnx.TensorProto.UINT8), perm=NCHW_TO_NHWC)

    def _products(self, name: str, x: _Input, kernel: Integers) -> list[str]:
        """Return what adds up to a convolution, int32 (1, h, w, outputs), by a kernel (rows, columns, inputs, outputs).

        Few inputs are put together from all positions for one product; of many, that would be more than the products.
        """
        rows, columns, channels, outputs = kernel.shape
        if rows == columns == 1:
            return [self._product(name, x.name, kernel[0, 0])]
        shifted = self.shifted(x.name, x.zero, rows)
        if channels < outputs:
            return [self._product(name, self.node("Concat", *shifted, axis=3), kernel.reshape(-1, outputs))]
        return [
            self._product(f"{name}.{row}.{column}", values, kernel[row, column])
            for (row, column), values in zip(np.ndindex(rows, columns), shifted, strict=True)
        ]

    def _product(self, name: str, values: str, weight: Integers) -> str:
        constant = self.constant(f"{name}.weight", weight.astype(np.int8))
        zero, weight_zero = self.constant("zero", np.uint8(ZERO)), self.constant(f"{name}.zero", np.int8(0))
        return self.node("MatMulInteger", values, constant, zero, weight_zero)
