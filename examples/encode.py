"""Encodes an image, and decodes it again: `python examples/encode.py [IMAGE] [MODEL]`."""

import sys
from pathlib import Path

import latentwire

ROOT = Path(__file__).parents[1]


def main(source: Path, folder: Path) -> None:
    """Encode the image at `source` with the model in `folder`, and write what a receiver sees of it."""
    codec = latentwire.Codec.load(folder)
    try:
        encoded = codec.encode(source)
    except latentwire.ImageError as error:
        sys.exit(f"{source}: {error}")
    print(f"{source.stat().st_size} bytes -> {len(encoded.bitstream)} bytes, {encoded.psnr_db:.1f} dB")
    if encoded.ood is not None:
        print(f"sent losslessly: {encoded.ood.sentence}")

    image = codec.decode(encoded.bitstream)
    print(f"received {image.dtype} {image.shape}")
    Path("received.png").write_bytes(image.to_png())


if __name__ == "__main__":
    arguments = [Path(argument) for argument in sys.argv[1:]]
    main(*arguments, *(ROOT / "examples" / "seven.png", ROOT / "models" / "mnist-conv-10")[len(arguments) :])
