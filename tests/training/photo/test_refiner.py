import pytest
import torch

from training.photo.crops import Batch
from training.photo.model import LEVELS, PhotoCodec
from training.photo.refiner import refinement_of


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
