"""The parameters of `/encode` -> what is asked for, checked. Knows neither images nor models."""

import math
import re
from typing import NamedTuple, cast

from latentwire.options import FITS, ON_OOD, VERIFY, Fit, Framing, OnOod, Verify
from service.errors import InvalidParameter
from service.http.query import read_framing

PARAMETERS = frozenset({"model", "fit", "framing", "on_ood", "max_mse", "target_bytes", "min_psnr"})

_WHOLE = re.compile(r"[0-9]{1,9}")
_NUMBER = re.compile(r"([0-9]{1,9}(\.[0-9]{0,15})?|\.[0-9]{1,15})([eE][-+]?[0-9]{1,2})?")


class EncodeWishes(NamedTuple):
    """What a request asks of `/encode`; None where it leaves the choice."""

    model: str | None
    fit: Fit
    framing: Framing
    on_ood: OnOod
    max_mse: float | None
    target_bytes: int | None
    min_psnr_db: float | None

    @property
    def of_ladder(self) -> bool:
        """Whether the model is to be chosen for the image."""
        return self.target_bytes is not None or self.min_psnr_db is not None


def read_wishes(parameters: dict[str, str], on_ood: OnOod, *, sees_delivered: bool) -> EncodeWishes:
    """Check the parameters of a request.

    Args:
        parameters: of the query, each of `PARAMETERS`.
        on_ood: where the request has none.
        sees_delivered: whether this process decodes what it encodes, without which there is no error to be limited.

    Raises:
        InvalidParameter: a value that does not exist, or two that contradict one another.
    """
    wishes = EncodeWishes(
        model=parameters.get("model"),
        fit=read_fit(parameters.get("fit", "strict")),
        framing=read_framing(parameters.get("framing", "full")),
        on_ood=read_on_ood(parameters.get("on_ood", on_ood)),
        max_mse=_number("max_mse", parameters.get("max_mse"), "from 0 to 1", most=1),
        target_bytes=_whole("target_bytes", parameters.get("target_bytes")),
        min_psnr_db=_number("min_psnr", parameters.get("min_psnr"), "of dB, 0 or more", most=math.inf),
    )
    if wishes.target_bytes is not None and wishes.min_psnr_db is not None:
        raise InvalidParameter("target_bytes and min_psnr each choose the model; ask for one of them")
    if wishes.of_ladder and wishes.model is not None:
        target = "target_bytes" if wishes.target_bytes is not None else "min_psnr"
        raise InvalidParameter(f"{target} chooses the model for the image; leave out model, or {target}")
    if wishes.min_psnr_db is not None and wishes.max_mse is not None:
        raise InvalidParameter("min_psnr and max_mse both say how good the picture must be; ask for one of them")
    if wishes.max_mse is not None and not sees_delivered:
        raise InvalidParameter("max_mse needs the decoder; start this sender with --verify-reconstruction")
    return wishes


def read_fit(value: str) -> Fit:
    """Return what `fit` says.

    Raises:
        InvalidParameter: something that it does not take.
    """
    return cast(Fit, _one_of("fit", FITS, value))


def read_on_ood(value: str) -> OnOod:
    """Return what `on_ood` says.

    Raises:
        InvalidParameter: something that it does not take.
    """
    return cast(OnOod, _one_of("on_ood", ON_OOD, value))


def read_verify(value: str, *, sees_delivered: bool) -> Verify:
    """Return what `verify` says.

    Raises:
        InvalidParameter: something that it does not take, or that is not known here.
    """
    verify = cast(Verify, _one_of("verify", VERIFY, value))
    if verify == "reconstruction" and not sees_delivered:
        raise InvalidParameter(
            "verify=reconstruction needs the decoder; start this sender with --verify-reconstruction"
        )
    return verify


def _one_of(name: str, known: tuple[str, ...], value: str) -> str:
    if value not in known:
        raise InvalidParameter(f"{name} takes {', '.join(known[:-1])} or {known[-1]}, not '{value[:64]}'")
    return value


def _whole(name: str, value: str | None) -> int | None:
    if value is None:
        return None
    if not _WHOLE.fullmatch(value) or int(value) == 0:
        raise InvalidParameter(f"{name} takes a whole number from 1 to 999999999, not '{value[:64]}'")
    return int(value)


def _number(name: str, value: str | None, which: str, most: float) -> float | None:
    if value is None:
        return None
    if not _NUMBER.fullmatch(value) or float(value) > most:
        raise InvalidParameter(f"{name} takes a number {which}, not '{value[:64]}'")
    return float(value)
