"""The walk through a network of 8 bits -> nodes of an ONNX graph.

Integers are stored as uint8, with 128 for 0, and weights as int8. All units are folded into the weights: a convolution
is a `QLinearConv` whose inputs and outputs have a scale of 1. Leaky ReLU and sums stand between `DequantizeLinear` and
`QuantizeLinear` of a scale of 1, which onnxruntime makes integer operations too.
"""

import numpy as np
import onnx
import torch
from torch import Tensor, nn

from training.photo import eight_bits
from training.photo.eight_bits import PIXEL_UNIT, SLOPE, EightBits, Value, integer_conv
from training.photo.model import Enlarge, PhotoCodec
from training.photo.onnx_nodes import NCHW_TO_NHWC, NHWC_TO_NCHW, ZERO, OnnxNodes

HIGHEST_LEVEL = 255


def encoder_graph(codec: PhotoCodec, opset: int) -> onnx.ModelProto:
    """Return pixels, uint8 (1, 16 h, 16 w, 3) -> latents (1, 256, h, w), before the gain."""
    nodes = _Nodes(codec)
    nodes.name_output(eight_bits.analyse(nodes, codec, "pixels"), "latents")
    return nodes.model(opset, {"pixels": (3, "pixels")}, {"latents": (codec.widths.latents, "{pixels}//16")})


def decoder_graph(codec: PhotoCodec, opset: int) -> onnx.ModelProto:
    """Return latents (1, 256, h, w), after the inverse gain -> pixels, uint8 (1, 16 h, 16 w, 3)."""
    nodes = _Nodes(codec)
    nodes.name_output(eight_bits.synthesise(nodes, codec, "latents"), "pixels")
    return nodes.model(opset, {"latents": (codec.widths.latents, "latents")}, {"pixels": (3, "{latents}*16")})


class _Nodes(OnnxNodes):
    """Arithmetic on the names of tensors: uint8 (1, channels, h, w) of integers, float32 of others."""

    def __init__(self, codec: PhotoCodec) -> None:
        super().__init__()
        assert codec.eight_bits is not None  # noqa: S101
        self._units: EightBits = codec.eight_bits
        self._layers = {id(layer): name for name, layer in codec.named_modules()}
        self._one = self.constant("one", np.float32(1))
        self._zero = self.constant("zero", np.uint8(ZERO))

    def start(self, pixels: str) -> Value[str]:
        return Value(self.node("Transpose", pixels, perm=NHWC_TO_NCHW), torch.full((3,), PIXEL_UNIT))

    def round(self, name: str, values: str) -> Value[str]:
        unit = self._units.get_buffer(name)
        return Value(self.node("QuantizeLinear", values, *self._per_channel(name, unit), axis=1), unit)

    def conv(self, layer: nn.Conv2d, x: Value[str], name: str) -> Value[str]:
        unit = self._units.get_buffer(name)
        integers = integer_conv(layer, x, unit)
        weight, bias = (torch.round(values).detach().numpy() for values in (integers.weight, integers.bias))
        path = self._layers[id(layer)]
        y = self.node(
            "QLinearConv",
            *(x.data, self._one, self._zero),
            self.constant(f"{path}.weight", weight.astype(np.int8)),
            self.constant(f"{path}.step", integers.step.numpy()),
            *(self.constant(f"{path}.weight_zero", np.int8(0)), self._one, self._zero),
            self.constant(f"{path}.bias", bias.astype(np.int32)),
            **_shape(layer),
        )
        return Value(y, unit)

    def leaky(self, x: Value[str]) -> Value[str]:
        return x._replace(data=self._rounded(self.node("LeakyRelu", self._float(x.data), alpha=SLOPE)))

    def add(self, x: Value[str], y: Value[str], name: str) -> Value[str]:  # noqa: ARG002
        return x._replace(data=self._rounded(self.node("Add", self._float(x.data), self._float(y.data))))

    def float_conv(self, layer: nn.Conv2d, x: Value[str]) -> str:
        name = self._layers[id(layer)]
        values = self.node("DequantizeLinear", x.data, *self._per_channel(f"{name}.inputs", x.unit), axis=1)
        return self._float_conv(layer, values)

    def float_enlarge(self, layer: Enlarge, x: str, exact: bool = False) -> str:  # noqa: ARG002
        return self.node("DepthToSpace", self._float_conv(layer.conv, x), blocksize=layer.factor, mode="CRD")

    def float_add(self, x: str, y: Value[str]) -> str:
        name = f"change_{len(y.unit)}"
        return self.node("Add", x, self.node("DequantizeLinear", y.data, *self._per_channel(name, y.unit), axis=1))

    def pixels(self, x: str) -> str:
        levels = self.constant("levels", np.float32(HIGHEST_LEVEL))
        half = self.constant("half", np.float32(HIGHEST_LEVEL / 2))
        shown = self.node("Add", self.node("Mul", x, levels), half)
        least, most = self.constant("least", np.float32(0)), self.constant("most", np.float32(HIGHEST_LEVEL))
        rounded = self.node("Round", self.node("Clip", shown, least, most))
        return self.node("Transpose", self.node("Cast", rounded, to=onnx.TensorProto.UINT8), perm=NCHW_TO_NHWC)

    def _float_conv(self, layer: nn.Conv2d, x: str) -> str:
        name = self._layers[id(layer)]
        weight = self.constant(f"{name}.weight", layer.weight.detach().numpy())
        assert layer.bias is not None  # noqa: S101
        return self.node("Conv", x, weight, self.constant(f"{name}.bias", layer.bias.detach().numpy()), **_shape(layer))

    def _float(self, x: str) -> str:
        return self.node("DequantizeLinear", x, self._one, self._zero)

    def _rounded(self, x: str) -> str:
        return self.node("QuantizeLinear", x, self._one, self._zero)

    def _per_channel(self, name: str, unit: Tensor) -> tuple[str, str]:
        zeros = self.constant(f"{name}.zeros", np.full(len(unit), ZERO, np.uint8))
        return self.constant(f"{name}.units", unit.numpy()), zeros


def _shape(layer: nn.Conv2d) -> dict[str, list[int]]:
    assert not isinstance(layer.padding, str)  # noqa: S101
    return {"kernel_shape": list(layer.kernel_size), "strides": list(layer.stride), "pads": 2 * list(layer.padding)}
