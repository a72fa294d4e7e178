import torch

from training.photo.crops import Batch
from training.photo.integers import QUALITY_PARTS, gain_offsets, offset_at, to_integers
from training.photo.model import LEVELS, TABLE_STEP, PhotoCodec


def test_integers_cost_little(codec: PhotoCodec, batch: Batch) -> None:
    with torch.no_grad():
        before = codec(batch.pixels, batch.quality)
        to_integers(codec, batch.pixels, batch.quality)
        after = codec(batch.pixels, batch.quality)
    change = float(after.latent_bits.sum() / before.latent_bits.sum())
    assert abs(change - 1) < 0.02


def test_offsets_of_gains_are_those_of_the_network(codec: PhotoCodec) -> None:
    offsets = gain_offsets(codec)
    for quality in range(0, (LEVELS - 1) * QUALITY_PARTS + 1, 5):
        log_gain, _ = codec.gains(torch.tensor([quality / QUALITY_PARTS]))
        expected = log_gain.detach().flatten() * (4 / TABLE_STEP)
        assert float((offset_at(offsets, quality) - expected).abs().max()) <= 0.51
