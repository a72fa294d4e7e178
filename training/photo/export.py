"""A trained network -> `encoder.onnx`, `decoder.onnx`, `entropy.onnx` and `refiner.onnx`, of pictures of any size.

A graph has parts that share nothing; each has its own inputs, of its own height and width, and its own output. Who
wants one part only gives the others' inputs as 1 x 1, which costs nothing.

    encoder.onnx   pixels, uint8 (1, 16 h, 16 w, 3) -> latents (1, 256, h, w), before the gain
                   gained (1, 256, h, w), latents after the gain -> hyper (1, 48, h / 4, w / 4, rounded up)
    decoder.onnx   latents (1, 256, h, w), after the inverse gain -> pixels, uint8 (1, 16 h, 16 w, 3)
    entropy.onnx   z (1, 48, a, b) -> means_and_scales (1, 512, 4 a, 4 b)
                   symbols_1 (1, 128, h, w), scales_1 (1, 64, h, w) -> corrections_1 (1, 128, h, w)
                   symbols_2 (1, 128, h, w), scales_2 (1, 256, h, w) -> corrections_2 (1, 384, h, w)
                   symbols_3 (1, 512, h, w), scales_3 (1, 256, h, w) -> corrections_3 (1, 384, h, w)
    refiner.onnx   latents (1, 256, h, w), after the inverse gain, differences (1, 3, 16 h, 16 w)
                   -> gradient (1, 256, h, w), which a sender alone may use

All values of `entropy.onnx` are integers, and exactly what `numpy_layer` computes in int64: `export` refuses a network
whose sums can reach 2^24. Means and their corrections are in 1/32, scales in quarter steps of the tables,
symbols as `squash_symbols` makes them, in 1/16.
"""

import json
import logging
import re
import shutil
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnx.compose
import onnx.numpy_helper
import torch
from torch import Tensor, nn

from training.photo import eight_bit_graph
from training.photo.entropy_graph import entropy_graph
from training.photo.integers import EXACT, IntegerEntropy, IntegerLayer, gain_offsets, integer_layers
from training.photo.model import PhotoCodec, Widths
from training.photo.onnx_nodes import PIXELS
from training.photo.refiner import Refiner
from training.photo.tables import Table, hyper_tables
from training.photo.tiles import DECODER_MARGIN, encoder_margin

OPSET = 18
EXPORT_FILE = "export.json"  # what a card says, beside the graphs
# Types of kernels in files, the smallest first.
_STORED = (np.int8, np.float16)
Integers = npt.NDArray[np.int64]


class InexactNetwork(ValueError):
    """A sum in an integer network can reach 2^24, from where float32 does not hold every integer."""


class Encoder(nn.Module):
    """What `encoder.onnx` holds."""

    def __init__(self, codec: PhotoCodec) -> None:
        super().__init__()
        self.codec = codec

    def forward(self, pixels: Tensor, gained: Tensor) -> tuple[Tensor, Tensor]:
        """Return latents and z."""
        return self.codec.analyse(pixels.permute(0, 3, 1, 2) / 255), self.codec.hyper_analyse(gained)


class HyperEncoder(nn.Module):
    """The part of `encoder.onnx` that is of float in networks of 8 bits."""

    def __init__(self, codec: PhotoCodec) -> None:
        super().__init__()
        self.codec = codec

    def forward(self, gained: Tensor) -> Tensor:
        """Return z."""
        return self.codec.hyper_analyse(gained)


class Decoder(nn.Module):
    """What `decoder.onnx` holds."""

    def __init__(self, codec: PhotoCodec) -> None:
        super().__init__()
        self.codec = codec

    def forward(self, latents: Tensor) -> Tensor:
        """Return pixels."""
        return torch.round(255 * self.codec.synthesise(latents).clamp(0, 1)).to(torch.uint8).permute(0, 2, 3, 1)


@torch.no_grad()
def round_kernels(codec: PhotoCodec) -> None:
    """Round the kernels of encoder and decoder to what float16 holds, which halves their files.

    Whatever is fitted to the network, tables above all, is to be fitted afterwards.
    """
    parts = (codec.encoder, codec.encoder_last, codec.hyper_encoder, codec.decoder_first, codec.decoder)
    for weight in (weight for part in parts for weight in part.parameters() if weight.ndim == 4):
        weight.copy_(weight.half())


def export(codec: PhotoCodec, entropy: IntegerEntropy, folder: Path) -> dict[str, Any]:
    """Write the four graphs of a network, and return what a model's card says of them.

    Args:
        codec: the network, in evaluation mode.
        entropy: its integer networks.
        folder: where to; it is there.

    Raises:
        InexactNetwork: a sum can reach 2^24; nothing is written.
    """
    bounds = prove_exact(entropy)
    graphs = {
        "encoder": encoder_graph(codec),
        "decoder": decoder_graph(codec),
        "entropy": entropy_graph(entropy, OPSET),
        "refiner": refiner_graph(codec),
    }
    for name, model in graphs.items():
        (folder / f"{name}.onnx").write_bytes(file_of(model))
    return {
        "opset": OPSET,
        "margins": margins_of(codec.widths),
        **_of_entropy(codec),
        "exact_below": EXACT,
        "worst_sum": max(max(sums) for sums in bounds.values()),
        "worst_sums": bounds,
        "bytes": {name: (folder / f"{name}.onnx").stat().st_size for name in graphs},
    }


def export_transforms(codec: PhotoCodec, earlier: Path, folder: Path) -> dict[str, Any]:
    """Write encoder, decoder and refiner of a network, and beside them the entropy model of an earlier export.

    Args:
        codec: the network, in evaluation mode; its encoder and decoder alone were trained since that export.
        earlier: folder of that export, with `export.json`.
        folder: where to; it is there.

    Returns:
        What that export says, with margins and sizes as they are now.

    Raises:
        ValueError: the network has other gains, or another distribution of z; nothing is written.
    """
    report: dict[str, Any] = json.loads((earlier / EXPORT_FILE).read_text())
    if any(report[name] != value for name, value in _of_entropy(codec).items()):
        raise ValueError(f"{earlier} holds the entropy model of another network")
    graphs = {"encoder": encoder_graph(codec), "decoder": decoder_graph(codec), "refiner": refiner_graph(codec)}
    for name, model in graphs.items():
        (folder / f"{name}.onnx").write_bytes(file_of(model))
        report["bytes"][name] = (folder / f"{name}.onnx").stat().st_size
    shutil.copyfile(earlier / "entropy.onnx", folder / "entropy.onnx")
    report["margins"] = margins_of(codec.widths)
    return report


def _of_entropy(codec: PhotoCodec) -> dict[str, Any]:
    """Return what a card says of a network's entropy model, but for what is fitted to its symbols."""
    return {
        "first_group": codec.widths.first_group,
        "gain_offsets": gain_offsets(codec).tolist(),
        "log_gain": codec.log_gain.tolist(),
        "log_inverse": codec.log_inverse.tolist(),
        "hyper_tables": tables_as_json(hyper_tables(codec.hyper_prior)),
    }


def tables_as_json(tables: Sequence[Table]) -> list[dict[str, Any]]:
    """Return tables as `export.json` has them."""
    return [{"first": table.first, "frequencies": table.frequencies.tolist()} for table in tables]


def encoder_graph(codec: PhotoCodec) -> onnx.ModelProto:
    """Return the graph of `encoder.onnx`."""
    pixels, gained = {"pixels": (3, 16)}, {"gained": (codec.widths.latents, 1)}
    if codec.eight_bits is None:
        return to_onnx(Encoder(codec), pixels | gained, ["latents", "hyper"])
    hyper = to_onnx(HyperEncoder(codec), gained, ["hyper"])
    return onnx.compose.merge_models(eight_bit_graph.encoder_graph(codec, OPSET), hyper, [])


def decoder_graph(codec: PhotoCodec) -> onnx.ModelProto:
    """Return the graph of `decoder.onnx`."""
    if codec.eight_bits is not None:
        return eight_bit_graph.decoder_graph(codec, OPSET)
    return to_onnx(Decoder(codec), {"latents": (codec.widths.latents, 1)}, ["pixels"])


def refiner_graph(codec: PhotoCodec) -> onnx.ModelProto:
    """Return the graph of `refiner.onnx`."""
    return to_onnx(
        Refiner(codec),
        {"latents": (codec.widths.latents, 1), "differences": (3, 16)},
        ["gradient"],
        together=[("latents", "differences")],
    )


def margins_of(widths: Widths) -> dict[str, int]:
    """Return how far values see, in latents, as a card has it."""
    return {"encoder": encoder_margin(widths), "decoder": DECODER_MARGIN}


def prove_exact(entropy: IntegerEntropy) -> dict[str, list[int]]:
    """Return for each layer and output channel the largest magnitude that a partial sum can have.

    It is that of sum |weight| x largest input + |bias|, over all inputs; the inputs are limited by what makes them.

    Raises:
        InexactNetwork: one reaches 2^24, or a weight or a bias is no integer.
    """
    bounds = {}
    for name, layer in entropy.named_modules():
        if not isinstance(layer, IntegerLayer):
            continue
        values = [*layer.weights(), layer.bias()]
        if any(bool((value != torch.round(value)).any()) for value in values):
            raise InexactNetwork(f"{name} has a weight that is no integer")
        worst = layer.worst_sums()
        if not bool((worst < EXACT).all()):
            channel = int(worst.argmax())
            raise InexactNetwork(f"{name}: a sum of output {channel} can reach {int(worst.max())}; 2^24 is too much")
        bounds[name] = [int(value) for value in worst]
    return bounds


def numpy_layer(layer: IntegerLayer, *inputs: Integers) -> Integers:
    """Compute a layer in int64: the reference for what `entropy.onnx` gives. Shapes as of `IntegerLayer.forward`."""
    total = layer.bias().detach().numpy().astype(np.int64)[None, :, None, None]
    for weight, values in zip(layer.weights(), inputs, strict=True):
        kernel = weight.detach().numpy().astype(np.int64)
        reach = kernel.shape[2] // 2
        padded = np.pad(values, ((0, 0), (0, 0), (reach, reach), (reach, reach)))
        windows = np.lib.stride_tricks.sliding_window_view(padded, kernel.shape[2:], (2, 3))
        total = total + np.einsum("bihwrc,oirc->bohw", windows, kernel)
    shift = layer.shift.numpy().astype(np.int64)[None, :, None, None]
    output: Integers = total >> shift
    return np.clip(output, 0, 255) if layer.hidden else output


def numpy_enlarge(values: Integers) -> Integers:
    """Make channels pixels, as `pixel_shuffle` by 2 does."""
    batch, channels, height, width = values.shape
    parts = values.reshape(batch, channels // 4, 2, 2, height, width).transpose(0, 1, 4, 2, 5, 3)
    return parts.reshape(batch, channels // 4, 2 * height, 2 * width)


def numpy_entropy(entropy: IntegerEntropy, z: Integers, *near_and_here: Integers) -> list[Integers]:
    """Compute in int64 what `entropy.onnx` gives."""
    first, second, last = integer_layers(entropy.hyper)
    hidden = numpy_enlarge(numpy_layer(first, z))
    results = [numpy_layer(last, numpy_enlarge(numpy_layer(second, hidden)))]
    for layers, near, here in zip(entropy.passes, near_and_here[::2], near_and_here[1::2], strict=True):
        inner, outer = integer_layers(layers)
        results.append(numpy_layer(outer, numpy_layer(inner, near, here)))
    return results


def to_onnx(
    module: nn.Module,
    inputs: dict[str, tuple[int, int]],
    outputs: Sequence[str],
    together: Sequence[tuple[str, str]] = (),
) -> onnx.ModelProto:
    """Return a module's graph, without a trace of this machine.

    Args:
        module: takes the inputs in their order.
        inputs: (channels, what the sides are multiples of) of each; `pixels` are uint8 (1, height, width, 3).
        outputs: names.
        together: names of inputs of one height and width; others are free of each other.
    """
    examples, shapes = [], []
    same = {second: first for first, second in together}
    for number, (name, (channels, side)) in enumerate(inputs.items()):
        size = number if name not in same else list(inputs).index(same[name])
        example, sides = torch.zeros(1, channels, side * (3 + size), side * (4 + size)), (2, 3)
        if name == PIXELS:
            example, sides = example.permute(0, 2, 3, 1).to(torch.uint8), (1, 2)
        examples.append(example)
        shapes.append(dict.fromkeys(sides, torch.export.Dim.DYNAMIC))
    with _without_third_party_noise():
        program = torch.onnx.export(
            module.eval(),
            tuple(examples),
            dynamo=True,
            input_names=list(inputs),
            output_names=list(outputs),
            dynamic_shapes=tuple(shapes),
            opset_version=OPSET,
            verbose=False,
        )
    assert program is not None  # noqa: S101
    model = program.model_proto
    for part in (model, model.graph, *model.graph.node, *model.graph.input, *model.graph.output):
        part.ClearField("doc_string")
        part.ClearField("metadata_props")
    for tensor in model.graph.initializer:
        tensor.ClearField("doc_string")
        tensor.ClearField("metadata_props")
    model.graph.ClearField("value_info")
    _name_sides(model.graph)
    onnx.checker.check_model(model, full_check=True)
    return model


def _name_sides(graph: onnx.GraphProto) -> None:
    """Name free heights and widths after the input that has them, in place of the exporter's numbers."""
    names: dict[str, str] = {}
    for value in graph.input:
        shape = list(value.type.tensor_type.shape.dim)
        sides = shape[1:3] if value.name == PIXELS else shape[2:]
        for side, what in zip(sides, ("height", "width"), strict=True):
            names.setdefault(side.dim_param, f"{value.name}_{what}")
    for value in (*graph.input, *graph.output):
        for side in value.type.tensor_type.shape.dim:
            if side.dim_param:
                side.dim_param = re.sub(r"s\d+", lambda found: names.get(found[0], found[0]), side.dim_param)


def file_of(model: onnx.ModelProto) -> bytes:
    """Return the bytes of a graph's file, always the same ones, with kernels in the smallest type that holds them."""
    _store_small(model)
    content: bytes = model.SerializeToString(deterministic=True)
    return content


def _store_small(model: onnx.ModelProto) -> None:
    """Store each kernel in the smallest type that holds its values.

    onnxruntime makes them float32 again when it opens the graph, so the computation stays the same.
    """
    casts = []
    for tensor in model.graph.initializer:
        values = onnx.numpy_helper.to_array(tensor)
        if values.dtype != np.float32 or values.ndim != 4:
            continue
        with np.errstate(invalid="ignore", over="ignore"):
            smaller = next((kind for kind in _STORED if (values.astype(kind) == values).all()), None)
        if smaller is None:
            continue
        name, stored = tensor.name, f"{tensor.name}.{np.dtype(smaller).name}"
        tensor.CopyFrom(onnx.numpy_helper.from_array(values.astype(smaller), stored))
        casts.append(onnx.helper.make_node("Cast", [stored], [name], to=onnx.TensorProto.FLOAT))
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    onnx.checker.check_model(model, full_check=True)


@contextmanager
def _without_third_party_noise() -> Iterator[None]:
    # The exporter logs that torchvision, which nothing here needs, is not installed.
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", category=FutureWarning)
            yield
    finally:
        logger.setLevel(level)
