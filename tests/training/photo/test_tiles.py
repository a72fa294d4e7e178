from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from tests.training.photo.conftest import make_codec
from training.photo.crops import Batch
from training.photo.export import export
from training.photo.integers import to_integers
from training.photo.tiles import Floats, decode_in_tiles, encode_in_tiles


class Sessions:
    def __init__(self, folder: Path) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self._encoder, self._decoder = (
            onnxruntime.InferenceSession(folder / f"{name}.onnx", options, providers=["CPUExecutionProvider"])
            for name in ("encoder", "decoder")
        )

    def encode(self, pixels: Floats) -> Floats:
        channels = self._encoder.get_inputs()[1].shape[1]
        nothing = np.zeros((1, channels, 1, 1), np.float32)
        latents: Floats = self._encoder.run(["latents"], {"pixels": pixels, "gained": nothing})[0]
        return latents

    def decode(self, latents: Floats) -> Floats:
        pixels: Floats = self._decoder.run(None, {"latents": latents})[0]
        return pixels


@pytest.fixture(scope="module")
def sessions(batch: Batch, tmp_path_factory: pytest.TempPathFactory) -> Sessions:
    codec, folder = make_codec(batch), tmp_path_factory.mktemp("exported")
    # Residual branches begin with nothing; here they must count.
    with torch.no_grad():
        for name, weight in codec.named_parameters():
            if name.endswith(".b.weight"):
                weight.normal_(0, 0.1)
    export(codec, to_integers(codec, batch.pixels, batch.quality), folder)
    return Sessions(folder)


@pytest.mark.parametrize("tile", [5, 8])
def test_tiles_give_the_same_as_the_whole(sessions: Sessions, tile: int) -> None:
    pixels = np.random.default_rng(0).random((1, 3, 16 * 19, 16 * 22), np.float32)
    latents = sessions.encode(pixels)
    assert np.array_equal(encode_in_tiles(sessions.encode, pixels, tile), latents)
    assert np.array_equal(decode_in_tiles(sessions.decode, latents, tile), sessions.decode(latents))


def test_no_margin_would_not_do(sessions: Sessions) -> None:
    pixels = np.random.default_rng(0).random((1, 3, 16 * 12, 16 * 9), np.float32)
    latents = sessions.encode(pixels)
    assert not np.array_equal(encode_in_tiles(sessions.encode, pixels, 6, 1), latents)
    assert not np.array_equal(decode_in_tiles(sessions.decode, latents, 6, 1), sessions.decode(latents))
