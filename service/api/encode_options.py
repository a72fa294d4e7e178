"""The query parameters of `/encode` -> the options that they express, checked, and the models for them."""

import math
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from latentwire.effort import Effort, parse_effort, work_of
from latentwire.errors import InvalidParameter, TargetMissed
from latentwire.imaging.fitting import FittedImage
from latentwire.options import BACKGROUNDS, FITS, FRAMINGS, ON_OOD, VERIFY, Background, Fit, Framing, OnOod, Verify
from service.http.query import parse_choice, parse_number, parse_positive_integer
from service.settings import Settings

if TYPE_CHECKING:
    from latentwire.any_size.sender import AnySizeSender
    from latentwire.registry import Registry
    from latentwire.selection.assessment import GuardedImage
    from latentwire.selection.guard import Guard
    from latentwire.selection.ladder import Ladder

PARAMETERS = frozenset(
    {"model", "fit", "background", "framing", "on_ood", "max_mse", "target_bytes", "min_psnr", "quality", "effort"}
)

# A container has no place for other framings, and a batch no limit of its own.
BATCH_PARAMETERS = PARAMETERS - {"framing", "max_mse"} | {"verify"}


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
    effort: Effort | None
    may_scale_down: bool

    @property
    def has_target(self) -> bool:
        """Whether a number of bytes or a PSNR is asked for, which chooses the vector model for the image."""
        return self.target_bytes is not None or self.min_psnr_db is not None

    @property
    def refines(self) -> bool:
        """Whether an effort above 1 is asked for, which only models for images of any size have."""
        return self.effort is not None and self.effort > 1

    @property
    def may_use_any_size(self) -> bool:
        """Whether the default model for images of any size may take an image that no vector model is for."""
        return self.model is None and self.framing == "full" and self.fit == "strict" and self.max_mse is None

    def work_of(self, pixels: int, settings: Settings) -> int:
        """Return how many pixels an image of any size counts as, more than it has if it takes longer.

        Raises:
            ImageTooLarge: it takes too long.
        """
        most = settings.max_image_pixels
        return work_of(pixels, self.effort or 1, most, target_bytes=self.target_bytes, min_psnr_db=self.min_psnr_db)

    def encode_any_size(
        self,
        sender: "AnySizeSender",
        image: FittedImage,
        *,
        measure: bool = True,
        otherwise: "GuardedImage | TargetMissed | None" = None,
    ) -> "GuardedImage":
        """Return what a model for images of any size makes of an image; see `encode_any_size` of the library."""
        from latentwire.selection.any_size import encode_any_size  # a receiver must not load this code

        return encode_any_size(
            sender,
            image,
            self.framing,
            quality=self.quality,
            target_bytes=self.target_bytes,
            min_psnr_db=self.min_psnr_db,
            effort=self.effort,
            may_scale_down=self.may_scale_down,
            measure=measure,
            otherwise=otherwise,
        )

    def check_for_vector(self) -> None:
        """Raise `InvalidParameter` if a vector model has no such option."""
        target = "target_bytes" if self.target_bytes is not None else "min_psnr"
        if self.quality is not None or self.refines:
            name = "effort" if self.quality is None else "quality"
            raise InvalidParameter(f"{name} is for models for images of any size; leave it out, or name such a model")
        if self.has_target and self.model is not None:
            raise InvalidParameter(f"{target} chooses the model for the image; leave out model, or {target}")

    def check_for_vector_batch(self) -> None:
        """Raise `InvalidParameter` if a batch for a vector model has no such option."""
        if self.has_target:
            raise InvalidParameter(
                "a batch has one vector model, and a target chooses one for each image; send each image to /encode, or "
                "name a model for images of any size"
            )

    def check_for_any_size(self, *, has_decoder: bool) -> None:
        """Raise `InvalidParameter` if a model for images of any size has no such option."""
        if self.fit == "pad" or (self.fit == "resize" and self.target_bytes is None):
            raise InvalidParameter(
                f"the model takes images of any size as they are; leave out fit={self.fit}, or ask for target_bytes "
                "with fit=resize"
            )
        if self.max_mse is not None:
            raise InvalidParameter("max_mse is for vector models; ask for min_psnr")
        needing = "min_psnr" if self.min_psnr_db is not None else "effort" if self.refines else None
        if needing is not None and not has_decoder:
            raise InvalidParameter(
                f"{needing} needs the decoder of this model; start this sender with --verify-reconstruction"
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
        effort=parse_effort(parameters.get("effort")),
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


class Models(NamedTuple):
    """The models for a request.

    Attributes:
        guard: of the first vector model; None if only a model for images of any size may encode the image.
        ladder: of the vector models that it is chosen from.
        above: returns those above it, if it is left open.
        any_size: returns the model for images of any size that may take what no vector model is for, if there is one.
    """

    guard: "Guard | None"
    ladder: "Ladder | None"
    above: "Callable[[Guard], list[Guard]] | None"
    any_size: "Callable[[], AnySizeSender | None]"


def choose_models(registry: "Registry", options: EncodeOptions, settings: Settings) -> Models:
    """Return the models that may encode what a request with these options sends.

    Raises:
        InvalidParameter: a model of this kind has no such option.
        UnknownModel: no model has the name that the request gives.
        ModelNotReady: the model cannot be used.
    """
    any_size = partial(registry.any_size_sender, options.model)
    is_any_size = options.quality is not None or options.refines or registry.default == registry.default_any_size
    if (options.model is not None or is_any_size) and any_size() is not None:
        options.check_for_any_size(has_decoder=settings.verifies)
        return Models(None, None, None, any_size)
    options.check_for_vector()
    # A raw payload does not name its model.
    is_open = options.model is None and options.framing == "full"
    ladder = registry.ladder() if options.has_target else None
    return Models(registry.guard(options.model), ladder, registry.above if is_open else None, any_size)
