"""Publishes a tiny untrained model for images of any size: a DCT, and random integers for its entropy model."""

import math
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from latentwire.model.any_size_card import (
    ENTROPY_FILE,
    OFFSET_PARTS,
    REFINER_FILE,
    SCALE_TABLES,
    EntropyTables,
    Exactness,
    Margins,
)
from latentwire.model.card import DECODER_FILE, ENCODER_FILE, FREQUENCY_TOTAL, FrequencyTable
from training.release.any_size_model import skip_below, write_any_size_model

LATENTS, FIRST, HYPER, HIDDEN = 12, 4, 4, 6
LEVELS = 4
LOWEST_SCALE, TABLE_STEP = 0.11, 0.1
MARGINS = Margins(encoder=2, decoder=2)


class Weights(NamedTuple):
    """Of a convolution: kernel and bias, and the number of bits that its integer result is shifted by."""

    kernel: NDArray[np.float32]
    bias: NDArray[np.float32]
    shift: int = 0


class _Graph:
    """An ONNX graph in the making."""

    def __init__(self) -> None:
        self._nodes: list[onnx.NodeProto] = []
        self._constants: list[onnx.TensorProto] = []

    def add(self, operator: str, inputs: list[str], **attributes: Any) -> str:
        output = f"v{len(self._nodes)}"
        self._nodes.append(helper.make_node(operator, inputs, [output], **attributes))
        return output

    def constant(self, values: NDArray[Any] | float) -> str:
        name = f"c{len(self._constants)}"
        self._constants.append(numpy_helper.from_array(np.asarray(values, np.float32), name))
        return name

    def convolve(self, value: str, kernel: NDArray[np.float32], stride: int = 1, pad: int | None = None) -> str:
        reach = kernel.shape[2] // 2 if pad is None else pad
        return self.add("Conv", [value, self.constant(kernel)], strides=[stride, stride], pads=[reach] * 4)

    def integers(self, values: list[str], weights: list[Weights], hidden: bool) -> str:
        """Convolutions of integers, their sum shifted to the right, and limited where it is hidden."""
        sums = [self.convolve(value, weight.kernel) for value, weight in zip(values, weights, strict=True)]
        total = self.add("Add", [sums[0], self.constant(weights[0].bias[None, :, None, None])])
        for more in sums[1:]:
            total = self.add("Add", [total, more])
        shifted = self.add("Mul", [total, self.constant(2.0 ** -weights[0].shift)])
        floor = self.add("Floor", [shifted])
        if not hidden:
            return floor
        return self.add("Clip", [floor, self.constant(0), self.constant(255)])

    def write(self, path: Path, inputs: dict[str, int], outputs: dict[str, tuple[str, int]]) -> None:
        def info(name: str, channels: int) -> onnx.ValueInfoProto:
            sides = [f"{name}_h", f"{name}_w"]
            if name == "pixels":
                return helper.make_tensor_value_info(name, TensorProto.UINT8, [1, *sides, channels])
            return helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, channels, *sides])

        def infos(channels_of: dict[str, int]) -> list[onnx.ValueInfoProto]:
            return [info(name, channels) for name, channels in channels_of.items()]

        named = [helper.make_node("Identity", [value], [name]) for name, (value, _) in outputs.items()]
        made = infos({name: channels for name, (_, channels) in outputs.items()})
        graph = helper.make_graph([*self._nodes, *named], "tiny", infos(inputs), made, self._constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
        onnx.checker.check_model(model)
        onnx.save(model, path)


def publish_tiny_any_size_model(models_dir: Path, scratch: Path, name: str = "tiny-any", seed: int = 0) -> Path:
    """Publish a random model for images of any size under `models_dir/name`; return its folder."""
    scratch.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(seed)
    paths = {file: scratch / file for file in (ENCODER_FILE, DECODER_FILE, ENTROPY_FILE, REFINER_FILE)}
    near = _near_identity(random, LATENTS)
    _write_encoder(paths[ENCODER_FILE], random, near)
    last = _near_identity(random, 3)
    _write_decoder(paths[DECODER_FILE], last, near)
    _write_refiner(paths[REFINER_FILE], last, near)
    worst_sum = _write_entropy(paths[ENTROPY_FILE], random)
    tables = make_tables(random)
    description = "A random model for tests."
    refinement = {"sensitivity": [1.0] * LATENTS, "bits_per_error": [4.0 * 4**level for level in range(LEVELS)]}
    return write_any_size_model(
        paths,
        tables,
        Exactness(worst_sum=worst_sum),
        MARGINS,
        models_dir,
        name,
        description=description,
        refinement=refinement,
    )


def make_tables(random: np.random.Generator) -> EntropyTables:
    """Tables of normal distributions, and gains that double from level to level."""
    scales = LOWEST_SCALE * np.exp(TABLE_STEP * np.arange(SCALE_TABLES))
    scale_tables = tuple(_normal_table(scale, min(40, max(1, math.ceil(4 * scale)))) for scale in scales)
    log_gain = np.log(2.0) * np.arange(LEVELS)[:, None] + random.uniform(-0.1, 0.1, (LEVELS, LATENTS))
    offsets = np.rint(log_gain * 4 * OFFSET_PARTS / TABLE_STEP).astype(int)
    return EntropyTables(
        first_group=FIRST,
        hyper_tables=tuple(_normal_table(3.0 + channel, 9) for channel in range(HYPER)),
        scale_tables=scale_tables,
        skip_below=skip_below(scale_tables),
        gain_offsets=tuple(map(tuple, offsets.tolist())),
        log_gain=tuple(map(tuple, log_gain.tolist())),
        log_inverse=tuple(map(tuple, (-log_gain).tolist())),
    )


def _normal_table(scale: float, reach: int) -> FrequencyTable:
    def below(value: float) -> float:
        return (1 + math.erf(value / scale / math.sqrt(2))) / 2

    shares = [below(value + 0.5) - below(value - 0.5) for value in range(-reach, reach + 1)]
    frequencies = [max(1, round(share * FREQUENCY_TOTAL)) for share in shares]
    frequencies[reach] += FREQUENCY_TOTAL - 1 - sum(frequencies)
    return FrequencyTable(first=-reach, frequencies=tuple(frequencies), escape=1)


def _dct() -> NDArray[np.float32]:
    """Return the two lowest frequencies along each side, of each channel: (12, 3, 16, 16), orthonormal."""
    places = (np.arange(16) + 0.5) / 16
    rows = [np.full(16, 0.25), math.sqrt(2 / 16) * np.cos(np.pi * places)]
    kernel = np.zeros((LATENTS, 3, 16, 16), np.float32)
    for number in range(LATENTS):
        kernel[number, number % 3] = np.outer(rows[number // 3 // 2], rows[number // 3 % 2])
    return kernel


def _near_identity(random: np.random.Generator, channels: int) -> NDArray[np.float32]:
    """Return a 3 x 3 kernel that hardly changes anything, but looks around."""
    kernel = random.normal(0, 0.003, (channels, channels, 3, 3)).astype(np.float32)
    kernel[np.arange(channels), np.arange(channels), 1, 1] += 1
    return kernel


def _write_encoder(path: Path, random: np.random.Generator, near: NDArray[np.float32]) -> None:
    graph = _Graph()
    maps = graph.add("Transpose", [graph.add("Cast", ["pixels"], to=TensorProto.FLOAT)], perm=[0, 3, 1, 2])
    centred = graph.add("Sub", [graph.add("Mul", [maps, graph.constant(1 / 255)]), graph.constant(0.5)])
    seen = graph.convolve(centred, _near_identity(random, 3))
    latents = graph.convolve(graph.convolve(seen, _dct(), 16, 0), near)
    halved = graph.convolve("gained", random.normal(0, 0.05, (HIDDEN, LATENTS, 5, 5)).astype(np.float32), 2)
    hyper = graph.convolve(halved, random.normal(0, 0.2, (HYPER, HIDDEN, 5, 5)).astype(np.float32), 2)
    graph.write(path, {"pixels": 3, "gained": LATENTS}, {"latents": (latents, LATENTS), "hyper": (hyper, HYPER)})


def _inverse(near: NDArray[np.float32]) -> NDArray[np.float32]:
    identity = 2 * np.eye(3)[1][None, None, :, None] * np.eye(3)[1] * np.eye(LATENTS)[:, :, None, None]
    inverse: NDArray[np.float32] = (identity - near).astype(np.float32)
    return inverse


def _write_decoder(path: Path, last: NDArray[np.float32], near: NDArray[np.float32]) -> None:
    graph = _Graph()
    spread = graph.convolve("latents", _inverse(near))
    large = graph.add("ConvTranspose", [spread, graph.constant(_dct())], strides=[16, 16])
    levels = graph.add(
        "Mul", [graph.add("Add", [graph.convolve(large, last), graph.constant(0.5)]), graph.constant(255)]
    )
    shown = graph.add("Round", [graph.add("Clip", [levels, graph.constant(0), graph.constant(255)])])
    pixels = graph.add("Transpose", [graph.add("Cast", [shown], to=TensorProto.UINT8)], perm=[0, 2, 3, 1])
    graph.write(path, {"latents": LATENTS}, {"pixels": (pixels, 3)})


def _write_refiner(path: Path, last: NDArray[np.float32], near: NDArray[np.float32]) -> None:
    """Write the transpose of the decoder, which is linear, so that its gradient is the same for all latents."""
    graph = _Graph()
    back = graph.add("ConvTranspose", ["differences", graph.constant(last)], pads=[1] * 4)
    small = graph.convolve(back, _dct(), 16, 0)
    gradient = graph.add("ConvTranspose", [small, graph.constant(_inverse(near))], pads=[1] * 4)
    graph.write(path, {"latents": LATENTS, "differences": 3}, {"gradient": (gradient, LATENTS)})


def _integer_weights(
    random: np.random.Generator, outputs: int, inputs: int, side: int, shift: int, bias: float = 0
) -> Weights:
    kernel = random.integers(-127, 128, (outputs, inputs, side, side)).astype(np.float32)
    return Weights(kernel, np.full(outputs, bias * 2**shift, np.float32), shift)


def _write_entropy(path: Path, random: np.random.Generator) -> int:
    """Write the graph; return the largest magnitude that a sum in it can have."""
    graph, worst = _Graph(), 0.0

    def layer(values: list[str], weights: list[Weights], limits: list[int], hidden: bool = False) -> str:
        nonlocal worst
        sums = sum(np.abs(w.kernel).sum((1, 2, 3)) * limit for w, limit in zip(weights, limits, strict=True))
        worst = max(worst, float((sums + np.abs(weights[0].bias)).max()))
        return graph.integers(values, weights, hidden)

    value, limit = "z", 127
    for inputs in (HYPER, HIDDEN):
        weights = _integer_weights(random, 4 * HIDDEN, inputs, 3, 8, 60)
        value = layer([value], [weights], [limit], hidden=True)
        value, limit = graph.add("DepthToSpace", [value], blocksize=2, mode="CRD"), 255
    last = _integer_weights(random, 2 * LATENTS, HIDDEN, 3, 11)
    last.bias[LATENTS:] = 90 * 2**11
    outputs = {"means_and_scales": (layer([value], [last], [255]), 2 * LATENTS)}
    inputs_of = {"z": HYPER}
    others = LATENTS - FIRST
    for number, symbols, scales, changed in ((1, FIRST, FIRST, FIRST), (2, FIRST, LATENTS, others),
                                             (3, LATENTS, LATENTS, others)):  # fmt: skip
        inputs_of |= {f"symbols_{number}": 2 * symbols, f"scales_{number}": scales}
        both = [_integer_weights(random, HIDDEN, 2 * symbols, 3, 7, 40), _integer_weights(random, HIDDEN, scales, 1, 7)]
        hidden = layer([f"symbols_{number}", f"scales_{number}"], both, [127, 255], hidden=True)
        corrections = layer([hidden], [_integer_weights(random, 2 * changed, HIDDEN, 1, 12)], [255])
        outputs[f"corrections_{number}"] = corrections, 2 * changed
    graph.write(path, inputs_of, outputs)
    return int(worst)


def drawn_picture(height: int, width: int, channels: int = 3) -> NDArray[np.uint8]:
    """Return waves of several lengths, with a little noise, uint8 (H, W, C)."""
    rows, columns = np.mgrid[:height, :width]
    waves = [np.sin(columns / 23 + rows / 31), np.cos(columns / 17 - rows / 90), np.sin(rows / 40)][:channels]
    noise = np.random.default_rng(height).normal(0, 3, (height, width, channels))
    return np.clip(128 + 80 * np.stack(waves, 2) + noise, 0, 255).astype(np.uint8)


def drawn_logo(height: int, width: int, channels: int) -> NDArray[np.uint8]:
    """Return a picture, uint8 (H, W, C), that is an ellipse with a soft edge if there is alpha, in 2 or 4 channels."""
    picture = drawn_picture(height, width, channels - (channels % 2 == 0))
    if channels % 2:
        return picture
    rows, columns = (np.linspace(-1, 1, side) if side > 1 else np.zeros(1) for side in (height, width))
    inside = np.clip(8 * (0.9 - np.hypot(rows[:, None], columns)), 0, 1)
    return np.dstack([picture, np.rint(250 * inside).astype(np.uint8)])
