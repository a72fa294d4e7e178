"""Compares what two processors decode of the same photographs; `.ci/decode-matrix --photos FOLDER` runs it on several.

    python -m tests.contract.photo_matrix write FOLDER PHOTOS    on the first, which encodes the files in PHOTOS
    python -m tests.contract.photo_matrix compare FOLDER         on the second

Every bitstream must give the same symbols, and thumbnails the same pixels within two levels. Symbols are compared as
the quantized latents that they give. It needs the library's dependencies alone.
"""

import argparse
import platform
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from latentwire.any_size.decoder import AnySizeDecoder
from latentwire.any_size.encoder import AnySizeEncoder
from latentwire.any_size.part_reader import read_part
from latentwire.errors import CodecError
from latentwire.format.any_size import parts_of, read_payload
from latentwire.imaging.formats import DEFAULT_FORMATS, suffixes_of
from latentwire.imaging.image import Pixels
from latentwire.imaging.reader import AnySizeReader
from latentwire.model.any_size_card import AnySizeCard, load_any_card

MODEL = Path(__file__).resolve().parent.parent.parent / "models" / "photo"
MAX_PIXEL_DIFFERENCE = 2  # levels
THUMBNAIL_SIDE = 192
LATENTS, PIXELS = "latents", "pixels"
SUFFIXES = suffixes_of(DEFAULT_FORMATS)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return 1 if this processor finds another symbol, or a pixel more than two levels away."""
    parser = argparse.ArgumentParser(prog="python -m tests.contract.photo_matrix", description=__doc__)
    parser.add_argument("command", choices=["write", "compare"])
    parser.add_argument("folder", type=Path, help="of what the first processor finds")
    parser.add_argument("photos", nargs="?", type=Path, help="folder of image files, to write")
    parser.add_argument("--model", type=Path, default=MODEL, help="folder of the model (default: %(default)s)")
    parser.add_argument("--qualities", default="0,20,40,60,80,100", help="default: %(default)s")
    parser.add_argument("--images", type=int, default=1000, help="of the photographs, at most (default: %(default)s)")
    parser.add_argument("--thumbnails", type=int, default=4, help="of the photographs (default: %(default)s)")
    given = parser.parse_args(arguments)
    card = load_any_card(given.model)
    if not isinstance(card, AnySizeCard):
        parser.error("the model is not for images of any size")
    if given.command == "compare":
        return 0 if compare(given.folder, given.model, card) else 1
    if given.photos is None:
        parser.error("write needs a folder of photographs")
    qualities = [float(quality) for quality in given.qualities.split(",")]
    photos = sorted(file for file in given.photos.iterdir() if file.suffix.lower() in SUFFIXES)[: given.images]
    given.folder.mkdir(parents=True, exist_ok=True)
    write(given.folder, given.model, card, photos, qualities, given.thumbnails)
    return 0


def write(
    folder: Path, model: Path, card: AnySizeCard, photos: list[Path], qualities: list[float], thumbnails: int
) -> None:
    """Encode photographs at all qualities, and some thumbnails at the middle one; write what they decode to."""
    encoder = AnySizeEncoder.open(model, card)
    decoder = AnySizeDecoder.open(model, card, entropy=encoder.entropy)
    reader = AnySizeReader("white")
    for number, photo in enumerate(photos):
        pixels = reader.read(photo.read_bytes()).pixels
        for quality in qualities:
            payload = encoder.encode(pixels, encoder.quality_index(quality)).payload
            _save(folder / f"{photo.stem}-q{quality:g}", payload, {LATENTS: _latents(decoder, payload)})
        if number < thumbnails:
            picture = Image.fromarray(pixels.squeeze())
            picture.thumbnail((THUMBNAIL_SIDE, THUMBNAIL_SIDE))
            small = np.atleast_3d(np.asarray(picture))
            payload = encoder.encode(small, encoder.quality_index(qualities[len(qualities) // 2])).payload
            name = folder / f"{photo.stem}-thumbnail"
            _save(name, payload, {LATENTS: _latents(decoder, payload), PIXELS: decoder.decode_raw(payload)})
        print(f"wrote {number + 1} of {len(photos)} photographs", flush=True)


def compare(folder: Path, model: Path, card: AnySizeCard) -> bool:
    """Decode what was written, print the differences, and return whether there are none beyond two levels of pixels."""
    decoder = AnySizeDecoder.open(model, card)
    started_s = time.monotonic()
    files = sorted(folder.glob("*.payload"))
    symbols = unequal = unread = changed = greatest = 0
    for number, file in enumerate(files, 1):
        payload = file.read_bytes()
        with np.load(file.with_suffix(".npz")) as expected:
            try:
                latents = _latents(decoder, payload)
            except CodecError as error:
                print(f"{file.stem}: {error}", flush=True)
                unread += 1
                continue
            symbols += latents.size
            unequal += int((latents != expected[LATENTS]).sum())
            if PIXELS in expected:
                difference = _difference(decoder.decode_raw(payload), expected[PIXELS])
                changed, greatest = changed + (difference > 0), max(greatest, difference)
        passed_s = time.monotonic() - started_s
        left_s = passed_s / number * (len(files) - number)
        print(f"{number} of {len(files)}, {passed_s:,.0f} s, about {left_s:,.0f} s left", file=sys.stderr, flush=True)
    print(
        f"{platform.machine()}: {unequal} of {symbols:,} symbols differ, in {len(files)} bitstreams, {unread} of which "
        f"could not be read; {changed} thumbnails differ, by at most {greatest} levels"
    )
    return bool(files) and not unequal and not unread and greatest <= MAX_PIXEL_DIFFERENCE


def _latents(decoder: AnySizeDecoder, payload: bytes) -> npt.NDArray[np.float32]:
    """Return the quantized latents of all parts of an image, one after another."""

    def parts() -> Iterator[npt.NDArray[np.float32]]:
        header, bodies, _ = read_payload(payload)
        for part, body in zip(parts_of(header), bodies, strict=True):
            yield read_part(decoder.entropy, body or b"", part, header.quality).ravel()

    return np.concatenate(list(parts()))


def _save(path: Path, payload: bytes, found: dict[str, npt.NDArray[np.generic]]) -> None:
    path.with_name(path.name + ".payload").write_bytes(payload)
    np.savez_compressed(path.with_name(path.name + ".npz"), **found)  # type: ignore[arg-type]


def _difference(found: Pixels, expected: Pixels) -> int:
    return int(np.abs(found.astype(int) - expected).max())


if __name__ == "__main__":
    sys.exit(main())
