"""Networks that are read from the graphs of published models."""

from pathlib import Path

import pytest
import torch

from latentwire.errors import InvalidCard
from tests.training.photo.conftest import SMALL
from training.photo.crops import Batch
from training.photo.eight_bits import begin_eight_bits
from training.photo.export import decoder_graph, encoder_graph, file_of, round_kernels
from training.photo.model import PhotoCodec
from training.photo.published import read_graphs, read_published

MODELS = Path(__file__).parents[3] / "models"


def test_what_is_read_computes_the_same(codec: PhotoCodec, batch: Batch, tmp_path: Path) -> None:
    network = PhotoCodec(SMALL, eight_bits=True)
    network.load_state_dict(codec.state_dict(), strict=False)
    with torch.no_grad():
        for name, weight in network.named_parameters():
            if name.startswith(("encoder", "decoder", "hyper_encoder")):
                weight.add_(torch.randn(weight.shape), alpha=0.02)
    begin_eight_bits(network, [batch])
    round_kernels(network)
    paths = tmp_path / "encoder.onnx", tmp_path / "decoder.onnx"
    for path, graph in zip(paths, (encoder_graph, decoder_graph), strict=True):
        path.write_bytes(file_of(graph(network.eval())))

    read = PhotoCodec(SMALL, eight_bits=True).eval()
    read_graphs(read, *paths)
    with torch.no_grad():
        # Products in another order may put a value beside the middle between two integers.
        latents = network.analyse(batch.pixels)
        assert (read.analyse(batch.pixels) - latents).square().mean() < 1e-3 * latents.square().mean()
        shown = network.synthesise(latents)
        assert (read.synthesise(latents) - shown).square().mean() < 1e-3 * shown.square().mean()
        assert torch.equal(read.hyper_analyse(latents), network.hyper_analyse(latents))


def test_the_shipped_model_is_read_as_it_computes() -> None:
    codec = read_published(MODELS / "photo")
    assert codec.eight_bits is not None
    pixels = torch.linspace(0, 1, 3 * 64 * 80).reshape(1, 3, 64, 80)
    with torch.no_grad():
        scale = torch.exp(codec.log_gain[-1] + codec.log_inverse[-1])
        shown = codec.synthesise(codec.analyse(pixels) * scale[:, None, None])
    assert (shown - pixels).square().mean() < 1e-3


def test_a_vector_model_is_refused() -> None:
    with pytest.raises(InvalidCard, match="vector model"):
        read_published(MODELS / "mnist-conv-10")
