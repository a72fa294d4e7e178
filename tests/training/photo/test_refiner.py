from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn

from tests.training.photo.conftest import SMALL
from training.photo.crops import Batch
from training.photo.export import to_onnx
from training.photo.model import LEVELS, PhotoCodec
from training.photo.refiner import Refiner, refinement_of


@pytest.fixture
def codec() -> PhotoCodec:
    """A network whose decoder's kernels have 8 bits."""
    torch.manual_seed(1)
    codec = PhotoCodec(SMALL).eval()
    for part in (codec.decoder_first, codec.decoder):
        for layer in part.modules():
            if isinstance(layer, nn.Conv2d):
                scale = layer.weight.abs().amax((1, 2, 3), keepdim=True) / 127
                layer.weight.data = torch.round(layer.weight / scale) * scale
    return codec


def test_the_graph_gives_the_decoders_gradient(codec: PhotoCodec, tmp_path: Path) -> None:
    latents = 3 * torch.randn(1, SMALL.latents, 5, 7)
    latents.requires_grad_(True)
    differences = torch.randn(1, 3, 80, 112)
    (expected,) = torch.autograd.grad(codec.synthesise(latents), latents, differences)
    inputs = {"latents": (SMALL.latents, 1), "differences": (3, 16)}
    graph = to_onnx(Refiner(codec), inputs, ["gradient"], together=[("latents", "differences")])
    session = onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    values = {"latents": latents.detach().numpy(), "differences": differences.numpy()}
    (found,) = session.run(["gradient"], values)
    np.testing.assert_allclose(found, expected.numpy(), rtol=1e-3, atol=1e-4 * float(expected.abs().max()))


def test_sensitivities_are_what_changes_of_latents_do(codec: PhotoCodec) -> None:
    batch = Batch(torch.rand(2, 3, 96, 96), torch.ones(2, 1, 96, 96), torch.tensor([2.0, 5.0]))
    refinement = refinement_of(codec, batch)
    assert len(refinement["bits_per_error"]) == LEVELS
    with torch.no_grad():
        latents = codec.send(codec.analyse(batch.pixels), batch.quality).latents
        plain = codec.synthesise(latents)
        for channel in range(3):
            moved = latents.clone()
            moved[:, channel, 3, 3] += 0.01
            error = float((codec.synthesise(moved) - plain).square().sum() / 2 / 0.01**2)
            assert refinement["sensitivity"][channel] == pytest.approx(error, rel=0.5)
