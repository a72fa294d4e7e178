"""The part of a model card that the guard works with: limits, reference pictures, and how often they are right."""

from pydantic import Field

from latentwire.model.schema import Frozen, Positive, Share


class ReferencePictures(Frozen):
    """Statistics of the training images at each pixel, as PNG files of the model's shape, in levels of 0 to 255."""

    mean_png_base64: str = Field(description="mean of the training images")
    spread_png_base64: str = Field(description="standard deviation of the training images; at least 1")
    error_png_base64: str = Field(description="root mean square error of reconstructed validation images; at least 1")


class DetectedOod(Frozen):
    """The share of a set of out-of-distribution images that the guard detects."""

    ood_images: str
    images: int = Field(ge=1)
    by_sender: Share = Field(description="without a decoder")
    with_decoder: Share = Field(description="with a decoder")


class GuardRates(Frozen):
    """How often the guard finds images out-of-distribution, measured on images that did not set its limits."""

    ordinary: str = Field(description="name of a set of images that the model is for")
    images: int = Field(ge=1)
    false_alarms_by_sender: Share
    false_alarms_with_decoder: Share
    caught: tuple[DetectedOod, ...] = ()


class GuardLimits(Frozen):
    """The limits beyond which an image is out-of-distribution, and the statistics that its scores are computed from.

    Fewer than one in a thousand training images is beyond the limits. They are not part of the model's identity.
    """

    max_input_deviation: Positive = Field(description="of the image, with a decoder")
    max_input_deviation_alone: Positive = Field(description="of the image, without a decoder")
    max_bits: Positive = Field(description="ideal code length")
    max_mse: Positive = Field(description="of the reconstruction, per value in [0, 1]")
    max_reconstruction_deviation: Positive = Field(description="of the reconstruction")
    reference: ReferencePictures
    rates: GuardRates | None = None
