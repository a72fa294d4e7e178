import pytest
import torch

from tests.training.photo.conftest import SMALL
from training.photo.crops import Batch
from training.photo.model import PhotoCodec, Residual, Widths
from training.photo.shrink import shrink


def test_inner_channels_that_do_nothing_are_dropped_without_a_trace(codec: PhotoCodec, batch: Batch) -> None:
    block = codec.encoder[1]
    assert isinstance(block, Residual)
    assert block.a.bias is not None
    with torch.no_grad():
        torch.nn.init.normal_(block.b.weight, std=0.1)
        block.b.weight[:, [0, 3, 7]] = 0
        block.a.weight[5] = 0
    after = SMALL._replace(encoder_quarter_inner=8)
    small = PhotoCodec(after)
    small.load_state_dict(shrink(codec.state_dict(), SMALL, after))
    # Channel 5 gives the same everywhere: what its bias makes of it is missing.
    with torch.no_grad():
        block.a.bias[5] = 0
        expected, found = codec.analyse(batch.pixels), small.analyse(batch.pixels)
    assert torch.allclose(expected, found, atol=1e-5)


def test_all_of_a_decoders_inner_channels_give_the_same(codec: PhotoCodec) -> None:
    weights = codec.state_dict()
    after = SMALL._replace(decoder_eighth_inner=16, decoder_quarter_inner=12)
    assert all(torch.equal(value, weights[name]) for name, value in shrink(weights, SMALL, after).items())
    assert shrink(weights, SMALL, after._replace(decoder_eighth_inner=3))["decoder.0.b.weight"].shape == (16, 3, 3, 3)


def test_the_last_blocks_stay(codec: PhotoCodec) -> None:
    weights = codec.state_dict()
    after = SMALL._replace(encoder_blocks=1)
    shrunk = shrink(weights, SMALL, after)
    assert torch.equal(shrunk["encoder.3.a.weight"], weights["encoder.4.a.weight"])
    assert shrunk.keys() == PhotoCodec(after).state_dict().keys()


@pytest.mark.parametrize(
    "after",
    [SMALL._replace(encoder_blocks=3), SMALL._replace(decoder_quarter_inner=13), SMALL._replace(latents=20)],
)
def test_nothing_else_can_change(codec: PhotoCodec, after: Widths) -> None:
    with pytest.raises(ValueError, match="can be less than"):
        shrink(codec.state_dict(), SMALL, after)
