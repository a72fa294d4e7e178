"""The graphs that `export` writes: of the network that was trained, of integers, and in tiles."""

import copy
import json
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import onnx
import onnx.numpy_helper
import onnxruntime
import pytest
import torch
from torch import nn

from tests.training.photo.conftest import SMALL, make_codec
from training.photo.crops import Batch
from training.photo.export import (
    EXPORT_FILE,
    InexactNetwork,
    export,
    export_transforms,
    numpy_entropy,
    round_kernels,
)
from training.photo.integers import IntegerEntropy, integer_layers, to_integers
from training.photo.model import PhotoCodec
from training.photo.shrink import shrink
from training.photo.tiles import Floats, decode_in_tiles, encode_in_tiles, encoder_margin

SIZES = ((1, 1), (5, 3), (12, 7))


class Exported(NamedTuple):
    """A network whose kernels have 16 bits, its integers, the folder of its graphs, and what the export reports."""

    codec: PhotoCodec
    entropy: IntegerEntropy
    folder: Path
    report: dict[str, Any]


@pytest.fixture(scope="module")
def exported(batch: Batch, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    codec, folder = make_codec(batch), tmp_path_factory.mktemp("exported")
    # Residual branches begin with nothing; here they must count.
    with torch.no_grad():
        for name, weight in codec.named_parameters():
            if name.endswith(".b.weight"):
                weight.normal_(0, 0.1)
    entropy = to_integers(codec, batch.pixels, batch.quality)
    round_kernels(codec)
    return Exported(codec, entropy, folder, export(codec, entropy, folder))


def test_transforms_are_exported_beside_the_entropy_model_of_an_earlier_export(
    exported: Exported, tmp_path: Path
) -> None:
    (exported.folder / EXPORT_FILE).write_text(json.dumps({**exported.report, "tables": "kept"}))
    codec = PhotoCodec(SMALL._replace(encoder_blocks=1)).eval()
    codec.load_state_dict(shrink(exported.codec.state_dict(), SMALL, codec.widths))
    report = export_transforms(codec, exported.folder, tmp_path)
    assert report["margins"] == {"encoder": 5, "decoder": 4}
    assert report["tables"] == "kept"
    assert (
        report["bytes"]["encoder"] == (tmp_path / "encoder.onnx").stat().st_size < exported.report["bytes"]["encoder"]
    )
    for name in ("decoder", "entropy", "refiner"):
        assert (tmp_path / f"{name}.onnx").read_bytes() == (exported.folder / f"{name}.onnx").read_bytes()
    with torch.no_grad():
        codec.log_gain[0] += 1
    (tmp_path / "other").mkdir()
    with pytest.raises(ValueError, match="another network"):
        export_transforms(codec, exported.folder, tmp_path / "other")
    assert not list((tmp_path / "other").iterdir())


class Sessions:
    def __init__(self, folder: Path) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.encoder, self._decoder = (
            onnxruntime.InferenceSession(folder / f"{name}.onnx", options, providers=["CPUExecutionProvider"])
            for name in ("encoder", "decoder")
        )

    def encode(self, pixels: Floats) -> Floats:
        """Return latents of levels 0 .. 255, (1, 3, height, width)."""
        channels = self.encoder.get_inputs()[1].shape[1]
        nothing = np.zeros((1, channels, 1, 1), np.float32)
        image = pixels.astype(np.uint8).transpose(0, 2, 3, 1)
        latents: Floats = self.encoder.run(["latents"], {"pixels": image, "gained": nothing})[0]
        return latents

    def decode(self, latents: Floats) -> Floats:
        image: npt.NDArray[np.uint8] = self._decoder.run(None, {"latents": latents})[0]
        return image.transpose(0, 3, 1, 2).astype(np.float32)


def random_levels(height: int, width: int) -> Floats:
    return np.random.default_rng(0).integers(0, 256, (1, 3, height, width)).astype(np.float32)


@pytest.fixture
def sessions(exported: Exported) -> Sessions:
    return Sessions(exported.folder)


def random_inputs(session: onnxruntime.InferenceSession, height: int, width: int) -> dict[str, npt.NDArray[np.float32]]:
    random = np.random.default_rng(height)
    inputs = {}
    for each in session.get_inputs():
        low, high = (0, 255) if each.name.startswith("scales") else (-127, 127)
        shape = (1, each.shape[1], height, width)
        inputs[each.name] = random.integers(low, high + 1, shape).astype(np.float32)
    return inputs


@pytest.mark.parametrize("optimised", [False, True])
def test_onnxruntime_numpy_and_torch_agree_to_the_bit(exported: Exported, optimised: bool) -> None:
    _, entropy, folder, report = exported
    assert report["worst_sum"] < report["exact_below"]
    options = onnxruntime.SessionOptions()
    levels = onnxruntime.GraphOptimizationLevel
    options.graph_optimization_level = levels.ORT_ENABLE_ALL if optimised else levels.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(folder / "entropy.onnx", options, providers=["CPUExecutionProvider"])
    assert session.get_inputs()[2].shape[2:] == ["symbols_1_height", "symbols_1_width"]
    for height, width in SIZES:
        inputs = random_inputs(session, height, width)
        by_onnx = session.run(None, inputs)
        by_numpy = numpy_entropy(entropy, *(values.astype(np.int64) for values in inputs.values()))
        z, *others = (torch.from_numpy(values) for values in inputs.values())
        with torch.no_grad():
            by_torch = [entropy.hyper_integers(z)]
            by_torch += [entropy.pass_integers(number, *others[2 * number : 2 * number + 2]) for number in range(3)]
        for one, two, three in zip(by_onnx, by_numpy, by_torch, strict=True):
            assert np.array_equal(one, two)
            assert np.array_equal(one, three.numpy())


def test_the_other_graphs_are_the_network(exported: Exported, sessions: Sessions) -> None:
    codec, _, folder, _ = exported
    for name, dimensions, size in (("encoder", 4, 2), ("decoder", 4, 2), ("entropy", 2, 1)):
        stored = map(onnx.numpy_helper.to_array, onnx.load(folder / f"{name}.onnx").graph.initializer)
        assert max(values.itemsize for values in stored if values.ndim == dimensions) == size
    gained = np.random.default_rng(0).normal(0, 5, (1, codec.widths.latents, 7, 5)).astype(np.float32)
    for height, width in ((16, 16), (48, 80)):
        levels = random_levels(height, width)
        latents, decoded = sessions.encode(levels), sessions.decode(3 * sessions.encode(levels))
        with torch.no_grad():
            expected = codec.analyse(torch.from_numpy(levels / 255)).numpy()
            assert np.allclose(latents, expected, atol=1e-4)
            shown = 255 * codec.synthesise(torch.from_numpy(3 * latents)).clamp(0, 1).numpy()
            assert np.abs(decoded - shown).max() < 0.51
            (hyper,) = sessions.encoder.run(["hyper"], {"pixels": np.zeros((1, 16, 16, 3), np.uint8), "gained": gained})
            assert np.allclose(hyper, codec.hyper_analyse(torch.from_numpy(gained)).numpy(), atol=1e-4)


def test_the_refiner_gives_the_decoders_gradient(exported: Exported) -> None:
    # That of a decoder whose kernels have 8 bits.
    codec = copy.deepcopy(exported.codec)
    with torch.no_grad():
        for layer in (*codec.decoder_first.modules(), *codec.decoder.modules()):
            if isinstance(layer, nn.Conv2d):
                scale = layer.weight.abs().amax((1, 2, 3), keepdim=True) / 127
                layer.weight.copy_(torch.round(layer.weight / scale) * scale)
    latents = 3 * torch.randn(1, SMALL.latents, 5, 7, generator=torch.Generator().manual_seed(1))
    latents.requires_grad_(True)
    differences = torch.randn(1, 3, 80, 112, generator=torch.Generator().manual_seed(2))
    (expected,) = torch.autograd.grad(codec.synthesise(latents), latents, differences)
    session = onnxruntime.InferenceSession(exported.folder / "refiner.onnx", providers=["CPUExecutionProvider"])
    values = {"latents": latents.detach().numpy(), "differences": differences.numpy()}
    (found,) = session.run(["gradient"], values)
    np.testing.assert_allclose(found, expected.numpy(), rtol=1e-3, atol=1e-4 * float(expected.abs().max()))


@pytest.mark.parametrize("tile", [5, 8])
def test_tiles_give_the_same_as_the_whole(sessions: Sessions, tile: int) -> None:
    pixels = random_levels(16 * 19, 16 * 22)
    latents = sessions.encode(pixels)
    assert np.array_equal(encode_in_tiles(sessions.encode, pixels, tile, encoder_margin(SMALL)), latents)
    assert np.array_equal(decode_in_tiles(sessions.decode, latents, tile), sessions.decode(latents))


@pytest.mark.parametrize(("blocks", "margin"), [(1, 5), (2, 6), (3, 7)])
def test_an_encoder_of_more_blocks_sees_further(blocks: int, margin: int) -> None:
    torch.manual_seed(3)
    codec = PhotoCodec(SMALL._replace(encoder_blocks=blocks)).eval()
    assert encoder_margin(codec.widths) == margin
    pixels = np.random.default_rng(0).random((1, 3, 16 * 22, 16 * 17), np.float32)

    def analyse(values: Floats) -> Floats:
        with torch.no_grad():
            latents: Floats = codec.analyse(torch.from_numpy(values)).numpy()
        return latents

    np.testing.assert_allclose(encode_in_tiles(analyse, pixels, 5, margin), analyse(pixels), atol=1e-6)


def test_no_margin_would_not_do(sessions: Sessions) -> None:
    pixels = random_levels(16 * 12, 16 * 9)
    latents = sessions.encode(pixels)
    assert not np.array_equal(encode_in_tiles(sessions.encode, pixels, 6, 1), latents)
    assert not np.array_equal(decode_in_tiles(sessions.decode, latents, 6, 1), sessions.decode(latents))


def test_a_network_whose_sums_can_be_too_large_is_refused(codec: PhotoCodec, batch: Batch, tmp_path: Path) -> None:
    entropy = to_integers(codec, batch.pixels, batch.quality)
    integer_layers(entropy.hyper)[1].offset[3] += 1e7
    with pytest.raises(InexactNetwork, match=r"hyper\.1: a sum of output 3 can reach"):
        export(codec, entropy, tmp_path)
    assert not list(tmp_path.iterdir())


def test_export_imports_no_onnxruntime() -> None:
    code = "import sys, training.photo.export; sys.exit('onnxruntime' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
