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
from training.photo.eight_bits import FINER, PIXEL_UNIT, SLOPE, EightBits, IntegerConv, Value, finer, integer_conv
from training.photo.model import PhotoCodec
from training.photo.onnx_nodes import NCHW_TO_NHWC, NHWC_TO_NCHW, OnnxNodes

ZERO = 128
# Pixels -128/255 .. 127/255 around the middle one, as integers around 0, are 0 .. 255 with half a step for 0.5.
HALF = 255 / 2


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

    def round_finely(self, name: str, values: str) -> Value[str]:
        rounded, fine = self.round(name, values), self._units.get_buffer(f"{name}_fine")
        back = self.node("DequantizeLinear", rounded.data, *self._per_channel(name, rounded.unit), axis=1)
        chosen = self.constant(f"{name}.fine", fine.numpy())
        left = self.node("Gather", self.node("Sub", values, back), chosen, axis=1)
        units = self._per_channel(f"{name}.fine", rounded.unit[fine] / FINER)
        more = self.node("QuantizeLinear", left, *units, axis=1)
        return finer(rounded, self.node("Concat", rounded.data, more, axis=1), fine)

    def conv(self, layer: nn.Conv2d, x: Value[str], name: str, factor: int = 1) -> Value[str]:
        unit = self._units.get_buffer(name)
        integers = integer_conv(layer, x, unit.repeat_interleave(factor**2))
        if factor == 1:
            return Value(self._integer_conv(layer, x, integers, self._zero), unit)
        return Value(
            self.node("Transpose", self._enlarged(layer, x, integers, self._zero, factor), perm=NHWC_TO_NCHW), unit
        )

    def float_conv(self, layer: nn.Conv2d, x: Value[str]) -> str:
        name = self._layers[id(layer)]
        values = self.node("DequantizeLinear", x.data, *self._per_channel(f"{name}.inputs", x.unit), axis=1)
        weight = self.constant(f"{name}.weight", layer.weight.detach().numpy())
        assert layer.bias is not None  # noqa: S101
        bias = self.constant(f"{name}.bias", layer.bias.detach().numpy())
        return self.node("Conv", values, weight, bias, **_shape(layer))

    def pixels(self, layer: nn.Conv2d, x: Value[str], factor: int) -> str:
        integers = integer_conv(layer, x, torch.full((layer.out_channels,), PIXEL_UNIT))
        integers = integers._replace(bias=integers.bias + HALF / integers.step)
        return self._enlarged(layer, x, integers, self.constant("pixel_zero", np.uint8(0)), factor)

    def leaky(self, x: Value[str]) -> Value[str]:
        return x._replace(data=self._rounded(self.node("LeakyRelu", self._float(x.data), alpha=SLOPE)))

    def add(self, x: Value[str], y: Value[str], name: str) -> Value[str]:
        return x._replace(data=self._rounded(self.node("Add", self._float(x.data), self._float(y.data))))

    def float_add(self, x: str, y: Value[str]) -> str:
        return self.node("Add", x, self.node("DequantizeLinear", y.data, *self._per_channel("sum", y.unit), axis=1))

    def _integer_conv(self, layer: nn.Conv2d, x: Value[str], integers: IntegerConv, zero: str) -> str:
        name = self._layers[id(layer)]
        weight, bias = (torch.round(values).detach().numpy() for values in (integers.weight, integers.bias))
        return self.node(
            "QLinearConv",
            *(x.data, self._one, self._zero),
            self.constant(f"{name}.weight", weight.astype(np.int8)),
            self.constant(f"{name}.step", integers.step.numpy()),
            *(self.constant(f"{name}.weight_zero", np.int8(0)), self._one, zero),
            self.constant(f"{name}.bias", bias.astype(np.int32)),
            **_shape(layer),
        )

    def _enlarged(self, layer: nn.Conv2d, x: Value[str], integers: IntegerConv, zero: str, factor: int) -> str:
        """Convolve, and make factor^2 channels pixels: uint8 (1, factor h, factor w, channels).

        `DepthToSpace` would take several times as long. So outputs are ordered by row, column and channel, and only
        rows of one channel after the other change their places.
        """
        channels = layer.out_channels // factor**2
        order = torch.arange(layer.out_channels).view(channels, factor**2).T.flatten()
        y = self._integer_conv(layer, x, IntegerConv(*(values[order] for values in integers)), zero)
        y = self.node("Transpose", y, perm=NCHW_TO_NHWC)
        small = self.node("Slice", self.node("Shape", y), self._sizes("one_size", 1), self._sizes("three_sizes", 3))
        large = self.node("Mul", small, self._sizes(f"factor_{factor}", factor))
        parts = self._sizes(f"parts_{channels}", 0, 0, 0, factor, factor * channels)
        y = self.node("Transpose", self.node("Reshape", y, parts), perm=[0, 1, 3, 2, 4])
        whole = self.node(
            "Concat", self._sizes("one_size", 1), large, self._sizes(f"channels_{channels}", channels), axis=0
        )
        return self.node("Reshape", y, whole)

    def _sizes(self, name: str, *values: int) -> str:
        return self.constant(name, np.array(values, np.int64))

    def _float(self, x: str) -> str:
        return self.node("DequantizeLinear", x, self._one, self._zero)

    def _rounded(self, x: str) -> str:
        return self.node("QuantizeLinear", x, self._one, self._zero)

    def _per_channel(self, name: str, unit: Tensor) -> tuple[str, str]:
        zeros = self.constant(f"{name}.zeros", np.full(len(unit), ZERO, np.uint8))
        return self.constant(f"{name}.units", unit.numpy()), zeros


def _shape(layer: nn.Conv2d) -> dict[str, list[int]]:
    (rows, columns), (above, before) = layer.kernel_size, layer.padding
    return {"kernel_shape": [rows, columns], "strides": list(layer.stride), "pads": [above, before, above, before]}
