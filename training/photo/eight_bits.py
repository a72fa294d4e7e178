"""Encoder and decoder with weights and activations of 8 bits, which processors multiply several times as fast.

An activation is an integer -128 .. 127 times the unit of its channel, a weight an integer -127 .. 127 times a step of
its output. Units are fixed by the largest values seen; training goes on through the rounding, whose gradient is that of
the identity, so that weights adapt to it. What makes the latents is in float; its graph has weights of 16 bits.

The main path of the decoder bears on pixels the most. Its sums are in float, and so is the middle of its kernels, which
has the largest weights. What is around the middle, eight ninths of the products, is in integers.

The same walk through the layers computes with tensors, looks for the largest values, and writes graphs (`Arithmetic`).

Source: Jacob et al. 2018 (arXiv:1712.05877).
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, Protocol, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.photo.rounding import in_float32, round_through

if TYPE_CHECKING:
    from training.photo.crops import Batch
    from training.photo.model import Enlarge, PhotoCodec, Residual, Widths

LOWEST, HIGHEST = -128, 127  # of activations
WEIGHT_LIMIT = 127
BIAS_LIMIT = 2**24
SLOPE = 0.1  # of leaky ReLU below 0
PIXEL_UNIT = 1 / 255
MIDDLE = 128 * PIXEL_UNIT  # the pixel that is 0 as an integer
# Around the middle of kernels, the largest values are cut off: finer steps are worth more.
OF_AROUND, KEPT_AROUND = ("_sum", "_around"), 0.85
PIXEL_OFFSET = 0.5 - MIDDLE  # what a value of 0 is as a pixel, from that middle
T = TypeVar("T")


class Value(NamedTuple, Generic[T]):
    """Activations, and the unit (channels,) that they are multiples of."""

    data: T
    unit: Tensor


class Arithmetic(Protocol[T]):
    """What the layers are made of. `T` holds activations: integers in a `Value`, otherwise float."""

    def start(self, pixels: T) -> Value[T]:
        """Return the integers of pixels in [0, 1]."""

    def round(self, name: str, values: T) -> Value[T]:
        """Round float activations to the units of this name."""

    def conv(self, layer: nn.Conv2d, x: Value[T], name: str) -> Value[T]:
        """Convolve integers, and round to the units of this name."""

    def leaky(self, x: Value[T]) -> Value[T]:
        """Return leaky ReLU, in the same units."""

    def add(self, x: Value[T], y: Value[T], name: str) -> Value[T]:
        """Add integers of the units of this name."""

    def float_conv(self, layer: nn.Conv2d, x: Value[T]) -> T:
        """Convolve integers, with float weights and a float result."""

    def float_enlarge(self, layer: "Enlarge", x: T, name: str) -> T:
        """Enlarge float values; around the middle of kernels, by integers of the units of this name."""

    def float_add(self, x: T, y: Value[T]) -> T:
        """Add integers to float values, with a float result."""

    def pixels(self, layer: "Enlarge", x: T, name: str) -> T:
        """Enlarge float values to pixels, in the same way."""


def unit_names(widths: "Widths") -> dict[str, int]:
    """Return the names of all units, and how many channels each has."""
    return {
        "quarter": widths.encoder_quarter,
        "quarter_inner": widths.encoder_quarter_inner,
        "eighth": widths.encoder_eighth,
        **{f"eighth_inner_{number}": widths.encoder_eighth for number in range(widths.encoder_blocks)},
        "latents": widths.latents,
        "latents_inner": widths.encoder_inner,
        "latents_change": widths.latents,
        "decoded": widths.latents,
        "decoded_around": widths.decoder_eighth,
        "decoded_eighth": widths.decoder_eighth,
        "decoded_eighth_inner": widths.decoder_eighth_inner,
        "decoded_eighth_change": widths.decoder_eighth,
        "decoded_eighth_sum": widths.decoder_eighth,
        "decoded_eighth_sum_around": widths.decoder_quarter,
        "decoded_quarter": widths.decoder_quarter,
        "decoded_quarter_inner": widths.decoder_quarter_inner,
        "decoded_quarter_change": widths.decoder_quarter,
        "decoded_quarter_sum": widths.decoder_quarter,
        "decoded_quarter_sum_around": 1,
    }


def around_name(name: str) -> str:
    """Return the name of the units of what is around a kernel's middle, for inputs of the units `name`."""
    return f"{name}_around"


def analyse(at: Arithmetic[T], codec: "PhotoCodec", pixels: T) -> T:
    """Return latents, float, of pixels in [0, 1]."""
    first, quarter, down, *eighth = _layers(codec.encoder)
    x = at.conv(first, at.start(pixels), "quarter")
    x = at.add(x, _change(at, quarter, x, "quarter_inner", "quarter"), "quarter")
    x = at.conv(down, x, "eighth")
    for number, block in enumerate(eighth):
        x = at.add(x, _change(at, block, x, f"eighth_inner_{number}", "eighth"), "eighth")
    last, block = _layers(codec.encoder_last)
    return _changed(at, block, at.float_conv(last, x), "latents")


def synthesise(at: Arithmetic[T], codec: "PhotoCodec", latents: T) -> T:
    """Return pixels of latents after the inverse gain."""
    eighth, double, quarter, last = _layers(codec.decoder)
    x = _changed(at, eighth, at.float_enlarge(codec.decoder_first, latents, "decoded"), "decoded_eighth")
    x = _changed(at, quarter, at.float_enlarge(double, x, "decoded_eighth_sum"), "decoded_quarter")
    return at.pixels(last, x, "decoded_quarter_sum")


def _layers(part: nn.Sequential) -> list[Any]:
    return list(part)


def _changed(at: Arithmetic[T], block: "Residual", x: T, name: str) -> T:
    """Return a residual block of float values, with integers in its branch."""
    return at.float_add(x, _change(at, block, at.round(name, x), f"{name}_inner", f"{name}_change"))


def _change(at: Arithmetic[T], block: "Residual", x: Value[T], inner: str, outer: str) -> Value[T]:
    """Return the branch of a residual block."""
    return at.conv(block.b, at.leaky(at.conv(block.a, at.leaky(x), inner)), outer)


class IntegerConv(NamedTuple):
    """A convolution from integers to integers; weights and biases are to be rounded.

    Sums times `step`, (outputs,), are in the result's units.
    """

    weight: Tensor
    bias: Tensor
    step: Tensor


def integer_conv(layer: nn.Conv2d, x: Value[Any], out_unit: Tensor) -> IntegerConv:
    """Return a layer from integers to integers in units of `out_unit`, (outputs,)."""
    assert layer.bias is not None  # noqa: S101
    return _integer_conv(layer.weight, layer.bias, x.unit, out_unit)


def _integer_conv(weight: Tensor, bias: Tensor, unit: Tensor, out_unit: Tensor) -> IntegerConv:
    weight = weight * (unit[None, :, None, None] / out_unit[:, None, None, None])
    bias = bias / out_unit
    step = weight.detach().abs().amax((1, 2, 3)) / WEIGHT_LIMIT
    step = torch.maximum(step, bias.detach().abs() / BIAS_LIMIT).clamp_min(1e-12)
    return IntegerConv(weight / step[:, None, None, None], bias / step, step)


def around_conv(conv: nn.Conv2d, unit: Tensor, out_unit: Tensor, offset: float = 0.0) -> IntegerConv:
    """Return a layer from integers to integers, without the middle of its kernels of 3 x 3.

    Args:
        conv: the layer.
        unit: of its inputs, (inputs,).
        out_unit: of its outputs, (n,), each for as many of them.
        offset: is added to the results.
    """
    assert conv.bias is not None  # noqa: S101
    return _integer_conv(_around(conv), conv.bias + offset, unit, unit_of_outputs(conv, out_unit))


def unit_of_outputs(conv: nn.Conv2d, unit: Tensor) -> Tensor:
    """Return the unit of each output, (outputs,), by units (n,), each for as many of them."""
    return unit.repeat_interleave(conv.out_channels // len(unit))


def middle_of(conv: nn.Conv2d) -> Tensor:
    """Return the middle of kernels of 3 x 3, (outputs, inputs, 1, 1)."""
    return conv.weight[:, :, 1:2, 1:2]


def _around(conv: nn.Conv2d) -> Tensor:
    """Return kernels of 3 x 3 with 0 in the middle."""
    return conv.weight - F.pad(middle_of(conv), (1, 1, 1, 1))


class _ToGrid(torch.autograd.Function):
    """Round and clamp, with the gradient of the identity, but for what would lead farther out of the bounds."""

    @staticmethod
    def forward(context: Any, x: Tensor) -> Tensor:
        context.save_for_backward(x)
        return torch.round(x).clamp_(LOWEST, HIGHEST)

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> Tensor:
        (x,) = context.saved_tensors
        led_back: Tensor = gradient * (((x >= LOWEST) | (gradient < 0)) & ((x <= HIGHEST) | (gradient > 0)))
        return led_back


def to_grid(x: Tensor) -> Tensor:
    """Return the nearest integers from -128 to 127."""
    nearest: Tensor = _ToGrid.apply(x)  # type: ignore[no-untyped-call]
    return nearest


class EightBits(nn.Module):
    """The units of a network, buffers (channels,) by their names."""

    def __init__(self, widths: "Widths") -> None:
        super().__init__()
        for name, channels in unit_names(widths).items():
            self.register_buffer(name, torch.ones(channels))

    def analyse(self, codec: "PhotoCodec", pixels: Tensor) -> Tensor:
        """Return the latents of pixels (batch, 3, height, width) in [0, 1]."""
        return analyse(_Rounding(self), codec, pixels)

    def synthesise(self, codec: "PhotoCodec", latents: Tensor) -> Tensor:
        """Return the pixels of latents (batch, latents, h, w) after the inverse gain."""
        return synthesise(_Rounding(self), codec, latents)


class _Rounding:
    """Arithmetic on tensors (batch, channels, h, w)."""

    def __init__(self, units: EightBits) -> None:
        self._units = units

    def start(self, pixels: Tensor) -> Value[Tensor]:
        return Value(255 * pixels - 128, torch.full((3,), PIXEL_UNIT, device=pixels.device))

    def round(self, name: str, values: Tensor) -> Value[Tensor]:
        unit = self._units.get_buffer(name)
        return Value(to_grid(values / unit[:, None, None]), unit)

    def conv(self, layer: nn.Conv2d, x: Value[Tensor], name: str) -> Value[Tensor]:
        unit = self._units.get_buffer(name)
        return Value(_convolve(layer, integer_conv(layer, x, unit), x.data), unit)

    def leaky(self, x: Value[Tensor]) -> Value[Tensor]:
        return x._replace(data=to_grid(F.leaky_relu(x.data, SLOPE)))

    def add(self, x: Value[Tensor], y: Value[Tensor], name: str) -> Value[Tensor]:  # noqa: ARG002
        return x._replace(data=to_grid(x.data + y.data))

    def float_conv(self, layer: nn.Conv2d, x: Value[Tensor]) -> Tensor:
        with in_float32(x.data):
            weight = layer.weight * x.unit[:, None, None]
            return F.conv2d(x.data.float(), weight, layer.bias, layer.stride, layer.padding)

    def float_enlarge(self, layer: "Enlarge", x: Tensor, name: str) -> Tensor:
        return self._enlarge(layer, x, name)

    def float_add(self, x: Tensor, y: Value[Tensor]) -> Tensor:
        return x + y.data.float() * y.unit[:, None, None]

    def pixels(self, layer: "Enlarge", x: Tensor, name: str) -> Tensor:
        return self._enlarge(layer, x, name, PIXEL_OFFSET) + MIDDLE

    def _enlarge(self, layer: "Enlarge", x: Tensor, name: str, offset: float = 0.0) -> Tensor:
        conv, nearest, unit = layer.conv, self.round(name, x), self._units.get_buffer(around_name(name))
        around = _convolve(conv, around_conv(conv, nearest.unit, unit, offset), nearest.data)
        with in_float32(x):
            sums = F.conv2d(x.float(), middle_of(conv)) + around.float() * unit_of_outputs(conv, unit)[:, None, None]
            return F.pixel_shuffle(sums, layer.factor)


def _convolve(layer: nn.Conv2d, integers: IntegerConv, x: Tensor) -> Tensor:
    weight, bias = round_through(integers.weight), round_through(integers.bias)
    y = F.conv2d(x, weight, bias, layer.stride, layer.padding)
    return to_grid(y * integers.step[:, None, None])


class _Looking:
    """Arithmetic in float, of units of 1, that notes the largest values."""

    def __init__(self) -> None:
        self.largest: dict[str, Tensor] = {}

    def start(self, pixels: Tensor) -> Value[Tensor]:
        return Value(pixels - MIDDLE, torch.ones(3))

    def round(self, name: str, values: Tensor) -> Value[Tensor]:
        seen = values.abs().amax((0, 2, 3))
        self.largest[name] = torch.maximum(self.largest.get(name, seen), seen)
        return Value(values, torch.ones_like(seen))

    def conv(self, layer: nn.Conv2d, x: Value[Tensor], name: str) -> Value[Tensor]:
        return self.round(name, layer(x.data))

    def leaky(self, x: Value[Tensor]) -> Value[Tensor]:
        return x._replace(data=F.leaky_relu(x.data, SLOPE))

    def add(self, x: Value[Tensor], y: Value[Tensor], name: str) -> Value[Tensor]:
        return self.round(name, x.data + y.data)

    def float_conv(self, layer: nn.Conv2d, x: Value[Tensor]) -> Tensor:
        y: Tensor = layer(x.data)
        return y

    def float_enlarge(self, layer: "Enlarge", x: Tensor, name: str) -> Tensor:
        self.round(name, x)
        around = F.conv2d(x, _around(layer.conv), layer.conv.bias, padding=layer.conv.padding)
        self.round(around_name(name), F.pixel_shuffle(around, layer.factor))
        y: Tensor = layer(x)
        return y

    def float_add(self, x: Tensor, y: Value[Tensor]) -> Tensor:
        return x + y.data

    def pixels(self, layer: "Enlarge", x: Tensor, name: str) -> Tensor:
        y = self.float_enlarge(layer, x, name)
        # The three colours have one unit.
        self.largest[around_name(name)] = self.largest[around_name(name)].amax(0, keepdim=True)
        return y + 0.5


@torch.no_grad()
def begin_eight_bits(codec: "PhotoCodec", batches: Iterable["Batch"]) -> None:
    """Set the units of a network that was trained in float, by the largest values that batches have.

    Its first layer takes pixels less 128/255 from now on, as integers do, in place of those less 0.5.
    """
    units, first = codec.eight_bits, _layers(codec.encoder)[0]
    assert units is not None  # noqa: S101
    first.bias += first.weight.sum((1, 2, 3)) * (MIDDLE - 0.5)
    looking = _Looking()
    for batch in batches:
        sent = codec.send(analyse(looking, codec, batch.pixels), batch.quality)
        synthesise(looking, codec, sent.latents)
    for name, largest in looking.largest.items():
        kept = KEPT_AROUND if name.endswith(OF_AROUND) else 1.0
        units.get_buffer(name).copy_(kept * largest.clamp_min(1e-6) / HIGHEST)
