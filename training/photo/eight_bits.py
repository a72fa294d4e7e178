"""Encoder and decoder with weights and activations of 8 bits, which processors multiply several times as fast.

An activation is an integer -128 .. 127 times the unit of its channel, a weight an integer -127 .. 127 times a step of
its output. Units are fixed by the largest values seen; training goes on through the rounding, whose gradient is that of
the identity, so that weights adapt to it. Float are only the latents: what makes them, and what is added last.

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
    from training.photo.model import PhotoCodec, Residual, Widths

LOWEST, HIGHEST = -128, 127  # of activations
WEIGHT_LIMIT = 127
SLOPE = 0.1  # of leaky ReLU below 0
PIXEL_UNIT = 1 / 255
# Of the latents that a decoder gets, those with the largest values are rounded a second time, 16 times as finely.
FINE_CHANNELS, FINER = 64, 16
LATENTS_ROOM = 1.4  # above the largest latents seen, as some are larger
MIDDLE = 128 * PIXEL_UNIT  # the pixel that is 0 as an integer
T = TypeVar("T")


class Value(NamedTuple, Generic[T]):
    """Activations, and the unit (channels,) that they are multiples of; `of` says which inputs of a layer they add to.

    Without it, they are the layer's inputs in their order.
    """

    data: T
    unit: Tensor
    of: Tensor | None = None


class Arithmetic(Protocol[T]):
    """What the layers are made of. `T` holds activations: in integers, or where units play no part in float."""

    def start(self, pixels: T) -> Value[T]:
        """Return the integers of pixels in [0, 1]."""

    def round(self, name: str, values: T) -> Value[T]:
        """Round float activations to the units of this name."""

    def round_finely(self, name: str, values: T) -> Value[T]:
        """Round float activations to the units of this name, and what is left of some channels to finer ones."""

    def conv(self, layer: nn.Conv2d, x: Value[T], name: str, factor: int = 1) -> Value[T]:
        """Convolve integers, make factor^2 channels pixels, and round to the units of this name."""

    def float_conv(self, layer: nn.Conv2d, x: Value[T]) -> T:
        """Convolve integers, with float weights and a float result."""

    def pixels(self, layer: nn.Conv2d, x: Value[T], factor: int) -> T:
        """Convolve integers, make factor^2 channels pixels, and return them in [0, 1], or beyond if not yet clipped."""

    def leaky(self, x: Value[T]) -> Value[T]:
        """Return leaky ReLU, in the same units."""

    def add(self, x: Value[T], y: Value[T], name: str) -> Value[T]:
        """Add integers of the units of this name."""

    def float_add(self, x: T, y: Value[T]) -> T:
        """Add integers to float values, with a float result."""


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
        "decoded_eighth": widths.decoder_eighth,
        "decoded_eighth_inner": widths.decoder_eighth_inner,
        "decoded_quarter": widths.decoder_quarter,
        "decoded_quarter_inner": widths.decoder_quarter_inner,
    }


def analyse(at: Arithmetic[T], codec: "PhotoCodec", pixels: T) -> T:
    """Return latents, float, of pixels in [0, 1]."""
    first, quarter, down, *eighth = codec.encoder
    x = at.conv(first, at.start(pixels), "quarter")
    x = at.add(x, _change(at, quarter, x, "quarter_inner", "quarter"), "quarter")
    x = at.conv(down, x, "eighth")
    for number, block in enumerate(eighth):
        x = at.add(x, _change(at, block, x, f"eighth_inner_{number}", "eighth"), "eighth")
    last, block = codec.encoder_last
    latents = at.float_conv(last, x)
    return at.float_add(latents, _change(at, block, at.round("latents", latents), "latents_inner", "latents_change"))


def synthesise(at: Arithmetic[T], codec: "PhotoCodec", latents: T) -> T:
    """Return pixels of latents after the inverse gain."""
    eighth, double, quarter, last = codec.decoder
    x = at.conv(codec.decoder_first.conv, at.round_finely("decoded", latents), "decoded_eighth", 2)
    x = at.add(x, _change(at, eighth, x, "decoded_eighth_inner", "decoded_eighth"), "decoded_eighth")
    x = at.conv(double.conv, x, "decoded_quarter", double.factor)
    x = at.add(x, _change(at, quarter, x, "decoded_quarter_inner", "decoded_quarter"), "decoded_quarter")
    return at.pixels(last.conv, x, last.factor)


def _change(at: Arithmetic[T], block: "Residual", x: Value[T], inner: str, outer: str) -> Value[T]:
    return at.conv(block.b, at.leaky(at.conv(block.a, at.leaky(x), inner)), outer)


def finer(rounded: Value[Any], data: T, fine: Tensor) -> Value[T]:
    """Return integers to which those of finer units of some channels, `fine`, have been put at the end of `data`."""
    unit = torch.cat([rounded.unit, rounded.unit[fine] / FINER])
    return Value(data, unit, torch.cat([torch.arange(len(rounded.unit), device=fine.device), fine]))


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
    weight = layer.weight if x.of is None else layer.weight[:, x.of]
    weight = weight * (x.unit[None, :, None, None] / out_unit[:, None, None, None])
    step = weight.detach().abs().amax((1, 2, 3)).clamp_min(1e-12) / WEIGHT_LIMIT
    return IntegerConv(weight / step[:, None, None, None], layer.bias / (out_unit * step), step)


class _ToGrid(torch.autograd.Function):
    """Round and clamp, with the gradient of the identity, but for what would lead farther out of the bounds."""

    @staticmethod
    def forward(context: Any, x: Tensor) -> Tensor:
        context.save_for_backward(x)
        return torch.round(x).clamp_(LOWEST, HIGHEST)

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> Tensor:
        (x,) = context.saved_tensors
        return gradient * (((x >= LOWEST) | (gradient < 0)) & ((x <= HIGHEST) | (gradient > 0)))


def to_grid(x: Tensor) -> Tensor:
    """Return the nearest integers from -128 to 127."""
    nearest: Tensor = _ToGrid.apply(x)  # type: ignore[no-untyped-call]
    return nearest


class EightBits(nn.Module):
    """The units of a network, and arithmetic on tensors (batch, channels, h, w) with them."""

    def __init__(self, widths: "Widths") -> None:
        super().__init__()
        for name, channels in unit_names(widths).items():
            self.register_buffer(name, torch.ones(channels))
        self.register_buffer("decoded_fine", torch.arange(min(FINE_CHANNELS, widths.latents)))

    def start(self, pixels: Tensor) -> Value[Tensor]:
        return Value(255 * pixels - 128, torch.full((3,), PIXEL_UNIT, device=pixels.device))

    def round(self, name: str, values: Tensor) -> Value[Tensor]:
        unit = self.get_buffer(name)
        return Value(to_grid(values / unit[:, None, None]), unit)

    def round_finely(self, name: str, values: Tensor) -> Value[Tensor]:
        rounded, unit, fine = self.round(name, values), self.get_buffer(name), self.get_buffer(f"{name}_fine")
        left = (values / unit[:, None, None] - rounded.data)[:, fine]
        return finer(rounded, torch.cat([rounded.data, to_grid(left * FINER)], 1), fine)

    def conv(self, layer: nn.Conv2d, x: Value[Tensor], name: str, factor: int = 1) -> Value[Tensor]:
        unit = self.get_buffer(name)
        y = self._conv(layer, x, unit.repeat_interleave(factor**2))
        return Value(to_grid(F.pixel_shuffle(y, factor) if factor > 1 else y), unit)

    def float_conv(self, layer: nn.Conv2d, x: Value[Tensor]) -> Tensor:
        with in_float32(x.data):
            weight = layer.weight * x.unit[:, None, None]
            return F.conv2d(x.data.float(), weight, layer.bias, layer.stride, layer.padding)

    def pixels(self, layer: nn.Conv2d, x: Value[Tensor], factor: int) -> Tensor:
        unit = torch.full((layer.out_channels,), PIXEL_UNIT, device=x.unit.device)
        return F.pixel_shuffle(self._conv(layer, x, unit), factor).float() * PIXEL_UNIT + 0.5

    def leaky(self, x: Value[Tensor]) -> Value[Tensor]:
        return x._replace(data=to_grid(F.leaky_relu(x.data, SLOPE)))

    def add(self, x: Value[Tensor], y: Value[Tensor], name: str) -> Value[Tensor]:
        return x._replace(data=to_grid(x.data + y.data))

    def float_add(self, x: Tensor, y: Value[Tensor]) -> Tensor:
        return x + y.data.float() * y.unit[:, None, None]

    def _conv(self, layer: nn.Conv2d, x: Value[Tensor], out_unit: Tensor) -> Tensor:
        integers = integer_conv(layer, x, out_unit)
        weight, bias = round_through(integers.weight), round_through(integers.bias)
        return F.conv2d(x.data, weight, bias, layer.stride, layer.padding) * integers.step[:, None, None]


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

    def round_finely(self, name: str, values: Tensor) -> Value[Tensor]:
        return self.round(name, values)

    def conv(self, layer: nn.Conv2d, x: Value[Tensor], name: str, factor: int = 1) -> Value[Tensor]:
        return self.round(name, F.pixel_shuffle(layer(x.data), factor))

    def float_conv(self, layer: nn.Conv2d, x: Value[Tensor]) -> Tensor:
        y: Tensor = layer(x.data)
        return y

    def pixels(self, layer: nn.Conv2d, x: Value[Tensor], factor: int) -> Tensor:
        return F.pixel_shuffle(self.float_conv(layer, x), factor) + 0.5

    def leaky(self, x: Value[Tensor]) -> Value[Tensor]:
        return x._replace(data=F.leaky_relu(x.data, SLOPE))

    def add(self, x: Value[Tensor], y: Value[Tensor], name: str) -> Value[Tensor]:
        return self.round(name, x.data + y.data)

    def float_add(self, x: Tensor, y: Value[Tensor]) -> Tensor:
        return x + y.data


@torch.no_grad()
def begin_eight_bits(codec: "PhotoCodec", batches: Iterable["Batch"]) -> None:
    """Set the units of a network that was trained in float, by the largest values that batches have.

    Its first layer takes pixels less 128/255 from now on, as integers do, in place of those less 0.5.
    """
    units, first = codec.eight_bits, codec.encoder[0]
    assert units is not None  # noqa: S101
    first.bias += first.weight.sum((1, 2, 3)) * (MIDDLE - 0.5)
    looking = _Looking()
    for batch in batches:
        sent = codec.send(analyse(looking, codec, batch.pixels), batch.quality)
        synthesise(looking, codec, sent.latents)
    for name, largest in looking.largest.items():
        room = LATENTS_ROOM if name == "decoded" else 1.0
        units.get_buffer(name).copy_(room * largest.clamp_min(1e-6) / HIGHEST)
    fine = units.get_buffer("decoded_fine")
    fine.copy_(torch.topk(units.get_buffer("decoded"), len(fine)).indices.sort().values)
