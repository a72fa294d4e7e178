"""Writes the goldens of all shipped models anew: `python -m tests.contract.regenerate`.

To be run when a model is published or retired, or the format changes, with a line in CHANGELOG.md that says why.
"""

import base64
import sys

from latentwire.decoder import Decoder
from latentwire.encoder import Encoder
from latentwire.imaging import image
from tests.contract.goldens import (
    CASES,
    GOLDENS,
    PIXEL_MARGIN,
    SYMBOL_MARGIN,
    GoldenCase,
    Goldens,
    candidates,
    pass_through,
    shipped_models,
)


def main() -> int:
    """Write one file for each model, and remove those of models that are gone."""
    for stale in {path.stem for path in GOLDENS.glob("*.json")} - {folder.name for folder in shipped_models()}:
        (GOLDENS / f"{stale}.json").unlink()
    for folder in shipped_models():
        encoder, decoder = Encoder.open(folder), Decoder.open(folder)
        cases = []
        for pixels in candidates(encoder.card):
            passage = pass_through(encoder, decoder, pixels)
            clear = passage.symbol_margin >= SYMBOL_MARGIN / encoder.card.code_size
            if clear and passage.pixel_margin >= PIXEL_MARGIN / pixels.size:
                cases.append(
                    GoldenCase(
                        image_png_base64=base64.b64encode(image.write_png(pixels)).decode(),
                        bitstream_hex=passage.bitstream.hex(),
                        reconstruction_png_base64=base64.b64encode(image.write_png(passage.pixels)).decode(),
                    )
                )
            if len(cases) == CASES:
                break
        else:
            print(f"{folder.name}: only {len(cases)} pictures stay clear of rounding boundaries", file=sys.stderr)
            return 1
        goldens = Goldens(model_id=encoder.card.model_id, cases=cases)
        (GOLDENS / f"{folder.name}.json").write_text(goldens.model_dump_json(indent=2) + "\n", encoding="utf-8")
        print(f"{folder.name}: {len(cases)} cases")
    return 0


if __name__ == "__main__":
    sys.exit(main())
