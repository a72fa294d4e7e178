"""Compares what two processors make of the same images and bitstreams; `.ci/decode-matrix` runs it on several.

    python -m tests.contract.decode_matrix write FOLDER    on the first, which writes what it finds for drawn digits
    python -m tests.contract.decode_matrix compare FOLDER  on the second, which also takes the folder of the goldens

docs/FORMAT.md promises equal bitstreams, and pixels within one grey level. It needs the library's dependencies alone.
"""

import argparse
import base64
import platform
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from latentwire.decoder import Decoder
from latentwire.encoder import Encoder
from latentwire.imaging import image
from tests.contract.goldens import MODELS, GoldenCase, Goldens, candidates, shipped_models

MAX_PIXEL_DIFFERENCE = 1  # grey levels


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return 1 if this processor breaks the promise."""
    parser = argparse.ArgumentParser(prog="python -m tests.contract.decode_matrix", description=__doc__)
    parser.add_argument("command", choices=["write", "compare"])
    parser.add_argument("folders", nargs="+", type=Path, help="folders of one JSON file for each model")
    parser.add_argument("--images", type=int, default=20, help="digits of each model (default: %(default)s)")
    given = parser.parse_args(arguments)
    if given.command == "write":
        write(given.folders[0], given.images)
        return 0
    broken = sum(not compare(folder) for folder in given.folders)
    return 1 if broken else 0


def write(folder: Path, images: int) -> None:
    """Write what becomes of `images` drawn digits by each shipped model."""
    for model in shipped_models():
        encoder, decoder = Encoder.open(model), Decoder.open(model)
        cases = []
        for pixels in candidates(encoder.card)[:images]:
            bitstream = encoder.encode(pixels[None])[0].bitstream
            (reconstruction,) = decoder.decode([bitstream])
            cases.append(
                GoldenCase(
                    image_png_base64=base64.b64encode(image.write_png(pixels)).decode(),
                    bitstream_hex=bitstream.hex(),
                    reconstruction_png_base64=base64.b64encode(image.write_png(reconstruction)).decode(),
                )
            )
        goldens = Goldens(model_id=encoder.card.model_id, cases=cases)
        (folder / f"{model.name}.json").write_text(goldens.model_dump_json(), encoding="utf-8")


def compare(folder: Path) -> bool:
    """Encode and decode the cases in a folder, print the differences, and return whether none is too large."""
    cases = unequal = changed = greatest = 0
    for file in sorted(folder.glob("*.json")):
        encoder, decoder = Encoder.open(MODELS / file.stem), Decoder.open(MODELS / file.stem)
        for case in Goldens.model_validate_json(file.read_text(encoding="utf-8")).cases:
            pixels, expected = (
                image.read_image(base64.b64decode(png), encoder.card.image, "strict")
                for png in (case.image_png_base64, case.reconstruction_png_base64)
            )
            unequal += encoder.encode(pixels[None])[0].bitstream.hex() != case.bitstream_hex
            # The other processor's bitstream, whatever this one makes of the image.
            (decoded,) = decoder.decode([bytes.fromhex(case.bitstream_hex)])
            difference = int(np.abs(decoded.astype(int) - expected).max())
            changed, greatest = changed + (difference > 0), max(greatest, difference)
            cases += 1
    print(
        f"{platform.machine()}, {folder.name}: {unequal} of {cases} bitstreams differ; "
        f"{changed} of {cases} images differ, by at most {greatest} grey levels"
    )
    return cases > 0 and not unequal and greatest <= MAX_PIXEL_DIFFERENCE


if __name__ == "__main__":
    sys.exit(main())
