import pytest
import torch

from training.loop.noise import add_gaussian, add_noise, drop_pixels


def _generator() -> torch.Generator:
    return torch.Generator().manual_seed(3)


def test_pixels_are_dropped_in_all_channels_at_once_and_the_others_brightened() -> None:
    x = torch.rand(20, 3, 15, 17) * 0.9 + 0.1
    noisy = drop_pixels(x, 0.4, _generator())
    dropped = (noisy == 0).all(dim=1)
    assert dropped.float().mean().item() == pytest.approx(0.4, abs=0.03)
    kept = ~dropped[:, None].expand_as(x)
    assert torch.equal(noisy[kept], x[kept] / 0.6)
    assert not (noisy == 0)[kept].any()


def test_gaussian_noise_has_the_deviation_that_is_asked_for_and_is_clipped() -> None:
    grey = torch.full((50, 1, 20, 20), 0.5)
    change = add_gaussian(grey, 0.1, _generator()) - grey
    assert change.std().item() == pytest.approx(0.1, rel=0.02)
    assert change.mean().item() == pytest.approx(0, abs=0.003)
    strong = add_gaussian(grey, 0.4, _generator())
    assert (strong.min().item(), strong.max().item()) == (0, 1)


@pytest.mark.parametrize("noise", [drop_pixels, add_gaussian])
def test_noise_is_repeated_by_the_seed_differs_from_image_to_image_and_vanishes_at_0(noise: object) -> None:
    assert callable(noise)
    x = torch.rand(1, 1, 28, 28).expand(2, 1, 28, 28) * 0.5 + 0.25
    noisy = noise(x, 0.3, _generator())
    assert torch.equal(noisy, noise(x, 0.3, _generator()))
    assert not torch.equal(noisy[0], noisy[1])
    torch.testing.assert_close(noise(x, 0.0, _generator()), x)


def test_all_pixels_may_be_dropped() -> None:
    assert torch.equal(drop_pixels(torch.ones(1, 1, 4, 4), 1, _generator()), torch.zeros(1, 1, 4, 4))


def test_both_kinds_of_noise_go_together_and_none_leaves_the_images_as_they_are() -> None:
    x = torch.rand(4, 1, 28, 28)
    assert add_noise(x, 0, 0, _generator()) is x
    both = add_noise(x, 0.4, 0.2, _generator())
    generator = _generator()
    assert torch.equal(both, drop_pixels(add_gaussian(x, 0.2, generator), 0.4, generator))
