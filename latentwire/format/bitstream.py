"""Payload <-> bitstream. `docs/FORMAT.md` specifies the layout.

A bitstream is a payload between a header, which says which model made it, and a checksum. A payload is only decoded if
the checksum matches.
"""

import binascii
from typing import NamedTuple

from latentwire.errors import InvalidCode, UnsupportedVersion

MAGIC = 0x4C  # "L"
VERSION = 1
FINGERPRINT_BYTES = 4
CHECKSUM_BYTES = 2
HEADER_BYTES = 2 + FINGERPRINT_BYTES
OVERHEAD_BYTES = HEADER_BYTES + CHECKSUM_BYTES


class ParsedBitstream(NamedTuple):
    """The parts of a complete, undamaged bitstream."""

    fingerprint: bytes
    payload: bytes


def write_bitstream(payload: bytes, fingerprint: bytes) -> bytes:
    """Return magic, version, fingerprint of the model (4 bytes), payload and checksum."""
    framed = bytes((MAGIC, VERSION)) + fingerprint + payload
    return framed + _checksum(framed)


def read_bitstream(bitstream: bytes) -> ParsedBitstream:
    """Check a bitstream and return its parts.

    Raises:
        InvalidCode: not a bitstream, cut short, appended to, or damaged.
        UnsupportedVersion: undamaged as far as the checksum tells, but of another version.
    """
    if not bitstream:
        raise InvalidCode("the bitstream is empty")
    if bitstream[0] != MAGIC:
        raise InvalidCode("this is not a bitstream: it does not start with the letter L")
    if len(bitstream) <= OVERHEAD_BYTES:
        raise InvalidCode(f"the bitstream is cut short: {len(bitstream)} bytes")
    framed, checksum = bitstream[:-CHECKSUM_BYTES], bitstream[-CHECKSUM_BYTES:]
    if _checksum(framed) != checksum:
        raise InvalidCode("the bitstream is damaged: its checksum does not match")
    if bitstream[1] != VERSION:
        raise UnsupportedVersion(f"the bitstream has version {bitstream[1]}; this program reads version {VERSION}")
    return ParsedBitstream(framed[2:HEADER_BYTES], framed[HEADER_BYTES:])


def read_damaged_bitstream(bitstream: bytes) -> ParsedBitstream:
    """Return the fingerprint and what follows it of a bitstream whose checksum is missing or does not match.

    Raises:
        InvalidCode: it does not begin as a bitstream does.
        UnsupportedVersion: of another version.
    """
    if len(bitstream) <= HEADER_BYTES or bitstream[0] != MAGIC:
        raise InvalidCode("this is not the beginning of a bitstream")
    if bitstream[1] != VERSION:
        raise UnsupportedVersion(f"the bitstream has version {bitstream[1]}; this program reads version {VERSION}")
    return ParsedBitstream(bitstream[2:HEADER_BYTES], bitstream[HEADER_BYTES:])


def _checksum(framed: bytes) -> bytes:
    # CRC-16/CCITT-FALSE detects all errors within 16 neighbouring bits, and 65,535 of 65,536 others.
    return binascii.crc_hqx(framed, 0xFFFF).to_bytes(CHECKSUM_BYTES, "big")
