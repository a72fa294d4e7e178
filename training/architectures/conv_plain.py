"""Convolutional autoencoders as textbooks draw them: blocks that halve the sides, and blocks that double them.

    x (N, C, 28, 28)                                   y (N, code size)
    │ conv ─ norm ─ activation ─ pooling               │ linear ─ norm ─ activation     × dense_layers, from the end
    ▼ (N, conv_widths[0], 14, 14)                      │ linear ─ norm ─ activation ─ unflatten
    │ conv ─ norm ─ activation ─ pooling               ▼ (N, conv_widths[-1], 7, 7)
    ▼ (N, conv_widths[1], 7, 7)  … and so on           │ transposed conv ─ norm ─ activation
    │ flatten                                          ▼ (N, decoder_widths[0], 14, 14)
    │ linear ─ norm ─ activation  × dense_layers       │ transposed conv ─ norm ─ activation
    │ linear ─ code activation                         ▼ (N, decoder_widths[1], 28, 28)  … and so on
    ▼ y (N, code size)                                 │ conv ─ output activation
                                                       ▼ x_hat (N, C, 28, 28)

With `conv_code = "map"` the last block's output, flattened, is the code, and no dense layer stands on either side. With
`pooling = "stride"` a convolution of stride 2 takes the place of convolution and pooling; with `upsampling = "nearest"`
repeated pixels and a convolution take that of the transposed one. Odd sides are rounded up on the way down, and come
out right on the way up.
"""

import itertools

from torch import nn

from latentwire.model.card import ImageShape
from training.architectures.layers import (
    InFloat32,
    activation,
    code_head,
    conv_block,
    halved,
    linear_block,
    upconv_block,
)
from training.errors import InvalidRecipe
from training.recipe import ConvPlain


def build_conv_plain(architecture: ConvPlain, shape: ImageShape) -> tuple[nn.Module, nn.Module]:
    """Build encoder and decoder of the given blocks.

    Raises:
        InvalidRecipe: the image cannot be halved that often, or its last map is not of the code's size.
    """
    sides = [(shape.height, shape.width)]
    for _ in architecture.conv_widths:
        if sides[-1] == (1, 1):
            raise InvalidRecipe(
                f"conv_widths has {len(architecture.conv_widths)} blocks, and {shape} cannot be halved so often"
            )
        sides.append((halved(sides[-1][0]), halved(sides[-1][1])))
    channels, (height, width) = architecture.conv_widths[-1], sides[-1]
    values = channels * height * width
    if architecture.conv_code == "map" and architecture.code_size != values:
        raise InvalidRecipe(
            f"the last block's map of {width} × {height} pixels, {channels} channels, is a code of {values} numbers, "
            f"and code_size is {architecture.code_size}"
        )
    down = _down(architecture, shape, sides)
    up = _up(architecture, shape, sides)
    if architecture.conv_code == "map":
        encoder: nn.Module = nn.Sequential(*down, nn.Flatten(), InFloat32(activation(architecture.code_activation)))
        return encoder, nn.Sequential(nn.Unflatten(1, (channels, height, width)), *up)
    sizes = (values, *architecture.dense_layers)
    body = nn.Sequential(*down, nn.Flatten(), *_dense(sizes, architecture))
    return code_head(body, sizes[-1], architecture), nn.Sequential(
        *_dense((architecture.code_size, *reversed(sizes)), architecture),
        nn.Unflatten(1, (channels, height, width)),
        *up,
    )


def _dense(sizes: tuple[int, ...], architecture: ConvPlain) -> list[nn.Module]:
    layers: list[nn.Module] = []
    for inputs, outputs in itertools.pairwise(sizes):
        layers += linear_block(inputs, outputs, architecture.activation, architecture.normalisation)
    return layers


def _down(architecture: ConvPlain, shape: ImageShape, sides: list[tuple[int, int]]) -> list[nn.Module]:
    layers: list[nn.Module] = []
    stride = 2 if architecture.pooling == "stride" else 1
    for (inputs, outputs), side in zip(
        itertools.pairwise((shape.channels, *architecture.conv_widths)), sides, strict=False
    ):
        layers += conv_block(
            inputs,
            outputs,
            architecture.activation,
            architecture.normalisation,
            kernel=architecture.kernel_size,
            stride=stride,
            padding=architecture.kernel_size // 2,
        )
        odd = side[0] % 2 == 1 or side[1] % 2 == 1
        if architecture.pooling == "max":
            layers.append(nn.MaxPool2d(2, ceil_mode=odd))
        elif architecture.pooling == "average":
            layers.append(nn.AvgPool2d(2, ceil_mode=odd))
    return layers


def _up(architecture: ConvPlain, shape: ImageShape, sides: list[tuple[int, int]]) -> list[nn.Module]:
    widths = (architecture.conv_widths[-1], *(architecture.decoder_widths or reversed(architecture.conv_widths)))
    kinds, kernel = (architecture.activation, architecture.normalisation), architecture.kernel_size
    layers: list[nn.Module] = []
    for (inputs, outputs), side in zip(itertools.pairwise(widths), reversed(sides[:-1]), strict=True):
        if architecture.upsampling == "transposed":
            padding = (1 - side[0] % 2, 1 - side[1] % 2)
            layers += upconv_block(inputs, outputs, *kinds, kernel=kernel, output_padding=padding)
        else:
            layers.append(nn.Upsample(size=side, mode="nearest"))
            layers += conv_block(inputs, outputs, *kinds, kernel=kernel, padding=kernel // 2)
    return [
        *layers,
        *conv_block(widths[-1], shape.channels, "none", "none", kernel=kernel, padding=kernel // 2),
        InFloat32(activation(architecture.output_activation)),
    ]
