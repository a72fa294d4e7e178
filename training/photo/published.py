"""Encoder and decoder of a published model of 8 bits -> a network, where no checkpoint of it is left.

A graph has all units folded into its weights. So the network that comes out has other units and weights than the one
that was exported, and computes the same.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.numpy_helper
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from latentwire.errors import InvalidCard
from latentwire.model.any_size_card import AnySizeCard, load_any_card, load_tables
from latentwire.model.card import DECODER_FILE, ENCODER_FILE
from training.photo import eight_bits
from training.photo.eight_bit_graph import order_of_outputs
from training.photo.eight_bits import PIXEL_OFFSET, PIXEL_UNIT, EightBits, Value, around_name
from training.photo.model import Enlarge, PhotoCodec, Widths

Constants = Mapping[str, Tensor]


@torch.no_grad()
def read_published(folder: Path) -> PhotoCodec:
    """Return a network whose encoder, hyper encoder, decoder and gains are those of the model in a folder.

    The other parts, which `entropy.onnx` has as integers, stay as they begin.

    Raises:
        ModelError: the folder holds no model for images of any size.
        KeyError: it is not one of 8 bits.
    """
    card = load_any_card(folder)
    if not isinstance(card, AnySizeCard):
        raise InvalidCard(f"'{card.name}' is a vector model")
    values = dict(card.provenance["training"]["widths"])
    codec = PhotoCodec(Widths(**{**values, "context": tuple(values["context"])}), eight_bits=True)
    tables = load_tables(folder, card)
    codec.log_gain.copy_(torch.tensor(tables.log_gain))
    codec.log_inverse.copy_(torch.tensor(tables.log_inverse))
    read_graphs(codec, folder / ENCODER_FILE, folder / DECODER_FILE)
    return codec.eval().requires_grad_(False)


@torch.no_grad()
def read_graphs(codec: PhotoCodec, encoder: Path, decoder: Path) -> None:
    """Set encoder, hyper encoder and decoder of a network of 8 bits to those of two graphs."""
    constants = _constants(encoder)
    for name, weight in codec.hyper_encoder.named_parameters():
        weight.copy_(_of_any_type(constants, f"codec.hyper_encoder.{name}"))
    eight_bits.analyse(_Reading(codec, constants), codec, None)
    eight_bits.synthesise(_Reading(codec, _constants(decoder)), codec, None)


class _Reading:
    """Arithmetic that sets the weights of each layer that it comes to, and has no activations."""

    def __init__(self, codec: PhotoCodec, constants: Constants) -> None:
        assert codec.eight_bits is not None  # noqa: S101
        self._units: EightBits = codec.eight_bits
        self._constants = constants
        self._paths = {id(layer): name for name, layer in codec.named_modules()}

    def start(self, _pixels: None) -> Value[None]:
        return Value(None, torch.full((3,), PIXEL_UNIT))

    def round(self, name: str, _values: None) -> Value[None]:
        return self._value(name, 1 / self._constants[f"{name}.inverse"])

    def conv(self, layer: nn.Conv2d, x: Value[None], name: str) -> Value[None]:
        y = self._value(name, self._unit(name, layer.out_channels))
        weight, bias = self._products(layer, x.unit, y.unit)
        layer.weight.copy_(weight)
        _bias_of(layer).copy_(bias)
        return y

    def leaky(self, x: Value[None]) -> Value[None]:
        return x

    def add(self, x: Value[None], _y: Value[None], _name: str) -> Value[None]:
        return x

    def float_conv(self, layer: nn.Conv2d, x: Value[None]) -> None:
        path = self._paths[id(layer)]
        kernel = sum(
            self._constants[f"{path}.{part}.weight"] * self._constants[f"{path}.{part}.step"] for part in (1, 2)
        )
        places = torch.as_tensor(kernel).reshape(*layer.kernel_size, layer.in_channels, layer.out_channels)
        layer.weight.copy_(places.permute(3, 2, 0, 1) / x.unit[:, None, None])
        _bias_of(layer).copy_(self._constants[f"{path}.bias"])

    def float_enlarge(self, layer: Enlarge, _x: None, name: str) -> None:
        self._read_enlarge(layer, name, 1.0)

    def float_add(self, _x: None, _y: Value[None]) -> None:
        pass

    def pixels(self, layer: Enlarge, _x: None, name: str) -> None:
        self._read_enlarge(layer, name, PIXEL_UNIT / self._constants["level"].item())
        _bias_of(layer.conv).sub_(PIXEL_OFFSET)

    def _read_enlarge(self, layer: Enlarge, name: str, unit: float) -> None:
        """Read a layer whose results are in this unit."""
        conv, place = layer.conv, order_of_outputs(layer).argsort()
        self._units.get_buffer(around_name(name)).fill_(unit)
        around, bias = self._products(conv, self.round(name, None).unit, torch.full((conv.out_channels,), unit))
        middle = unit * self._constants[f"{self._paths[id(conv)]}.middle"].T[:, :, None, None]
        conv.weight.copy_((around + F.pad(middle, (1, 1, 1, 1)))[place])
        _bias_of(conv).copy_(bias[place])

    def _products(self, layer: nn.Conv2d, unit: Tensor, out_unit: Tensor) -> tuple[Tensor, Tensor]:
        """Return a layer's weights and biases by the integers of its path."""
        path = self._paths[id(layer)]
        step = self._constants[f"{path}.step"] * out_unit
        weight = self._constants[f"{path}.weight"] * step[:, None, None, None] / unit[None, :, None, None]
        return weight, self._constants[f"{path}.bias"] * step

    def _unit(self, name: str, channels: int) -> Tensor:
        """Return the unit of integers: what they are multiplied by where they are added to float values, or 1."""
        return self._constants[f"change_{channels}.units"] if name.endswith("_change") else torch.ones(channels)

    def _value(self, name: str, unit: Tensor) -> Value[None]:
        self._units.get_buffer(name).copy_(unit)
        return Value(None, unit)


def _bias_of(layer: nn.Conv2d) -> Tensor:
    assert layer.bias is not None  # noqa: S101
    return layer.bias


def _of_any_type(constants: Constants, name: str) -> Tensor:
    """Return a constant that may be stored in a smaller type, which its name then ends with."""
    return next(constants[each] for each in (name, f"{name}.float16", f"{name}.int8") if each in constants)


def _constants(graph: Path) -> dict[str, Tensor]:
    """Return the constants of a graph, float32, by their names."""
    tensors: list[Any] = list(onnx.load(graph).graph.initializer)
    return {each.name: torch.from_numpy(onnx.numpy_helper.to_array(each).astype(np.float32)) for each in tensors}
