"""The option `effort`: how hard to try for fewer bytes of an image of any size."""

from typing import Literal, get_args

from latentwire.errors import ImageTooLarge, InvalidParameter

# One pass; or also a few passes, or many, that refine the symbols.
Effort = Literal[1, 2, 3]
EFFORTS: tuple[Effort, ...] = get_args(Effort)

# How many times longer an image takes, about so, each time that it is refined.
TIMES_LONGER: dict[Effort, int] = {1: 1, 2: 14, 3: 56}

# A refined image has up to 1.3 % more bytes, and 0.1 to 0.4 dB more, than the plain one of its quality index; an index
# is 1 to 1.5 % of bytes and 0.05 dB. So within a number of bytes it is refined at these indices, below the plain
# image's, until one serves, ...
FITTING_INDICES = (0, 1)
# ... and for a PSNR at these.
REACHING_INDICES = (6, 4, 2)


def parse_effort(value: str | None) -> Effort | None:
    """Return the effort that a query parameter asks for, or None if it is missing.

    Raises:
        InvalidParameter: there is no such effort.
    """
    efforts = {str(effort): effort for effort in EFFORTS}
    if value is not None and value not in efforts:
        raise InvalidParameter(f"effort takes {', '.join(list(efforts)[:-1])} or {EFFORTS[-1]}, not '{value[:64]}'")
    return None if value is None else efforts[value]


def work_of(
    pixels: int, effort: Effort, most: int, *, target_bytes: int | None = None, min_psnr_db: float | None = None
) -> int:
    """Return for an image of so many pixels how many would take as long at an effort of 1.

    Args:
        pixels: of the image.
        effort: that is asked for.
        most: pixels that are allowed.
        target_bytes: of the bitstream, if there is a limit.
        min_psnr_db: of the reconstruction, if there is a limit.

    Raises:
        ImageTooLarge: they are more than `most`, at an effort above 1.
    """
    if effort == 1:
        return pixels
    longer = TIMES_LONGER[effort]
    if target_bytes is not None:
        longer *= len(FITTING_INDICES)
    elif min_psnr_db is not None:
        longer *= len(REACHING_INDICES)
    if pixels * longer > most:
        raise ImageTooLarge(
            f"the image has {pixels:,} pixels; with these options, an effort of {effort} is for {most // longer:,} at "
            "most; leave out effort"
        )
    return pixels * longer
