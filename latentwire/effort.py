"""The option `effort`: how hard to try for fewer bytes of an image of any size."""

from typing import Literal, get_args

from latentwire.errors import ImageTooLarge, InvalidParameter

# One pass; or also a few passes, or many, that refine the symbols.
Effort = Literal[1, 2, 3]
EFFORTS: tuple[Effort, ...] = get_args(Effort)

# How many times longer an image takes, about so.
TIMES_LONGER: dict[Effort, int] = {1: 1, 2: 8, 3: 24}


def parse_effort(value: str | None) -> Effort | None:
    """Return the effort that a query parameter asks for, or None if it is missing.

    Raises:
        InvalidParameter: there is no such effort.
    """
    efforts = {str(effort): effort for effort in EFFORTS}
    if value is not None and value not in efforts:
        raise InvalidParameter(f"effort takes {', '.join(list(efforts)[:-1])} or {EFFORTS[-1]}, not '{value[:64]}'")
    return None if value is None else efforts[value]


def work_of(pixels: int, effort: Effort, most: int) -> int:
    """Return for an image of so many pixels how many would take as long at an effort of 1.

    Raises:
        ImageTooLarge: they are more than `most`, at an effort above 1.
    """
    work = pixels * TIMES_LONGER[effort]
    if effort > 1 and work > most:
        raise ImageTooLarge(
            f"the image has {pixels:,} pixels; an effort of {effort} is for {most // TIMES_LONGER[effort]:,} at most; "
            "leave out effort"
        )
    return work
