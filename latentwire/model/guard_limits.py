"""The part of a model card that the guard works with: limits, reference pictures, and how often they are right."""

from typing import Self

from pydantic import Field, model_validator

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


class ClassifierLayer(Frozen):
    """One layer of a classifier: int8 weights with a scale for each output, and a bias."""

    weights_base64: str = Field(description="int8 weights, the inputs of an output one after another")
    scale: tuple[float, ...] = Field(min_length=1, description="factor of the weights, for each output")
    bias: tuple[float, ...] = Field(description="for each output")

    @model_validator(mode="after")
    def _same_length(self) -> Self:
        if len(self.scale) != len(self.bias):
            raise ValueError("scale and bias of a layer differ in length")
        return self


class Classifier(Frozen):
    """A small network that tells the classes of the training images apart, by the means of windows in [0, 1].

    Each layer but the last is followed by a ReLU. The outputs of the last are logits.
    """

    layers: tuple[ClassifierLayer, ...] = Field(min_length=1)
    error: Share = Field(description="share of validation images in a wrong class")


class DoubtLimits(Frozen):
    """The limits beyond which a reconstruction may show something else than the image, which is of the model's kind.

    `latentwire.selection.doubt_scores` defines the scores.
    """

    max_local_error: Positive
    usual_local_png_base64: str = Field(
        description="root mean square error of window means of validation images, rows × columns of windows; at least 1"
    )
    max_class_odds: Positive | None = Field(default=None, description="None without a classifier")
    classifier: Classifier | None = None


class MeaningRates(Frozen):
    """What becomes of the meaning of images, measured on images that set no limit, with better models beside it.

    Images are encoded with the policy `fallback` and both halves, and no model is named.
    """

    ordinary: str = Field(description="name of the set of images")
    images: int = Field(ge=1)
    sure_changes: Share = Field(
        description="images whose class changes for both judges, one of them being sure of both"
    )
    changes: Share = Field(description="images whose class changes for both judges")
    climbed: Share = Field(description="images that a better model delivers")
    fallen: Share = Field(description="images that are sent losslessly")
    coded_bytes: Positive = Field(description="mean payload of the codes of this model")
    served_bytes: Positive = Field(description="mean payload as served")
    vanished_marks: int = Field(description="drawn marks that this model's reconstruction loses")
    flagged_marks: int = Field(description="those of them that the guard finds")
    invented_marks: int = Field(description="marks in delivered images where the image has none")
    blends: int = Field(description="mean pictures of two images of different classes")
    resolved_blends: Share = Field(description="blends that arrive surely as one other class, without a word")
    holds: bool = Field(description="whether the figures are within their bounds, so that the model may be selected")


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
    doubt: DoubtLimits | None = None
    meaning: MeaningRates | None = None
