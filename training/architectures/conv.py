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

With `map_channels`, the code has a second part, a map of the image's details: see `details`.
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
    DenseAndDetails,
    DetailedDecoder,
    WithoutDetails,
    details_encoder,
    map_values,
)
from training.errors import InvalidRecipe
from training.recipe import Recipe


def build_conv(recipe: Recipe, shape: ImageShape) -> tuple[nn.Module, nn.Module]:
    """Build encoder and decoder of the recipe's widths, blocks and hidden size, with the parts that it asks for.

    Raises:
        InvalidRecipe: nothing of the code is left beside its map.
    """
    if recipe.map_channels:
        return _with_details(recipe, shape)
    encoder, decoder = _encoder(recipe, shape, shape.channels), _decoder(recipe, shape)
    if recipe.correction:
        return CorrectingEncoder(encoder, decoder, _encoder(recipe, shape, 2 * shape.channels)), decoder
    return encoder, decoder


def _with_details(recipe: Recipe, shape: ImageShape) -> tuple[nn.Module, nn.Module]:
    values = map_values(recipe, shape)
    if recipe.code_size <= values:
        raise InvalidRecipe(
            f"a map of {recipe.map_channels} channels has {values} numbers for images of {shape}; code_size is "
            f"{recipe.code_size}, and must be more, as the code has a dense part beside its map"
        )
    dense = recipe.model_copy(update={"code_size": recipe.code_size - values})
    body = _decoder(dense, shape)
    # The second transposed convolution, or the residual blocks before it, take a map of a quarter of the sides.
    upwards = [place for place, layer in enumerate(body) if isinstance(layer, nn.ConvTranspose2d)]
    before = upwards[1] - recipe.decoder_blocks[1]
    decoder = DetailedDecoder(body, before, 2 * recipe.decoder_width, recipe, shape)
    first = _encoder(dense, shape, shape.channels)
    if not recipe.correction:
        return DenseAndDetails(first, details_encoder(recipe, shape.channels)), decoder
    # Only the corrector sees what is left of the image, so the details are its to find.
    channels = 2 * shape.channels
    corrector = DenseAndDetails(_encoder(dense, shape, channels), details_encoder(recipe, channels))
    return CorrectingEncoder(WithoutDetails(first, values), decoder, corrector), decoder


def _encoder(recipe: Recipe, shape: ImageShape, channels: int) -> nn.Module:
    width, kinds = recipe.encoder_width, (recipe.activation, recipe.normalisation)
    quarter = (halved(halved(shape.height)), halved(halved(shape.width)))
    # Without padding the last feature map is smallest; with fewer than 3 pixels there is nothing to convolve without.
    padding = (int(quarter[0] < 3), int(quarter[1] < 3))
    eighth = [(side + 2 * pad - 3) // 2 + 1 for side, pad in zip(quarter, padding, strict=True)]
    body = nn.Sequential(
        *conv_block(channels, width, *kinds, kernel=5, stride=2, padding=2),
        *_residuals(recipe.encoder_blocks[0], width, recipe),
        *conv_block(width, 2 * width, *kinds, stride=2),
        *_residuals(recipe.encoder_blocks[1], 2 * width, recipe),
        *conv_block(2 * width, 4 * width, *kinds, stride=2, padding=padding),
        *_residuals(recipe.encoder_blocks[2], 4 * width, recipe),
        nn.Flatten(),
        *linear_block(4 * width * eighth[0] * eighth[1], recipe.hidden, *kinds),
    )
    return code_head(body, recipe.hidden, recipe)


def _decoder(recipe: Recipe, shape: ImageShape) -> nn.Sequential:
    width, kinds = recipe.decoder_width, (recipe.activation, recipe.normalisation)
    quarter = (halved(halved(shape.height)), halved(halved(shape.width)))
    eighth = (halved(quarter[0]), halved(quarter[1]))
    drawn = (4 * quarter[0], 4 * quarter[1])
    crop = [] if drawn == (shape.height, shape.width) else [Crop(shape.height, shape.width)]
    return nn.Sequential(
        *linear_block(recipe.code_size, recipe.hidden, *kinds),
        *linear_block(recipe.hidden, 4 * width * eighth[0] * eighth[1], *kinds),
        nn.Unflatten(1, (4 * width, *eighth)),
        *_residuals(recipe.decoder_blocks[0], 4 * width, recipe),
        *upconv_block(4 * width, 2 * width, *kinds, kernel=3, output_padding=(1 - quarter[0] % 2, 1 - quarter[1] % 2)),
        *_residuals(recipe.decoder_blocks[1], 2 * width, recipe),
        *upconv_block(2 * width, width, *kinds, kernel=4),
        *_residuals(recipe.decoder_blocks[2], width, recipe),
        *upconv_block(width, shape.channels, "none", "none", kernel=4),
        *crop,
        InFloat32(activation(recipe.output_activation)),
    )


def _residuals(count: int, width: int, recipe: Recipe) -> list[nn.Module]:
    return [Residual(width, recipe.activation, recipe.normalisation) for _ in range(count)]
