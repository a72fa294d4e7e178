import pytest
import torch

from tests.training.photo.conftest import SMALL
from training.photo.crops import Batch
from training.photo.klt import start_as_klt
from training.photo.model import LEVELS, PhotoCodec, squash_symbols, thousand_macs
from training.photo.rounding import bounded, round_through


def test_the_budget_holds() -> None:
    codec = PhotoCodec()
    macs = thousand_macs(codec)
    shared = macs["hyper_decoder"] + macs["context"]
    assert macs["encoder"] + macs["hyper_encoder"] + shared <= 60
    assert macs["decoder"] + shared <= 25
    assert 4 * sum(weight.numel() for weight in codec.parameters()) <= 25e6


def test_training_starts_from_a_codec(batch: Batch) -> None:
    torch.manual_seed(0)
    codec = PhotoCodec(SMALL)
    start_as_klt(codec, batch.pixels)
    with torch.no_grad():
        coded = codec(batch.pixels, torch.full((len(batch.pixels),), float(LEVELS - 1)))
    error = ((coded.pixels - batch.pixels) ** 2).mean()
    assert -10 * torch.log10(error) > 24
    assert torch.isfinite(coded.latent_bits).all()


def test_more_quality_is_more_bits_and_less_error(codec: PhotoCodec, batch: Batch) -> None:
    bits, errors = [], []
    for level in range(0, LEVELS, 2):
        with torch.no_grad():
            coded = codec(batch.pixels, torch.full((len(batch.pixels),), float(level)))
        bits.append(float(coded.latent_bits.mean()))
        errors.append(float(((coded.pixels - batch.pixels) ** 2).mean()))
    assert bits == sorted(bits)
    assert errors == sorted(errors, reverse=True)


@pytest.mark.parametrize(("height", "width"), [(16, 16), (32, 48), (80, 16), (144, 112)])
def test_any_size_goes(codec: PhotoCodec, height: int, width: int) -> None:
    with torch.no_grad():
        coded = codec(torch.rand(2, 3, height, width), torch.tensor([0.0, 7.3]), torch.Generator())
    assert coded.pixels.shape == (2, 3, height, width)


def test_a_receiver_finds_what_the_sender_coded(codec: PhotoCodec, batch: Batch) -> None:
    """Decode pass by pass, with nothing but z and the symbols of earlier passes."""
    quality = batch.quality
    analysed = codec.analyse(batch.pixels).detach()
    sent = codec.send(analysed, quality)
    log_gain, _ = codec.gains(quality)
    first, black = SMALL.first_group, (torch.arange(4)[:, None] + torch.arange(4)) % 2 == 0
    passes = [
        (slice(0, first), black),
        (slice(0, first), ~black),
        (slice(first, None), black),
        (slice(first, None), ~black),
    ]
    known = torch.zeros_like(analysed)
    for channels, squares in passes:
        # Whatever is not decoded yet must not matter.
        with torch.no_grad():
            mean, quarters = codec.hyper_synthesise(sent.z.float(), log_gain, 4, 4)
            unknown = torch.where(known.bool(), torch.zeros(()), 1000 * torch.rand(()))
            values = torch.where(known.bool(), sent.symbols.float(), unknown)
            latents = _latents_of(codec, values, known.bool(), mean, quarters)
            corrected, found = codec.context(latents, mean, quarters)
        tables = torch.floor((torch.round(found) + 2) / 4).clamp(0, 63).long()
        mask = torch.zeros_like(known, dtype=torch.bool)
        mask[:, channels] = squares
        assert torch.equal(tables[mask], sent.tables[mask])
        known[mask] = 1
    assert bool(known.bool().all())
    assert corrected.shape == analysed.shape


def _latents_of(
    codec: PhotoCodec, symbols: torch.Tensor, known: torch.Tensor, mean: torch.Tensor, quarters: torch.Tensor
) -> torch.Tensor:
    """Return latents whose symbols are these where they are known, found pass by pass."""
    latents = mean + symbols
    for _ in range(3):
        corrected, _ = codec.context(latents, mean, quarters)
        latents = torch.where(known, corrected + symbols, latents)
    return latents


def test_rounding_and_bounds_pass_gradients() -> None:
    x = torch.tensor([-3.2, 0.4, 9.6], requires_grad=True)
    (gradient,) = torch.autograd.grad(round_through(x).sum(), x)
    assert gradient.tolist() == [1, 1, 1]
    y = bounded(x, 0, 5)
    assert y.tolist() == [0, pytest.approx(0.4), 5]
    # Down from below and up from above is stopped; back into the bounds is not.
    (gradient,) = torch.autograd.grad((y * torch.tensor([1.0, 1.0, -1.0])).sum(), x)
    assert gradient.tolist() == [0, 1, 0]
    (gradient,) = torch.autograd.grad((bounded(x, 0, 5) * torch.tensor([-1.0, 1.0, 1.0])).sum(), x)
    assert gradient.tolist() == [-1, 1, 1]


def test_squashed_symbols_are_sixteenths() -> None:
    symbols = torch.tensor([-70000.0, -3, -1, 0, 1, 2, 300]).view(1, 1, 1, -1)
    squashed = squash_symbols(symbols) * 16
    assert torch.equal(squashed, squashed.round())
    assert squashed[0, 0, 0].tolist() == [-127, -32, -16, 0, 16, 25, 127]
    assert squashed[0, 1, 0].tolist() == [127, 32, 16, 0, 16, 25, 127]
