"""Writes codes and cards that must not be read: `python -m tests.contract.hostile_codes`.

They lie in `hostile/`, one file for each malformation: `code-<malformation>.bin` in the full framing, `raw-….bin` in
the raw one, `card-….json`. They are of the card that stands here, so that no model's fate touches them.
"""

import binascii
import io
import json
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from latentwire.entropy.arithmetic import ArithmeticCoder
from latentwire.entropy.symbols import MAX_SYMBOL
from latentwire.errors import CodecError, InvalidCard, InvalidCode, ModelMismatch, UnsupportedVersion
from latentwire.format.bitstream import write_bitstream
from latentwire.format.lossless import write_payload
from latentwire.model.card import (
    FrequencyTable,
    Golden,
    GraphFile,
    ImageShape,
    ModelCard,
    UniformQuantizer,
    model_id_of,
)

FOLDER = Path(__file__).parent / "hostile"
NAME = "format"
SHAPE = ImageShape(height=12, width=10, channels=1)

# The tables of the test vectors in `docs/FORMAT.md`.
TABLES = (
    FrequencyTable(first=-1, frequencies=(16384, 32767, 16384), escape=1),
    FrequencyTable(first=0, frequencies=(65535,), escape=1),
    FrequencyTable(first=40, frequencies=(1, 1), escape=65534),
)
CODER = ArithmeticCoder(TABLES)
SYMBOLS = (2, -1, 1000)


class Hostile(NamedTuple):
    """Bytes that must not be read, the error that says so, and a part of its sentence."""

    data: bytes
    error: type[CodecError]
    says: str


def card() -> ModelCard:
    """The card of a model whose graphs are nowhere."""
    quantizer = UniformQuantizer(low=(0.0,) * 3, step=(0.5,) * 3)
    encoder, decoder = GraphFile(sha256="1" * 64, bytes=1), GraphFile(sha256="2" * 64, bytes=1)
    return ModelCard(
        name=NAME,
        model_id=model_id_of(SHAPE, quantizer, TABLES, encoder, decoder),
        description="A card for codes that must not be read.",
        image=SHAPE,
        code_size=3,
        quantizer=quantizer,
        tables=TABLES,
        encoder=encoder,
        decoder=decoder,
        golden=Golden(image_png_base64="", symbols=(0, 0, 0), reconstruction_png_base64=""),
    )


def sound_payload() -> bytes:
    """The coded symbols of which the hostile codes are made."""
    return CODER.encode(SYMBOLS)[0]


def sound_bitstream() -> bytes:
    """The same in the full framing."""
    return write_bitstream(sound_payload(), card().fingerprint)


def sound_image() -> bytes:
    """The lossless image that the hostile payloads are made from, as a WebP file, the smallest kind."""
    return write_payload(_pixels())


def hostile_codes() -> dict[str, Hostile]:
    """Return every malformation of the full framing by its name."""
    bitstream = sound_bitstream()
    framed = bitstream[:-2]
    lossless = write_bitstream(sound_image(), card().fingerprint)
    return {
        "empty": Hostile(b"", InvalidCode, "empty"),
        "wrong-magic": Hostile(b"B" + bitstream[1:], InvalidCode, "letter L"),
        "magic-alone": Hostile(bitstream[:1], InvalidCode, "cut short: 1 bytes"),
        "fingerprint-cut": Hostile(bitstream[:4], InvalidCode, "cut short: 4 bytes"),
        "payload-missing": Hostile(_sealed(framed[:6]), InvalidCode, "cut short: 8 bytes"),
        "payload-cut": Hostile(bitstream[:-4] + bitstream[-2:], InvalidCode, "checksum"),
        "checksum-missing": Hostile(framed, InvalidCode, "checksum"),
        "checksum-cut": Hostile(bitstream[:-1], InvalidCode, "checksum"),
        "checksum-wrong": Hostile(framed + bytes((bitstream[-2] ^ 1, bitstream[-1])), InvalidCode, "checksum"),
        "bytes-after-the-end": Hostile(bitstream + b"\n", InvalidCode, "checksum"),
        "twice": Hostile(bitstream + bitstream, InvalidCode, "checksum"),
        "future-version": Hostile(_sealed(b"\x4c\x02" + framed[2:]), UnsupportedVersion, "version 2"),
        "other-fingerprint": Hostile(_sealed(framed[:2] + b"\0\0\0\0" + framed[6:]), ModelMismatch, "00000000"),
        "all-ones": Hostile(b"\x4c" + b"\xff" * 40, InvalidCode, "checksum"),
        "image-cut": Hostile(lossless[:-20] + lossless[-2:], InvalidCode, "checksum"),
        **{
            f"framed-{name}": Hostile(write_bitstream(raw.data, card().fingerprint), raw.error, raw.says)
            for name, raw in hostile_payloads().items()
            if raw.data and name != "megabyte"
        },
    }


def hostile_payloads() -> dict[str, Hostile]:
    """Return every malformation of the raw framing by its name."""
    sound, image = sound_payload(), sound_image()
    grey = Image.fromarray(_pixels()[:, :, 0])
    marker = b"\xff\xff"
    # 0xfffe leads to the escape of the first table; then each bit says that the distance goes on.
    endless = b"\xff\xfe\xff" + b"\xff" * 8
    furthest = CODER.encode([MAX_SYMBOL, 0, 40])[0]
    return {
        "empty": Hostile(b"", InvalidCode, "has 0 bytes"),
        "too-long": Hostile(b"\1" * (CODER.max_payload_bytes + 1), InvalidCode, "has 1 to 33"),
        "megabyte": Hostile(b"\1" * (1 << 20), InvalidCode, "has 1 to 33"),
        "zero-after-the-end": Hostile(sound + b"\0", InvalidCode, "not the payload that its symbols have"),
        "byte-after-the-end": Hostile(sound + b"\1", InvalidCode, "not the payload that its symbols have"),
        "not-the-smallest": Hostile(
            _bumped(CODER.encode([1, 0, 42])[0]), InvalidCode, "not the payload that its symbols have"
        ),
        "escape-that-never-ends": Hostile(endless, InvalidCode, "more than 32 bits"),
        "escape-beyond-32-bits": Hostile(_with_more(furthest), InvalidCode, "more than 32 bits"),
        "image-missing": Hostile(marker, InvalidCode, "announces a lossless image, and has none"),
        "image-without-content": Hostile(marker + b"\0", InvalidCode, "announces a lossless image, and has none"),
        "image-of-unknown-kind": Hostile(marker + b"\3" + image[3:], InvalidCode, "kind 3"),
        "image-of-the-wrong-kind": Hostile(marker + b"\1" + image[3:], InvalidCode, "PNG file in it"),
        "image-as-too-few-pixels": Hostile(marker + b"\0" + bytes(119), InvalidCode, "119 bytes of pixels"),
        "image-as-too-many-pixels": Hostile(marker + b"\0" + bytes(121), InvalidCode, "needs at most 123"),
        "image-cut": Hostile(image[:-3], InvalidCode, "one lossless WebP file"),
        "image-bytes-after-the-end": Hostile(image + b"\0", InvalidCode, "one lossless WebP file"),
        "image-webp-of-a-lying-size": Hostile(_webp_claiming(image, 16384, 16384), InvalidCode, "16384 × 16384"),
        "image-webp-damaged": Hostile(image[:30] + b"\xff" * (len(image) - 31) + b"\0", InvalidCode, "cannot be read"),
        "image-webp-in-colours": Hostile(
            marker + b"\2" + _file(Image.new("RGB", (10, 12), (255, 0, 0)), "WEBP", lossless=True),
            InvalidCode,
            "in colours",
        ),
        "image-webp-with-losses": Hostile(
            marker + b"\2" + _file(Image.new("RGB", (10, 12)), "WEBP", quality=1), InvalidCode, "lossless WebP file"
        ),
        "image-png-of-a-lying-size": Hostile(
            marker + b"\1" + _png_claiming(_file(grey, "PNG"), 30000, 30000), InvalidCode, "damaged|30000"
        ),
        "image-png-of-another-size": Hostile(
            marker + b"\1" + _file(Image.new("L", (12, 10)), "PNG"), InvalidCode, "12 × 10 pixels; the model takes 10"
        ),
        "image-png-bad-checksum": Hostile(
            marker + b"\1" + _file(grey, "PNG")[:-13] + b"\0" + _file(grey, "PNG")[-12:], InvalidCode, "not complete"
        ),
        "image-png-in-colours": Hostile(
            marker + b"\1" + _file(Image.new("RGB", (10, 12)), "PNG"), InvalidCode, "mode RGB"
        ),
        "image-png-of-1-bit": Hostile(marker + b"\1" + _file(Image.new("1", (10, 12)), "PNG"), InvalidCode, "mode 1"),
        "image-png-of-16-bits": Hostile(
            marker + b"\1" + _file(Image.new("I;16", (10, 12)), "PNG"), InvalidCode, "mode I;16"
        ),
    }


def hostile_cards() -> dict[str, Hostile]:
    """Return every malformation of a card by its name."""

    def zeros(content: dict[str, Any]) -> None:
        content["tables"][1]["frequencies"] = [0]
        content["tables"][1]["escape"] = 0

    def a_zero(content: dict[str, Any]) -> None:
        content["tables"][0]["frequencies"] = [16384, 0, 49151]

    def other_sum(content: dict[str, Any]) -> None:
        content["tables"][0]["escape"] = 2

    def no_escape(content: dict[str, Any]) -> None:
        content["tables"][1].update(frequencies=[65536], escape=0)

    def fraction(content: dict[str, Any]) -> None:
        content["tables"][1]["frequencies"] = [65534.5]

    def far_off(content: dict[str, Any]) -> None:
        content["tables"][1]["first"] = 1 << 62

    def table_missing(content: dict[str, Any]) -> None:
        del content["tables"][2]

    def other_table(content: dict[str, Any]) -> None:
        content["tables"][0]["frequencies"] = [16384, 16384, 32767]

    def huge_code(content: dict[str, Any]) -> None:
        content["code_size"] = 1 << 40

    def zero_step(content: dict[str, Any]) -> None:
        content["quantizer"]["step"][0] = 0

    def future_version(content: dict[str, Any]) -> None:
        content["card_version"] = 2

    whole = card().to_json()

    def changed(change: Callable[[dict[str, Any]], None]) -> bytes:
        content = json.loads(whole)
        change(content)
        return (json.dumps(content) + "\n").encode()

    return {
        "empty": Hostile(b"", InvalidCard, "card.json"),
        "cut": Hostile(whole[:400].encode(), InvalidCard, "card.json"),
        "not-a-card": Hostile(b"[1, 2, 3]\n", InvalidCard, "card.json"),
        "nested": Hostile(b"[" * 5_000, InvalidCard, "card.json"),
        "not-a-number": Hostile(whole.replace("0.5", "NaN", 1).encode(), InvalidCard, "quantizer.step.0"),
        "table-of-zeros": Hostile(changed(zeros), InvalidCard, "tables.1.frequencies.0"),
        "table-with-a-zero": Hostile(changed(a_zero), InvalidCard, "tables.0.frequencies.1"),
        "table-of-another-sum": Hostile(changed(other_sum), InvalidCard, "add up to 65,537"),
        "table-without-escape": Hostile(changed(no_escape), InvalidCard, "tables.1.frequencies.0"),
        "table-with-a-fraction": Hostile(changed(fraction), InvalidCard, "tables.1.frequencies.0"),
        "table-far-off": Hostile(changed(far_off), InvalidCard, "tables.1.first"),
        "table-missing": Hostile(changed(table_missing), InvalidCard, "has 2 tables"),
        "table-of-another-model": Hostile(changed(other_table), InvalidCard, "model_id does not belong"),
        "huge-code": Hostile(changed(huge_code), InvalidCard, "code_size"),
        "step-of-zero": Hostile(changed(zero_step), InvalidCard, "quantizer.step.0"),
        "future-version": Hostile(changed(future_version), InvalidCard, "card_version"),
    }


def hostile_files() -> dict[str, Hostile]:
    """Return the content of each file by its name."""
    return {
        **{f"code-{name}.bin": hostile for name, hostile in hostile_codes().items()},
        **{f"raw-{name}.bin": hostile for name, hostile in hostile_payloads().items() if name != "megabyte"},
        **{f"card-{name}.json": hostile for name, hostile in hostile_cards().items()},
    }


def main() -> int:
    """Write all files anew."""
    FOLDER.mkdir(exist_ok=True)
    for kind in ("code", "raw", "card"):
        for stale in FOLDER.glob(f"{kind}-*"):
            stale.unlink()
    for name, hostile in hostile_files().items():
        (FOLDER / name).write_bytes(hostile.data)
    print(f"{len(hostile_files())} files in {FOLDER}")
    return 0


def _pixels() -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    return np.broadcast_to(np.arange(0, 250, 25, dtype=np.uint8)[None, :, None], SHAPE.as_tuple()).copy()


def _sealed(framed: bytes) -> bytes:
    return framed + binascii.crc_hqx(framed, 0xFFFF).to_bytes(2, "big")


def _bumped(payload: bytes) -> bytes:
    return payload[:-1] + bytes((payload[-1] + 1,))


def _with_more(payload: bytes) -> bytes:
    """Return the payload of a distance that is beyond the one in `payload`, which has the furthest symbol."""
    return payload[:6] + b"\xff" * 5


def _webp_claiming(payload: bytes, width: int, height: int) -> bytes:
    return payload[:24] + (width - 1 | height - 1 << 14).to_bytes(4, "little") + payload[28:]


def _png_claiming(data: bytes, width: int, height: int) -> bytes:
    header = b"IHDR" + width.to_bytes(4, "big") + height.to_bytes(4, "big") + data[24:29]
    return data[:12] + header + zlib.crc32(header).to_bytes(4, "big") + data[33:]


def _file(picture: Image.Image, file_format: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, file_format, **options)
    return buffer.getvalue()


if __name__ == "__main__":
    sys.exit(main())
