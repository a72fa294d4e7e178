"""Payload <-> bitstream. The layout is specified in `docs/FORMAT.md`.

The bitstream are a payload between a header, which says which model made it, and a checksum, without which nothing is
decoded. This room does not know what a payload holds.
"""

import binascii
from typing import NamedTuple

from latentwire.errors import InvalidCode, UnsupportedVersion

MAGIC = 0x4C  # "L"
VERSION = 1
FINGERPRINT_BYTES = 4
CHECK_BYTES = 2
HEADER_BYTES = 2 + FINGERPRINT_BYTES
OVERHEAD_BYTES = HEADER_BYTES + CHECK_BYTES


class ParsedBitstream(NamedTuple):
    """Whole, undamaged bitstream, taken apart."""

    fingerprint: bytes
    payload: bytes


def write_bitstream(payload: bytes, fingerprint: bytes) -> bytes:
    """Frame a payload: magic, version, fingerprint of the model (4 bytes), payload, checksum."""
    framed = bytes((MAGIC, VERSION)) + fingerprint + payload
    return framed + _check_sum(framed)


def read_bitstream(bitstream: bytes) -> ParsedBitstream:
    """Undo `write_bitstream`.

    Raises:
        InvalidCode: not bitstream, cut short, appended to, or damaged.
        UnsupportedVersion: undamaged as far as can be told, but of another version.
    """
    if not bitstream:
        raise InvalidCode("the code is empty")
    if bitstream[0] != MAGIC:
        raise InvalidCode("this is not a code: it does not start with the letter L")
    if len(bitstream) <= OVERHEAD_BYTES:
        raise InvalidCode(f"the code is cut short: {len(bitstream)} bytes")
    framed, check = bitstream[:-CHECK_BYTES], bitstream[-CHECK_BYTES:]
    if _check_sum(framed) != check:
        raise InvalidCode("the code is damaged: its checksum does not match")
    if bitstream[1] != VERSION:
        raise UnsupportedVersion(f"the code is of version {bitstream[1]}; this codec reads version {VERSION}")
    return ParsedBitstream(framed[2:HEADER_BYTES], framed[HEADER_BYTES:])


def _check_sum(framed: bytes) -> bytes:
    # CRC-16/CCITT-FALSE: all errors of up to 16 neighbouring bits are found, any other with 65,535 of 65,536.
    return binascii.crc_hqx(framed, 0xFFFF).to_bytes(CHECK_BYTES, "big")
