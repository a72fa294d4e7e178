"""Weights to start from: a linear block transform that is a codec already, which training then only improves.

From random weights, the first thousands of steps go into finding one. The transform is a nested Karhunen-Loève
transform (principal components of 4 x 4 pixels, then twice of 2 x 2 of those), and the decoder its transpose; the
residual branches begin with nothing.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.photo.model import LOWEST_SCALE, TABLE_STEP, TABLES, ContextPass, PhotoCodec, Residual

QUANTISER_STEP = 0.28  # of pixels in [0, 1], at the level whose gain is 1


@torch.no_grad()
def start_as_klt(codec: PhotoCodec, pixels: Tensor) -> None:
    """Set all weights.

    Args:
        codec: a new network.
        pixels: some hundred crops (batch, 3, height, width) in [0, 1].
    """
    for layer in codec.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, a=0.1)
            if layer.bias is not None:
                layer.bias.zero_()
    for layer in codec.modules():
        if isinstance(layer, Residual):
            layer.b.weight.zero_()
        if isinstance(layer, ContextPass):
            layer.last.weight.zero_()
    widths = codec.widths
    downs = [_conv(codec.encoder[0]), _conv(codec.encoder[2]), _conv(codec.encoder_last[0])]
    ups = [_conv(codec.decoder[3].conv), _conv(codec.decoder[1].conv), codec.decoder_first.conv]
    features = pixels - 0.5
    first = min(48, widths.encoder_quarter, widths.decoder_quarter)
    second = min(4 * first, widths.encoder_eighth, widths.decoder_eighth)
    kept = (first, second, min(4 * second, widths.latents))
    for depth, (down, up, factor, keep) in enumerate(zip(downs, ups, (4, 2, 2), kept, strict=True)):
        basis = _principal_blocks(features, factor, keep)
        inputs = features.shape[1]
        corner = down.weight.shape[2] // 2 - (2 if factor == 4 else 0)
        down.weight[:keep].zero_()
        if depth:
            down.weight[:, inputs:].zero_()
        down.weight[keep:].mul_(0.3)
        down.weight[:keep, :inputs, corner : corner + factor, corner : corner + factor] = basis
        middle = up.weight.shape[2] // 2
        up.weight.mul_(0.02)
        up.weight[:, :keep].zero_()
        up.weight[: inputs * factor**2, :keep, middle, middle] = basis.reshape(keep, -1).T
        features = F.conv2d(features, basis, stride=factor)
    _conv(codec.encoder_last[0]).weight.div_(QUANTISER_STEP)
    codec.decoder_first.conv.weight.mul_(QUANTISER_STEP)

    latents = codec.analyse(pixels)
    spread = latents.std((0, 2, 3)).clamp(LOWEST_SCALE, LOWEST_SCALE * 2.718 ** (TABLE_STEP * (TABLES - 1)))
    last = _conv(codec.hyper_decoder[4])
    last.weight.mul_(0.05)
    assert last.bias is not None  # noqa: S101
    last.bias[widths.latents :] = torch.log(spread) - 0.5
    z = codec.hyper_analyse(latents)
    _conv(codec.hyper_encoder[4]).weight.mul_(2 / z.std())
    _conv(codec.hyper_decoder[0].conv).weight.mul_(0.5)


def _conv(layer: nn.Module | Tensor) -> nn.Conv2d:
    assert isinstance(layer, nn.Conv2d)  # noqa: S101
    return layer


def _principal_blocks(features: Tensor, factor: int, keep: int) -> Tensor:
    """Return the first principal components of blocks, (keep, channels, factor, factor), largest first."""
    blocks = F.pixel_unshuffle(features, factor).permute(0, 2, 3, 1).reshape(-1, features.shape[1] * factor**2)
    _, vectors = torch.linalg.eigh(blocks.T @ blocks / len(blocks))
    components: Tensor = vectors.flip(1)[:, :keep].T.reshape(keep, features.shape[1], factor, factor)
    return components
