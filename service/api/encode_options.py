"""The query parameters of `/encode` -> the options that they express, checked."""

import math
from typing import NamedTuple

from latentwire.errors import InvalidParameter
from latentwire.options import BACKGROUNDS, FITS, FRAMINGS, ON_OOD, VERIFY, Background, Fit, Framing, OnOod, Verify
from service.http.query import parse_choice, parse_number, parse_positive_integer

PARAMETERS = frozenset(
    {"model", "fit", "background", "framing", "on_ood", "max_mse", "target_bytes", "min_psnr", "quality"}
)


class EncodeOptions(NamedTuple):
    """What a request asks of `/encode`; None for an option that it leaves open."""

    model: str | None
    fit: Fit
    background: Background
    framing: Framing
    on_ood: OnOod
    max_mse: float | None
    target_bytes: int | None
    min_psnr_db: float | None
    quality: float | None
    may_scale_down: bool

    @property
    def has_target(self) -> bool:
        """Whether a number of bytes or a PSNR is asked for, which chooses the vector model for the image."""
        return self.target_bytes is not None or self.min_psnr_db is not None

    @property
    def may_use_any_size(self) -> bool:
        """Whether the default model for images of any size may take an image that no vector model is for."""
        return self.model is None and self.framing == "full" and self.fit == "strict" and self.max_mse is None

    def check_for_vector(self) -> None:
        """Raise `InvalidParameter` if a vector model has no such option."""
        target = "target_bytes" if self.target_bytes is not None else "min_psnr"
        if self.quality is not None:
            raise InvalidParameter("quality is for models for images of any size; leave it out, or name such a model")
        if self.has_target and self.model is not None:
            raise InvalidParameter(f"{target} chooses the model for the image; leave out model, or {target}")

    def check_for_any_size(self, *, has_decoder: bool) -> None:
        """Raise `InvalidParameter` if a model for images of any size has no such option."""
        if self.fit == "pad" or (self.fit == "resize" and self.target_bytes is None):
            raise InvalidParameter(
                f"the model takes images of any size as they are; leave out fit={self.fit}, or ask for target_bytes "
                "with fit=resize"
            )
        if self.max_mse is not None:
            raise InvalidParameter("max_mse is for vector models; ask for min_psnr")
        if self.min_psnr_db is not None and not has_decoder:
            raise InvalidParameter(
                "min_psnr needs the decoder of this model; start this sender with --verify-reconstruction"
            )


def parse_encode_options(parameters: dict[str, str], on_ood: OnOod, *, has_decoder: bool) -> EncodeOptions:
    """Check the parameters of a query, and return its options; `on_ood` is the default of that parameter.

    A process that has no decoder for what it encodes cannot know the error of the reconstruction.

    Raises:
        InvalidParameter: a parameter has a value that it does not take, or two parameters contradict each other.
    """
    options = EncodeOptions(
        model=parameters.get("model"),
        fit=parse_choice("fit", FITS, parameters.get("fit", "strict")),
        background=parse_choice("background", BACKGROUNDS, parameters.get("background", "auto")),
        framing=parse_choice("framing", FRAMINGS, parameters.get("framing", "full")),
        on_ood=parse_choice("on_ood", ON_OOD, parameters.get("on_ood", on_ood)),
        max_mse=parse_number("max_mse", parameters.get("max_mse"), "from 0 to 1", maximum=1),
        target_bytes=parse_positive_integer("target_bytes", parameters.get("target_bytes")),
        min_psnr_db=parse_number("min_psnr", parameters.get("min_psnr"), "of dB, 0 or more", maximum=math.inf),
        quality=parse_number("quality", parameters.get("quality"), "from 0 to 100", maximum=100),
        may_scale_down=parameters.get("fit", "resize") == "resize",
    )
    if sum(wish is not None for wish in (options.quality, options.target_bytes, options.min_psnr_db)) > 1:
        raise InvalidParameter("quality, target_bytes and min_psnr each choose the quality; ask for one of them")
    if options.min_psnr_db is not None and options.max_mse is not None:
        raise InvalidParameter("min_psnr and max_mse both limit the error; ask for one of them")
    if options.max_mse is not None and not has_decoder:
        raise InvalidParameter("max_mse needs the decoder; start this sender with --verify-reconstruction")
    return options


def parse_verify(value: str, *, has_decoder: bool) -> Verify:
    """Return how the images of a batch are assessed; raise `InvalidParameter` if it is unknown or lacks a decoder."""
    verify = parse_choice("verify", VERIFY, value)
    if verify == "reconstruction" and not has_decoder:
        raise InvalidParameter(
            "verify=reconstruction needs the decoder; start this sender with --verify-reconstruction"
        )
    return verify
