"""The architectures that a recipe may name, each with the fields that make its network.

Networks of equal architectures, for images of equal shape, have weights of equal names and shapes.
"""

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

ActivationName = Literal["silu", "relu", "leaky-relu", "gelu", "tanh", "sigmoid", "none"]
NormalisationName = Literal["batch", "none"]
PoolingName = Literal["max", "average", "stride"]
UpsamplingName = Literal["transposed", "nearest"]

MAX_LAYER_SIZE = 65536

STRICT = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


def _split(value: Any) -> Any:
    """Turn the command line's `784,128,10` into a list; leave everything else as it is."""
    if not isinstance(value, str):
        return value
    return [part.strip() for part in value.split(",")] if value.strip() else []


Size = Annotated[int, Field(ge=1, le=MAX_LAYER_SIZE)]
Sizes = Annotated[tuple[Size, ...], BeforeValidator(_split)]
BlockCount = Annotated[int, Field(ge=0)]
BlockCounts = Annotated[tuple[BlockCount, BlockCount, BlockCount], BeforeValidator(_split)]
CodeSize = Annotated[int, Field(ge=1, le=MAX_LAYER_SIZE, description="numbers in the code")]


class _Layers(BaseModel):
    """Fields of all architectures of layers."""

    model_config = STRICT

    kind: str
    activation: ActivationName = Field("silu", description="activation of the hidden layers")
    code_activation: ActivationName = Field("none", description="activation of the code")
    output_activation: ActivationName = Field("sigmoid", description="activation of the reconstruction")
    normalisation: NormalisationName = Field("batch", description="normalisation of the hidden layers")
    variational: bool = Field(
        False, description="whether the encoder gives a distribution over codes, whose mean is the code"
    )

    @model_validator(mode="after")
    def _check_variational(self) -> Self:
        if self.variational and self.code_activation != "none":
            raise ValueError("variational codes are normally distributed, so their code_activation must be none")
        return self


class Dense(_Layers):
    """Fully connected layers: `training.architectures.dense`."""

    kind: Literal["dense"] = "dense"
    layers: Sizes = Field(
        (784, 512, 128, 10), description="sizes of the encoder's layers, from the image's values to the code"
    )
    decoder_layers: Sizes = Field(
        (), description="sizes of the decoder's layers, from the code to the image's values; empty mirrors layers"
    )
    tied: bool = Field(False, description="whether the decoder's weights are the encoder's, transposed")

    @property
    def code_size(self) -> int:
        """Numbers in the code: the size of the encoder's last layer."""
        return self.layers[-1]

    @model_validator(mode="after")
    def _check_layers(self) -> Self:
        if len(self.layers) < 2:
            raise ValueError("layers needs the image's number of values first and the code's size last, as in 784,10")
        ends = (self.layers[-1], self.layers[0])
        if self.decoder_layers and (self.decoder_layers[0], self.decoder_layers[-1]) != ends:
            raise ValueError(
                f"decoder_layers lead from {self.decoder_layers[0]} to {self.decoder_layers[-1]} numbers, and should "
                f"lead from the code's {ends[0]} to the image's {ends[1]}"
            )
        if self.tied and self.decoder_layers not in ((), tuple(reversed(self.layers))):
            raise ValueError("tied needs a decoder that mirrors the encoder, without decoder_layers of its own")
        return self


class Conv(_Layers):
    """Convolutions with residual blocks: `training.architectures.conv`."""

    kind: Literal["conv"] = "conv"
    code_size: CodeSize = 10
    encoder_width: int = Field(16, ge=1, le=1024, description="channels of the encoder's first layer")
    decoder_width: int = Field(16, ge=1, le=1024, description="channels of the decoder's last hidden layer")
    hidden: Size = Field(256, description="size of the dense layers beside the code")
    encoder_blocks: BlockCounts = Field((0, 1, 1), description="residual blocks after each halving of the sides")
    decoder_blocks: BlockCounts = Field((1, 1, 0), description="residual blocks before each doubling of the sides")
    spatial_channels: int = Field(
        0, ge=0, le=64, description="channels of the spatial part of the code, which holds details; 0 has no such part"
    )
    correction: bool = Field(False, description="whether the encoder corrects its code by what the decoder makes of it")

    @model_validator(mode="after")
    def _check_parts(self) -> Self:
        plain = self.code_activation == "none" and not self.variational
        if self.spatial_channels and not plain:
            raise ValueError("spatial_channels need a code without code_activation that is not variational")
        if self.correction and not plain:
            raise ValueError("a correction is added to the code, which needs code_activation none and no variational")
        return self


class ConvPlain(_Layers):
    """Convolutions as textbooks draw them: `training.architectures.conv_plain`."""

    kind: Literal["conv-plain"] = "conv-plain"
    code_size: CodeSize = 10
    conv_widths: Sizes = Field((16, 32), description="channels of each block, which halves the sides")
    decoder_widths: Sizes = Field((), description="channels of the decoder's blocks; empty mirrors conv_widths")
    kernel_size: int = Field(3, ge=1, le=15, description="side of all kernels in pixels, an odd number")
    pooling: PoolingName = Field("max", description="how blocks halve the sides: by pooling, or by a stride of 2")
    upsampling: UpsamplingName = Field("transposed", description="how the decoder doubles the sides")
    conv_code: Literal["dense", "map"] = Field(
        "dense", description="whether a dense layer makes the code, or the last block's map is the code"
    )
    dense_layers: Sizes = Field((), description="sizes of the layers between the last block and the code")

    @model_validator(mode="after")
    def _check_blocks(self) -> Self:
        if not self.conv_widths:
            raise ValueError("conv-plain needs at least one block in conv_widths")
        if self.decoder_widths and len(self.decoder_widths) != len(self.conv_widths):
            raise ValueError(
                f"conv_widths halve the image's sides {len(self.conv_widths)} times and decoder_widths double them "
                f"{len(self.decoder_widths)} times, which does not give the image's size"
            )
        if self.kernel_size % 2 == 0:
            raise ValueError("kernel_size must be odd, or convolutions would change the image's size")
        if self.conv_code == "map" and (self.dense_layers or self.variational):
            raise ValueError("conv_code map takes the last block's output as it is: no dense_layers, not variational")
        return self


class Codebook(BaseModel):
    """Places on paths through pictures: `training.architectures.codebook`."""

    model_config = STRICT

    kind: Literal["codebook"] = "codebook"
    code_size: CodeSize = 1
    entries: int = Field(256, ge=4, le=65536, description="pictures on the path of each number of the code")


Layered = Dense | Conv | ConvPlain
Architecture = Layered | Codebook
KINDS: dict[str, type[Architecture]] = {"dense": Dense, "conv": Conv, "conv-plain": ConvPlain, "codebook": Codebook}
