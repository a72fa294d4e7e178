import binascii

import pytest
from hypothesis import given
from hypothesis import strategies as st

from latentwire.errors import CodeError, InvalidCode, UnsupportedVersion
from latentwire.format import bitstream

FINGERPRINT = bytes.fromhex("00ff10ab")


def test_the_header_is_laid_out_as_the_format_document_says() -> None:
    wire = bitstream.write_wire(b"123", FINGERPRINT)
    assert wire[:-2].hex() == "4c0200ff10ab313233"
    assert int.from_bytes(wire[-2:], "big") == binascii.crc_hqx(wire[:-2], 0xFFFF)


@given(st.binary(min_size=1, max_size=40), st.binary(min_size=4, max_size=4))
def test_read_wire_undoes_write_wire(payload: bytes, fingerprint: bytes) -> None:
    wire = bitstream.write_wire(payload, fingerprint)
    assert len(wire) == len(payload) + bitstream.OVERHEAD_BYTES
    assert bitstream.read_wire(wire) == (fingerprint, payload)


def test_every_flip_of_one_bit_is_found() -> None:
    wire = bitstream.write_wire(b"ten bytes.", FINGERPRINT)
    for position in range(8 * len(wire)):
        damaged = bytearray(wire)
        damaged[position // 8] ^= 1 << position % 8
        with pytest.raises(InvalidCode):
            bitstream.read_wire(bytes(damaged))


def test_every_cut_is_found() -> None:
    wire = bitstream.write_wire(b"ten bytes.", FINGERPRINT)
    for length in range(len(wire)):
        with pytest.raises(InvalidCode):
            bitstream.read_wire(wire[:length])


def test_a_later_version_is_told_from_damage() -> None:
    framed = bytes((bitstream.MAGIC, 3)) + FINGERPRINT + b"payload"
    with pytest.raises(UnsupportedVersion, match="version 3; this codec reads version 2"):
        bitstream.read_wire(framed + binascii.crc_hqx(framed, 0xFFFF).to_bytes(2, "big"))


@given(st.binary(max_size=60))
def test_arbitrary_bytes_are_no_code(data: bytes) -> None:
    with pytest.raises(CodeError):
        bitstream.read_wire(b"L" + data)
