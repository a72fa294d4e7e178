"""Convolutional autoencoders with residual blocks: three halvings, a dense layer, the code, and the way back.

    x (N, C, 28, 28)                                     y (N, code size)
    │ conv 5×5, stride 2                                 │ linear ─ norm ─ activation            (hidden)
    ▼ (N, w, 14, 14)     residual × encoder_blocks[0]    ▼ linear ─ norm ─ activation ─ unflatten
    │ conv 3×3, stride 2                                 ▼ (N, 4v, 4, 4)     residual × decoder_blocks[0]
    ▼ (N, 2w, 7, 7)      residual × encoder_blocks[1]    │ transposed conv 3×3, stride 2
    │ conv 3×3, stride 2                                 ▼ (N, 2v, 7, 7)     residual × decoder_blocks[1]
    ▼ (N, 4w, 3, 3)      residual × encoder_blocks[2]    │ transposed conv 4×4, stride 2
    │ flatten ─ linear ─ norm ─ activation  (hidden)     ▼ (N, v, 14, 14)    residual × decoder_blocks[2]
    │ linear ─ code activation                           │ transposed conv 4×4, stride 2 ─ output activation
    ▼ y (N, code size)                                   ▼ x_hat (N, C, 28, 28)

w is `encoder_width`, v is `decoder_width`; the drawing shows the sizes for 28 × 28 pixels. Any height and width work:
the decoder draws up to 3 pixels too many where a side is not divisible by 4, and crops them.

With `spatial_channels`, the code has a second, spatial part for details: see `spatial_latent`.
"""

from torch import nn

from latentwire.model.card import ImageShape
from training.architectures.iterative_refinement import CorrectingEncoder
from training.architectures.layers import (
    Crop,
    InFloat32,
    Residual,
    activation,
    code_head,
    conv_block,
    halved,
    linear_block,
    upconv_block,
)
from training.architectures.spatial_latent import (
    DenseAndSpatialEncoder,
    PaddedDenseEncoder,
    SpatialDecoder,
    spatial_encoder,
    spatial_values,
)
from training.errors import InvalidRecipe
from training.recipe import Conv


def build_conv(architecture: Conv, shape: ImageShape) -> tuple[nn.Module, nn.Module]:
    """Build encoder and decoder of the given widths, blocks and hidden size, with the optional parts.

    Raises:
        InvalidRecipe: the spatial part leaves nothing of the code to the dense part.
    """
    if architecture.spatial_channels:
        return _with_spatial_part(architecture, shape)
    encoder, decoder = _encoder(architecture, shape, shape.channels), _decoder(architecture, shape)
    if architecture.correction:
        return CorrectingEncoder(encoder, decoder, _encoder(architecture, shape, 2 * shape.channels)), decoder
    return encoder, decoder


def _with_spatial_part(architecture: Conv, shape: ImageShape) -> tuple[nn.Module, nn.Module]:
    values = spatial_values(architecture, shape)
    if architecture.code_size <= values:
        raise InvalidRecipe(
            f"the spatial part of {architecture.spatial_channels} channels has {values} numbers for images of {shape}; "
            f"code_size is {architecture.code_size}, and must be larger, as the code also has a dense part"
        )
    dense = architecture.model_copy(update={"code_size": architecture.code_size - values})
    body = _decoder(dense, shape)
    # The second transposed convolution, or the residual blocks before it, take a map of a quarter of the sides.
    upwards = [place for place, layer in enumerate(body) if isinstance(layer, nn.ConvTranspose2d)]
    before = upwards[1] - architecture.decoder_blocks[1]
    decoder = SpatialDecoder(body, before, 2 * architecture.decoder_width, architecture, shape)
    first = _encoder(dense, shape, shape.channels)
    if not architecture.correction:
        return DenseAndSpatialEncoder(first, spatial_encoder(architecture, shape.channels)), decoder
    # Only the corrector sees the residual of the image, which the spatial part encodes.
    channels = 2 * shape.channels
    corrector = DenseAndSpatialEncoder(_encoder(dense, shape, channels), spatial_encoder(architecture, channels))
    return CorrectingEncoder(PaddedDenseEncoder(first, values), decoder, corrector), decoder


def _encoder(architecture: Conv, shape: ImageShape, channels: int) -> nn.Module:
    width, kinds = architecture.encoder_width, (architecture.activation, architecture.normalisation)
    quarter = (halved(halved(shape.height)), halved(halved(shape.width)))
    # The last feature map is smallest without padding; a side of fewer than 3 pixels needs it for a 3 × 3 kernel.
    padding = (int(quarter[0] < 3), int(quarter[1] < 3))
    eighth = [(side + 2 * pad - 3) // 2 + 1 for side, pad in zip(quarter, padding, strict=True)]
    body = nn.Sequential(
        *conv_block(channels, width, *kinds, kernel=5, stride=2, padding=2),
        *_residuals(architecture.encoder_blocks[0], width, architecture),
        *conv_block(width, 2 * width, *kinds, stride=2),
        *_residuals(architecture.encoder_blocks[1], 2 * width, architecture),
        *conv_block(2 * width, 4 * width, *kinds, stride=2, padding=padding),
        *_residuals(architecture.encoder_blocks[2], 4 * width, architecture),
        nn.Flatten(),
        *linear_block(4 * width * eighth[0] * eighth[1], architecture.hidden, *kinds),
    )
    return code_head(body, architecture.hidden, architecture)


def _decoder(architecture: Conv, shape: ImageShape) -> nn.Sequential:
    width, kinds = architecture.decoder_width, (architecture.activation, architecture.normalisation)
    quarter = (halved(halved(shape.height)), halved(halved(shape.width)))
    eighth = (halved(quarter[0]), halved(quarter[1]))
    drawn = (4 * quarter[0], 4 * quarter[1])
    crop = [] if drawn == (shape.height, shape.width) else [Crop(shape.height, shape.width)]
    return nn.Sequential(
        *linear_block(architecture.code_size, architecture.hidden, *kinds),
        *linear_block(architecture.hidden, 4 * width * eighth[0] * eighth[1], *kinds),
        nn.Unflatten(1, (4 * width, *eighth)),
        *_residuals(architecture.decoder_blocks[0], 4 * width, architecture),
        *upconv_block(4 * width, 2 * width, *kinds, kernel=3, output_padding=(1 - quarter[0] % 2, 1 - quarter[1] % 2)),
        *_residuals(architecture.decoder_blocks[1], 2 * width, architecture),
        *upconv_block(2 * width, width, *kinds, kernel=4),
        *_residuals(architecture.decoder_blocks[2], width, architecture),
        *upconv_block(width, shape.channels, "none", "none", kernel=4),
        *crop,
        InFloat32(activation(architecture.output_activation)),
    )


def _residuals(count: int, width: int, architecture: Conv) -> list[nn.Module]:
    return [Residual(width, architecture.activation, architecture.normalisation) for _ in range(count)]
