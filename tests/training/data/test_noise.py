import numpy as np
import pytest
import torch

from training.data.noise import make_noisy
from training.loop.noise import add_noise

GREY = np.full((200, 3, 20, 20), 0.6, np.float32)


@pytest.mark.parametrize(("dropped", "deviation"), [(0.3, 0.0), (0.0, 0.2), (0.4, 0.1), (1.0, 0.0)])
def test_noise_is_distributed_as_in_training(dropped: float, deviation: float) -> None:
    noisy = make_noisy(GREY, dropped, deviation)
    trained = add_noise(torch.from_numpy(GREY), dropped, deviation, torch.Generator().manual_seed(1)).numpy()
    assert noisy.dtype == np.float32
    assert noisy.shape == GREY.shape
    black = [(images == 0).all(axis=1).mean() for images in (noisy, trained)]
    assert black[0] == pytest.approx(black[1], abs=0.01)
    for statistic in (np.mean, np.std, np.max):
        assert statistic(noisy) == pytest.approx(statistic(trained), rel=0.02)


def test_noise_depends_on_the_seed_alone_and_none_leaves_the_images_as_they_are() -> None:
    assert make_noisy(GREY, 0, 0) is GREY
    first, again, other = (make_noisy(GREY, 0.4, 0.2, seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
    assert (first[0] != first[1]).any()
