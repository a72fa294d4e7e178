"""The walk through a network of 8 bits -> nodes of an ONNX graph.

Integers are stored as uint8, with 128 for 0, and weights as int8. All units are folded into the weights: a convolution
is a `QLinearConv` whose inputs and outputs have a scale of 1. Leaky ReLU and sums stand between `DequantizeLinear` and
`QuantizeLinear` of a scale of 1, which onnxruntime makes integer operations too. Float values have their channels last,
where factors of channels, and the middle of a kernel as a product of matrices, take the least time. They are in units
as well, so that integers can be added to them as they are.
"""

import numpy as np
import onnx
import torch
from torch import Tensor, nn

from training.photo import eight_bits
from training.photo.eight_bits import (
    PIXEL_OFFSET,
    PIXEL_UNIT,
    SLOPE,
    WEIGHT_LIMIT,
    EightBits,
    IntegerConv,
    Value,
    around_conv,
    around_name,
    integer_conv,
    middle_of,
    unit_of_outputs,
)
from training.photo.model import Enlarge, PhotoCodec
from training.photo.onnx_nodes import NCHW_TO_NHWC, NHWC_TO_NCHW, ZERO, OnnxNodes


def encoder_graph(codec: PhotoCodec, opset: int) -> onnx.ModelProto:
    """Return pixels, uint8 (1, 16 h, 16 w, 3) -> latents (1, 256, h, w), before the gain."""
    nodes = _Nodes(codec)
    latents = eight_bits.analyse(nodes, codec, "pixels")
    nodes.name_output(nodes.node("Transpose", latents, perm=NHWC_TO_NCHW), "latents")
    return nodes.model(opset, {"pixels": (3, "pixels")}, {"latents": (codec.widths.latents, "{pixels}//16")})


def decoder_graph(codec: PhotoCodec, opset: int) -> onnx.ModelProto:
    """Return latents (1, 256, h, w), after the inverse gain -> pixels, uint8 (1, 16 h, 16 w, 3)."""
    nodes = _Nodes(codec)
    latents = nodes.node("Transpose", "latents", perm=NCHW_TO_NHWC)
    nodes.name_output(eight_bits.synthesise(nodes, codec, latents), "pixels")
    return nodes.model(opset, {"latents": (codec.widths.latents, "latents")}, {"pixels": (3, "{latents}*16")})


class _Nodes(OnnxNodes):
    """Arithmetic on the names of tensors: uint8 (1, channels, h, w) of integers, float32 (1, h, w, channels) others."""

    def __init__(self, codec: PhotoCodec) -> None:
        super().__init__()
        assert codec.eight_bits is not None  # noqa: S101
        self._units: EightBits = codec.eight_bits
        self._layers = {id(layer): name for name, layer in codec.named_modules()}
        self._one = self.constant("one", np.float32(1))
        self._zero = self.constant("zero", np.uint8(ZERO))
        # What float values are multiples of, (channels,) or (1,), where that is not 1.
        self._unit_of: dict[str, Tensor] = {}

    def start(self, pixels: str) -> Value[str]:
        return Value(self.node("Transpose", pixels, perm=NHWC_TO_NCHW), torch.full((3,), PIXEL_UNIT))

    def round(self, name: str, values: str) -> Value[str]:
        unit = self._units.get_buffer(name)
        scaled = self._times(values, f"{name}.inverse", self._unit(values) / unit)
        return Value(self.node("Transpose", self._rounded(scaled), perm=NHWC_TO_NCHW), unit)

    def conv(self, layer: nn.Conv2d, x: Value[str], name: str) -> Value[str]:
        unit = self._units.get_buffer(name)
        return Value(self._convolve(layer, integer_conv(layer, x, unit), x.data), unit)

    def leaky(self, x: Value[str]) -> Value[str]:
        return x._replace(data=self._rounded(self.node("LeakyRelu", self._float(x.data), alpha=SLOPE)))

    def add(self, x: Value[str], y: Value[str], name: str) -> Value[str]:  # noqa: ARG002
        return x._replace(data=self._rounded(self.node("Add", self._float(x.data), self._float(y.data))))

    def float_conv(self, layer: nn.Conv2d, x: Value[str]) -> str:
        """Convolve integers by weights of two integers each, the second for what rounding leaves: 16 bits in all."""
        path, (size, _) = self._layers[id(layer)], layer.kernel_size
        kernel = (layer.weight * x.unit[:, None, None]).permute(2, 3, 1, 0).reshape(-1, layer.out_channels).detach()
        step = kernel.abs().amax(0).clamp_min(1e-12) / WEIGHT_LIMIT
        first = torch.round(kernel / step)
        second = torch.round((kernel / step - first) * (2 * WEIGHT_LIMIT))
        maps = self.node("Transpose", x.data, perm=NCHW_TO_NHWC)
        patches = self.node("Concat", *self.shifted(maps, ZERO, size, layer.stride[0]), axis=3)
        parts = [
            self._times(self._products(patches, f"{path}.{number}", weight), f"{path}.{number}.step", unit)
            for number, weight, unit in ((1, first, step), (2, second, step / (2 * WEIGHT_LIMIT)))
        ]
        assert layer.bias is not None  # noqa: S101
        bias = self.constant(f"{path}.bias", layer.bias.detach().numpy())
        return self.node("Add", self.node("Add", *parts), bias)

    def _products(self, x: str, name: str, weight: Tensor) -> str:
        """Multiply integers by a matrix of integers (inputs, outputs), with a float result."""
        matrix = self.constant(f"{name}.weight", weight.numpy().astype(np.int8))
        products = self.node("MatMulInteger", x, matrix, self._zero, self.constant(f"{name}.zero", np.int8(0)))
        return self.node("Cast", products, to=onnx.TensorProto.FLOAT)

    def float_enlarge(self, layer: Enlarge, x: str, name: str) -> str:
        unit = self._units.get_buffer(around_name(name))
        enlarged = self._enlarged(layer, x, self._sums(layer, x, name, unit))
        self._unit_of[enlarged] = unit
        return enlarged

    def float_add(self, x: str, y: Value[str]) -> str:
        unit = self._unit(x)
        changes = self._float(self.node("Transpose", y.data, perm=NCHW_TO_NHWC))
        total = self.node("Add", x, self._times(changes, f"change_{len(y.unit)}.units", y.unit / unit))
        self._unit_of[total] = unit
        return total

    def pixels(self, layer: Enlarge, x: str, name: str) -> str:
        unit = self._units.get_buffer(around_name(name))
        level = self.constant("level", np.float32(PIXEL_UNIT / unit.item()))
        sums = self._sums(layer, x, name, unit, PIXEL_OFFSET)
        return self._enlarged(layer, x, self.node("QuantizeLinear", sums, level, self._zero))

    def _sums(self, layer: Enlarge, x: str, name: str, out_unit: Tensor, offset: float = 0.0) -> str:
        """Return what is to be enlarged, (h w, rows columns outputs), in units of the outputs."""
        unit, conv = self._units.get_buffer(name), layer.conv
        order = order_of_outputs(layer)
        integers = IntegerConv(*(values[order] for values in around_conv(conv, unit, out_unit, offset)))
        around = self._convolve(conv, integers, self.round(name, x).data)
        around = self._float(self.node("Transpose", around, perm=NCHW_TO_NHWC))
        kernel = middle_of(conv)[:, :, 0, 0] * self._unit(x) / unit_of_outputs(conv, out_unit)[:, None]
        middle = self.constant(f"{self._layers[id(conv)]}.middle", kernel[order].T.detach().numpy())
        rows, rows_around = (
            self.node("Reshape", values, self.constant(f"rows_of_{channels}", np.array([-1, channels])))
            for values, channels in ((x, conv.in_channels), (around, conv.out_channels))
        )
        return self.node("Gemm", rows, middle, rows_around)

    def _unit(self, values: str) -> Tensor:
        return self._unit_of.get(values, torch.ones(1))

    def _enlarged(self, layer: Enlarge, x: str, sums: str) -> str:
        """Return sums (h w, rows columns outputs) of x (1, h, w, inputs) as (1, factor h, factor w, outputs)."""
        outputs = layer.conv.out_channels // layer.factor**2
        one, any_number, factor, columns, channels = (
            self.constant(str(number), np.array([number]))
            for number in (1, -1, layer.factor, layer.factor * outputs, outputs)
        )
        sides = self.node("Shape", x, start=1, end=3)
        width = self.node("Gather", sides, one)
        parts = self.node("Reshape", sums, self.node("Concat", any_number, width, factor, columns, axis=0))
        parts = self.node("Transpose", parts, perm=[0, 2, 1, 3])
        shape = self.node("Concat", one, self.node("Mul", sides, factor), channels, axis=0)
        return self.node("Reshape", parts, shape)

    def _convolve(self, layer: nn.Conv2d, integers: IntegerConv, x: str) -> str:
        weight, bias = (torch.round(values).detach().numpy() for values in (integers.weight, integers.bias))
        path = self._layers[id(layer)]
        return self.node(
            "QLinearConv",
            *(x, self._one, self._zero),
            self.constant(f"{path}.weight", weight.astype(np.int8)),
            self.constant(f"{path}.step", integers.step.numpy()),
            # A zero for each layer: where onnxruntime makes weights unsigned, it makes another of each.
            *(self.constant(f"{path}.weight_zero", np.int8(0)), self._one, self._zero),
            self.constant(f"{path}.bias", bias.astype(np.int32)),
            **_shape(layer),
        )

    def _times(self, x: str, name: str, factors: Tensor) -> str:
        return self.node("Mul", x, self.constant(name, factors.numpy().astype(np.float32)))

    def _float(self, x: str) -> str:
        return self.node("DequantizeLinear", x, self._one, self._zero)

    def _rounded(self, x: str) -> str:
        return self.node("QuantizeLinear", x, self._one, self._zero)


def order_of_outputs(layer: Enlarge) -> Tensor:
    """Return which output of a layer's convolution each one of the graph is: rows, columns, and channels."""
    return torch.arange(layer.conv.out_channels).reshape(-1, layer.factor**2).T.flatten()


def _shape(layer: nn.Conv2d) -> dict[str, list[int]]:
    assert not isinstance(layer.padding, str)  # noqa: S101
    return {"kernel_shape": list(layer.kernel_size), "strides": list(layer.stride), "pads": 2 * list(layer.padding)}
