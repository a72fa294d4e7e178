"""Points for tests, in few words."""

from benchmarks.rate_distortion.points import ALONE, Arrangement, Point


def point(
    codec: str,
    size: float,
    psnr_db: float | None,
    setting: str = "some",
    arrangement: Arrangement = ALONE,
    count: int = 10,
) -> Point:
    """A point of these bytes and this PSNR; None is without loss."""
    return Point(
        codec=codec,
        setting=setting,
        library="a library",
        arrangement=arrangement,
        count=count,
        images="these",
        bytes=size,
        mse=0.0 if psnr_db is None else 10 ** (-psnr_db / 10),
    )
