"""Image files -> the same files without what is not their picture, and their EXIF orientation.

Metadata in many small parts takes Pillow minutes: four megabytes of EXIF are enough. So Pillow only gets the parts that
it needs, and no more bytes than the pixels can need. No picture is decoded here.
"""

from latentwire.imaging.exif import UPRIGHT
from latentwire.imaging.strip_bmp import BMP_SIGNATURE, check_bmp
from latentwire.imaging.strip_gif import GIF_SIGNATURES, strip_gif
from latentwire.imaging.strip_jpeg import JPEG_SIGNATURE, strip_jpeg
from latentwire.imaging.strip_png import PNG_SIGNATURE, strip_png
from latentwire.imaging.strip_tiff import TIFF_SIGNATURES, strip_tiff
from latentwire.imaging.strip_webp import RIFF_SIGNATURE, strip_webp


def strip(data: bytes) -> tuple[bytes, int]:
    """Return the file without what is not its picture, and its EXIF orientation, 1 to 8.

    A file of another format is returned unchanged, as upright; and the orientation of a TIFF file stays in it.

    Raises:
        InvalidImage: the file is damaged, has too many parts, or more bytes than its pixels can need.
    """
    if data.startswith(PNG_SIGNATURE):
        return strip_png(data)
    if data.startswith(JPEG_SIGNATURE):
        return strip_jpeg(data)
    if data.startswith(RIFF_SIGNATURE):
        return strip_webp(data)
    if data.startswith(GIF_SIGNATURES):
        return strip_gif(data), UPRIGHT
    if data.startswith(TIFF_SIGNATURES):
        return strip_tiff(data), UPRIGHT
    if data.startswith(BMP_SIGNATURE):
        check_bmp(data)
    return data, UPRIGHT
