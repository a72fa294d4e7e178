"""Encoders and decoders of 8-bit integers: their units, their gradients, and their graphs."""

import copy
from pathlib import Path

import numpy as np
import onnx
import onnx.numpy_helper
import onnxruntime
import pytest
import torch
from torch import nn

from tests.training.photo.conftest import SMALL
from training.photo.crops import Batch
from training.photo.eight_bits import begin_eight_bits, to_grid
from training.photo.export import decoder_graph, encoder_graph, file_of
from training.photo.model import PhotoCodec
from training.photo.onnx_nodes import OnnxNodes


@pytest.fixture
def rounded(codec: PhotoCodec, batch: Batch) -> PhotoCodec:
    """The network of `codec` in 8 bits, with residual branches, and weights around the middle, that count."""
    with torch.no_grad():
        for name, weight in codec.named_parameters():
            if name.endswith(".b.weight"):
                weight.normal_(0, 0.1)
            elif name.startswith("decoder") and name.endswith(".conv.weight"):
                weight.add_(torch.randn(weight.shape), alpha=0.01)
    network = PhotoCodec(SMALL, eight_bits=True)
    network.load_state_dict(codec.state_dict(), strict=False)
    begin_eight_bits(network, [batch])
    return network.eval()


def psnr(found: torch.Tensor, expected: torch.Tensor) -> float:
    return float(-10 * torch.log10((found - expected).square().mean()))


def test_eight_bits_come_near_to_float(codec: PhotoCodec, rounded: PhotoCodec, batch: Batch) -> None:
    with torch.no_grad():
        latents = codec.analyse(batch.pixels)
        assert float((rounded.analyse(batch.pixels) - latents).square().mean()) < 0.01 * float(latents.square().mean())
        assert psnr(rounded.synthesise(latents), codec.synthesise(latents)) > 30
        # Half the bits would not do: the units are what decides.
        coarse = copy.deepcopy(rounded)
        assert coarse.eight_bits is not None
        coarse.eight_bits.get_buffer("decoded_quarter").mul_(16)
        assert psnr(coarse.synthesise(latents), codec.synthesise(latents)) < psnr(
            rounded.synthesise(latents), codec.synthesise(latents)
        )


def test_all_weights_learn_through_the_rounding(rounded: PhotoCodec, batch: Batch) -> None:
    coded = rounded(batch.pixels, batch.quality, torch.Generator().manual_seed(0))
    (coded.pixels - batch.pixels).square().mean().backward()
    parts = (rounded.encoder, rounded.encoder_last, rounded.decoder_first, rounded.decoder)
    layers = [layer for part in parts for layer in part.modules() if isinstance(layer, nn.Conv2d)]
    assert len(layers) == 18
    for layer in layers:
        assert layer.weight.grad is not None
        assert float(layer.weight.grad.abs().max()) > 0


def test_values_beyond_the_grid_are_led_back() -> None:
    x = torch.tensor([-300.0, -128.4, 0.4, 126.6, 300.0, 300.0], requires_grad=True)
    y = to_grid(x)
    assert y.tolist() == [-128, -128, 0, 127, 127, 127]
    (gradient,) = torch.autograd.grad(y, x, torch.tensor([1.0, 1.0, 1.0, 1.0, 1.0, -1.0]))
    assert gradient.tolist() == [0, 0, 1, 1, 1, 0]


@pytest.mark.parametrize("precise", ["0", "1"])
@pytest.mark.parametrize("optimised", [False, True])
def test_graphs_compute_the_same_integers(rounded: PhotoCodec, optimised: bool, precise: str) -> None:
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.x64quantprecision", precise)  # of processors without VNNI
    levels = onnxruntime.GraphOptimizationLevel
    options.graph_optimization_level = levels.ORT_ENABLE_ALL if optimised else levels.ORT_DISABLE_ALL
    encoder, decoder = (
        onnxruntime.InferenceSession(file_of(graph(rounded)), options, providers=["CPUExecutionProvider"])
        for graph in (encoder_graph, decoder_graph)
    )
    nothing = np.zeros((1, SMALL.latents, 1, 1), np.float32)
    for height, width in ((16, 16), (48, 80)):
        image = np.random.default_rng(height).integers(0, 256, (1, height, width, 3), np.uint8)
        (latents,) = encoder.run(["latents"], {"pixels": image, "gained": nothing})
        (decoded,) = decoder.run(None, {"latents": 2 * latents})
        with torch.no_grad():
            expected = rounded.analyse(torch.from_numpy(image).permute(0, 3, 1, 2) / 255).numpy()
            shown = rounded.synthesise(torch.from_numpy(2 * latents)).permute(0, 2, 3, 1)
        np.testing.assert_allclose(latents, expected, atol=5e-4)  # weights of 16 bits make the latents
        assert np.abs(decoded - 255 * shown.clamp(0, 1).numpy()).max() < 0.51
        assert decoded.std() > 10


def test_constants_of_one_name_and_other_values_stay_apart() -> None:
    nodes = OnnxNodes()
    names = [nodes.constant("scale", np.float32(value)) for value in (1, 2, 1, 3, 2)]
    assert names == ["scale", "scale#2", "scale", "scale#3", "scale#2"]


def test_weights_are_stored_as_bytes(rounded: PhotoCodec, tmp_path: Path) -> None:
    for graph, floats in ((encoder_graph, 3), (decoder_graph, 0)):
        (tmp_path / "graph.onnx").write_bytes(file_of(graph(rounded)))
        stored = [onnx.numpy_helper.to_array(each) for each in onnx.load(tmp_path / "graph.onnx").graph.initializer]
        kernels = [values for values in stored if values.ndim == 4]
        assert sum(values.dtype != np.int8 for values in kernels) == floats
        assert all(np.abs(values.astype(int)).max() == 127 for values in kernels if values.dtype == np.int8)
