"""The hyper decoder and the context <-> networks of integers, which give the same on every machine.

Weights are integers of 8 bits, activations of 8 bits without a sign, and each output is divided by a power of two and
rounded down. Every product and every partial sum, in any order, is an integer below 2^24, which float32 holds exactly;
so ordinary float32 convolutions compute them, fused or not, vectorised or not, and no rounding ever happens.
`worst_sums` proves the bound for given weights.

They are made of the trained network, which costs 0.1 % of the bytes. Training through them cost more than it gained
(docs/adr/0014-integers-after-training.md).
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.photo.model import (
    HYPER_LIMIT,
    LOWEST_SCALE,
    TABLE_STEP,
    TABLES,
    ContextPass,
    PhotoCodec,
)

EXACT = 1 << 24
WEIGHT_LIMIT = 127
ACTIVATION_LIMIT = 255
MEAN_UNIT = 1 / 32  # of means: before the gain from the hyper decoder, in quantiser steps from the context
SQUASHED_UNIT, SQUASHED_LIMIT = 1 / 16, 127
QUARTER_UNIT = 1 / 64
QUARTER_LIMIT = 4 * TABLES - 1
LEAST_SHIFT, MOST_SHIFT = 3, 14
OFFSET_PARTS = 256  # of a quarter step, in which gains are written down
QUALITY_PARTS = 32  # of a level, in which a quality is written down
ROOM = 1.25  # above the largest activation seen


class Input(NamedTuple):
    """One of the convolutions whose sum a layer is; its inputs are multiples of `unit`, at most `limit` of them."""

    conv: nn.Conv2d
    unit: Tensor
    limit: int


class IntegerLayer(nn.Module):
    """Convolutions of integers, their sum divided by 2^shift and rounded to an integer, for each output channel.

    It holds no weights, but makes them of those of the convolutions. Gradients do not pass through it.
    """

    out_unit: Tensor
    shift: Tensor
    offset: Tensor

    def __init__(self, inputs: Sequence[Input], out_unit: Tensor, offset: Tensor, hidden: bool) -> None:
        """Choose the finest weights that stay in 8 bits, and whose sums stay below 2^24.

        Args:
            inputs: the convolutions.
            out_unit: (outputs,) of the result.
            offset: (outputs,) added to the biases.
            hidden: whether the result is limited to 0 .. 255.
        """
        super().__init__()
        self.inputs = tuple(inputs)
        self.hidden = hidden
        self.register_buffer("out_unit", out_unit.clone())
        self.register_buffer("offset", offset.clone())
        self.register_buffer("shift", torch.zeros_like(out_unit))
        largest = torch.stack([weight.abs().amax((1, 2, 3)) for weight in self._scaled()]).amax(0)
        finest = torch.floor(torch.log2(WEIGHT_LIMIT / largest.clamp_min(1e-9)))
        self.shift.copy_(finest.clamp(0, MOST_SHIFT))
        for _ in range(MOST_SHIFT):
            over = self.worst_sums() >= EXACT
            self.shift.sub_(over.float()).clamp_min_(0)

    @torch.no_grad()
    def forward(self, *inputs: Tensor) -> Tensor:
        """Return integers (batch, outputs, h, w) of integers."""
        total = self.bias()[:, None, None]
        for part, weight, values in zip(self.inputs, self.weights(), inputs, strict=True):
            total = total + F.conv2d(values, weight, padding=part.conv.padding)
        output = torch.floor(total * torch.exp2(-self.shift)[:, None, None])
        return output.clamp(0, ACTIVATION_LIMIT) if self.hidden else output

    @torch.no_grad()
    def weights(self) -> list[Tensor]:
        """Return each convolution's integers (outputs, inputs, rows, columns)."""
        step = torch.exp2(self.shift)[:, None, None, None]
        return [torch.round(weight * step).clamp(-WEIGHT_LIMIT, WEIGHT_LIMIT) for weight in self._scaled()]

    @torch.no_grad()
    def bias(self) -> Tensor:
        """Return the integers that are added to the sums, a half of what they are divided by included."""
        total = self.offset
        for part in self.inputs:
            if part.conv.bias is not None:
                total = total + part.conv.bias
        return torch.round(total / self.out_unit * torch.exp2(self.shift)) + torch.floor(torch.exp2(self.shift - 1))

    @torch.no_grad()
    def worst_sums(self) -> Tensor:
        """Return for each output channel what no partial sum's magnitude can exceed, whatever the inputs are."""
        worst = self.bias().abs().double()
        for part, weight in zip(self.inputs, self.weights(), strict=True):
            worst = worst + weight.double().abs().sum((1, 2, 3)) * part.limit
        return worst

    def _scaled(self) -> list[Tensor]:
        """Return the weights from integer inputs to the result in its unit."""
        return [_per_unit(part) / self.out_unit[:, None, None, None] for part in self.inputs]


class IntegerEntropy(nn.Module):
    """All integer layers of a network, made of its float ones, and put in their place.

    Attributes:
        hyper: three layers, enlarging twice after the first two.
        passes: of white, others_black, others_white: the hidden layer and the last one.
    """

    def __init__(self, codec: PhotoCodec, hyper_units: Sequence[Tensor], pass_units: Sequence[Tensor]) -> None:
        super().__init__()
        first, second, last = (_conv(codec.hyper_decoder[0].conv), _conv(codec.hyper_decoder[2].conv),
                               _conv(codec.hyper_decoder[4]))  # fmt: skip
        latents = codec.widths.latents
        device = last.weight.device
        ones = torch.ones(codec.widths.hyper_latents, device=device)
        unit_1, unit_2 = hyper_units
        quarter = TABLE_STEP / 4
        last_unit = torch.cat([torch.full((latents,), MEAN_UNIT), torch.full((latents,), quarter)]).to(device)
        last_offset = torch.cat([torch.zeros(latents), torch.full((latents,), -_log(LOWEST_SCALE))]).to(device)
        self.hyper = nn.ModuleList(
            [
                IntegerLayer(
                    [Input(first, ones, HYPER_LIMIT)],
                    unit_1.repeat_interleave(4),
                    torch.zeros(len(unit_1) * 4, device=device),
                    True,
                ),
                IntegerLayer(
                    [Input(second, unit_1, ACTIVATION_LIMIT)],
                    unit_2.repeat_interleave(4),
                    torch.zeros(len(unit_2) * 4, device=device),
                    True,
                ),
                IntegerLayer([Input(last, unit_2, ACTIVATION_LIMIT)], last_unit, last_offset, False),
            ]
        )
        self.passes = nn.ModuleList(
            nn.ModuleList(_pass_layers(part, unit))
            for part, unit in zip(context_passes(codec), pass_units, strict=True)
        )

    def attach(self, codec: PhotoCodec) -> None:
        """Let the network compute means and scales with these integers from now on."""
        codec.hyper_in_integers = self.means_and_scales
        for number, part in enumerate(context_passes(codec)):
            part.in_integers = lambda squashed, scales, number=number: self.corrections(number, squashed, scales)

    def hyper_integers(self, z: Tensor) -> Tensor:
        """Return integers (batch, 2 latents, 4 h, 4 w): means in 1/32 before the gain, scales in quarter steps."""
        first, second, last = self.hyper
        hidden = F.pixel_shuffle(first(z), 2)
        result: Tensor = last(F.pixel_shuffle(second(hidden), 2))
        return result

    def pass_integers(self, number: int, squashed: Tensor, quarters: Tensor) -> Tensor:
        """Return a pass's corrections, integers (batch, 2 outputs, h, w): of means in 1/32 step, of quarter steps."""
        layers = self.passes[number]
        assert isinstance(layers, nn.ModuleList)  # noqa: S101
        result: Tensor = layers[1](layers[0](squashed, quarters))
        return result

    def means_and_scales(self, z: Tensor, log_gain: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
        """Do what `PhotoCodec.hyper_synthesise` does."""
        mean, quarters = self.hyper_integers(z)[:, :, :height, :width].chunk(2, 1)
        quarters = quarters + torch.round(log_gain * (4 / TABLE_STEP))
        return mean * MEAN_UNIT * torch.exp(log_gain), quarters.clamp(0, QUARTER_LIMIT)

    def corrections(self, number: int, squashed: Tensor, scales: Tensor) -> tuple[Tensor, Tensor]:
        """Do what `ContextPass.forward` does."""
        mean, quarters = self.pass_integers(number, squashed / SQUASHED_UNIT, scales / QUARTER_UNIT).chunk(2, 1)
        return mean * MEAN_UNIT, quarters

    def worst_sum(self) -> int:
        """Return the largest magnitude that any sum in any layer can have; exact below 2^24."""
        layers = [layer for layer in self.modules() if isinstance(layer, IntegerLayer)]
        return int(max(float(layer.worst_sums().max()) for layer in layers))


def integer_layers(modules: Any) -> list[IntegerLayer]:
    """Return the integer layers of a list of modules."""
    return [module for module in modules if isinstance(module, IntegerLayer)]


def gain_offsets(codec: PhotoCodec) -> Tensor:
    """Return what each level's gain adds to scales, in 1/256 of a quarter step: integers (LEVELS, latents)."""
    return torch.round(codec.log_gain.detach().double() * (4 * OFFSET_PARTS / TABLE_STEP)).long()


def offset_at(offsets: Tensor, quality: int) -> Tensor:
    """Return what is added to scales, in quarter steps, at a quality in 1/32 of a level: integers (latents,).

    Between levels it is linear. All of it is integers, for sender and receiver to find the same.
    """
    level = min(quality // QUALITY_PARTS, len(offsets) - 2)
    share = quality - level * QUALITY_PARTS
    sums = offsets[level] * (QUALITY_PARTS - share) + offsets[level + 1] * share
    return (sums + QUALITY_PARTS * OFFSET_PARTS // 2) // (QUALITY_PARTS * OFFSET_PARTS)


def context_passes(codec: PhotoCodec) -> tuple[ContextPass, ContextPass, ContextPass]:
    """Return the passes after the first in the order of decoding."""
    context = codec.context
    return context.white, context.others_black, context.others_white


@torch.no_grad()
def to_integers(codec: PhotoCodec, pixels: Tensor, quality: Tensor) -> IntegerEntropy:
    """Return the integer networks of a trained network, and attach them to it.

    Args:
        codec: with float hyper decoder and context.
        pixels: some pictures (batch, 3, height, width) that show how large activations are.
        quality: (batch,).
    """
    largest: dict[int, Tensor] = {}
    enlarging = [codec.hyper_decoder[0], codec.hyper_decoder[2]]
    sums: list[nn.Module] = [*enlarging, *(part.last for part in context_passes(codec))]

    def watch(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        values = output.clamp_min(0) if module in enlarging else inputs[0]
        seen = values.amax((0, 2, 3))
        largest[id(module)] = torch.maximum(largest.get(id(module), seen), seen)

    hooks = [module.register_forward_hook(watch) for module in sums]
    with torch.no_grad():
        codec.send(codec.analyse(pixels), quality)
    for hook in hooks:
        hook.remove()
    first, second = (_conv(layer.conv) for layer in (codec.hyper_decoder[0], codec.hyper_decoder[2]))
    hyper_1 = _unit(
        largest[id(enlarging[0])], [Input(first, torch.ones(first.in_channels, device=pixels.device), HYPER_LIMIT)]
    )
    hyper_2 = _unit(largest[id(enlarging[1])], [Input(second, hyper_1, ACTIVATION_LIMIT)])
    passes = [_unit(largest[id(part.last)], _pass_inputs(part)) for part in context_passes(codec)]
    entropy = IntegerEntropy(codec, [hyper_1, hyper_2], passes)
    entropy.attach(codec)
    return entropy


def _unit(seen: Tensor, inputs: Sequence[Input]) -> Tensor:
    """Return the unit of hidden activations (channels,): by the largest seen, and so that weights fit into 8 bits.

    A channel that was hardly ever above 0 would otherwise have weights that are too large, and sums beyond 2^24.
    """
    unit = ROOM * seen.float() / ACTIVATION_LIMIT
    largest = torch.stack([_per_unit(part).abs().amax((1, 2, 3)) for part in inputs]).amax(0)
    sums = torch.stack([_per_unit(part).abs().sum((1, 2, 3)) * part.limit for part in inputs]).sum(0)
    for part in inputs:
        if part.conv.bias is not None:
            sums = sums + part.conv.bias.abs()
    # Several outputs of an enlarging convolution are one channel.
    parts = len(largest) // len(unit)
    least = torch.maximum(largest * (2**LEAST_SHIFT / WEIGHT_LIMIT), sums * (2 * 2**LEAST_SHIFT / EXACT))
    return torch.maximum(unit, least.view(-1, parts).amax(1))


def _per_unit(part: Input) -> Tensor:
    return part.conv.weight * part.unit[None, :, None, None]


def _pass_inputs(part: ContextPass) -> list[Input]:
    device = part.near.weight.device
    near = torch.full((part.near.in_channels,), SQUASHED_UNIT, device=device)
    here = torch.full((part.here.in_channels,), QUARTER_UNIT, device=device)
    return [Input(part.near, near, SQUASHED_LIMIT), Input(part.here, here, QUARTER_LIMIT)]


def _pass_layers(part: ContextPass, unit: Tensor) -> list[IntegerLayer]:
    outputs = part.last.out_channels // 2
    last_unit = torch.cat([torch.full((outputs,), MEAN_UNIT), torch.ones(outputs)]).to(unit.device)
    hidden = IntegerLayer(_pass_inputs(part), unit, torch.zeros_like(unit), True)
    last = IntegerLayer([Input(part.last, unit, ACTIVATION_LIMIT)], last_unit, torch.zeros_like(last_unit), False)
    return [hidden, last]


def _conv(layer: nn.Module | Tensor) -> nn.Conv2d:
    assert isinstance(layer, nn.Conv2d)  # noqa: S101
    return layer


def _log(value: float) -> float:
    return float(torch.log(torch.tensor(value, dtype=torch.float64)))
