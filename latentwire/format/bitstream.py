"""Payload <-> wire bytes. The layout is specified in `docs/FORMAT.md`.

Wire bytes are a payload between a header, which says which model made it, and a check sum, without which nothing is
decoded. This room does not know what a payload holds.
"""

import binascii
from typing import NamedTuple

from latentwire.errors import InvalidCode, UnsupportedVersion

MAGIC = 0x4C  # "L"
VERSION = 2
FINGERPRINT_BYTES = 4
CHECK_BYTES = 2
HEADER_BYTES = 2 + FINGERPRINT_BYTES
OVERHEAD_BYTES = HEADER_BYTES + CHECK_BYTES


class WireCode(NamedTuple):
    """Whole, undamaged wire bytes, taken apart."""

    fingerprint: bytes
    payload: bytes


def write_wire(payload: bytes, fingerprint: bytes) -> bytes:
    """Frame a payload: magic, version, fingerprint of the model (4 bytes), payload, check sum."""
    framed = bytes((MAGIC, VERSION)) + fingerprint + payload
    return framed + _check_sum(framed)


def read_wire(wire: bytes) -> WireCode:
    """Undo `write_wire`.

    Raises:
        InvalidCode: not wire bytes, cut short, appended to, or damaged.
        UnsupportedVersion: undamaged as far as can be told, but of another version.
    """
    if not wire:
        raise InvalidCode("the code is empty")
    if wire[0] != MAGIC:
        raise InvalidCode("this is not a code: it does not start with the letter L")
    if len(wire) <= OVERHEAD_BYTES:
        raise InvalidCode(f"the code is cut short: {len(wire)} bytes")
    framed, check = wire[:-CHECK_BYTES], wire[-CHECK_BYTES:]
    if _check_sum(framed) != check:
        raise InvalidCode("the code is damaged: its check sum does not match")
    if wire[1] != VERSION:
        raise UnsupportedVersion(f"the code is of version {wire[1]}; this codec reads version {VERSION}")
    return WireCode(framed[2:HEADER_BYTES], framed[HEADER_BYTES:])


def _check_sum(framed: bytes) -> bytes:
    # CRC-16/CCITT-FALSE: all errors of up to 16 neighbouring bits are found, any other with 65,535 of 65,536.
    return binascii.crc_hqx(framed, 0xFFFF).to_bytes(CHECK_BYTES, "big")
