import binascii

import pytest
from hypothesis import given
from hypothesis import strategies as st

from latentwire.errors import CodeError, InvalidCode, UnsupportedVersion
from latentwire.format.bitstream import MAGIC, OVERHEAD_BYTES, read_bitstream, write_bitstream

FINGERPRINT = bytes.fromhex("00ff10ab")


def test_the_header_is_laid_out_as_the_format_document_says() -> None:
    bitstream = write_bitstream(b"123", FINGERPRINT)
    assert bitstream[:-2].hex() == "4c0100ff10ab313233"
    assert int.from_bytes(bitstream[-2:], "big") == binascii.crc_hqx(bitstream[:-2], 0xFFFF)


@given(st.binary(min_size=1, max_size=40), st.binary(min_size=4, max_size=4))
def test_read_wire_undoes_write_wire(payload: bytes, fingerprint: bytes) -> None:
    bitstream = write_bitstream(payload, fingerprint)
    assert len(bitstream) == len(payload) + OVERHEAD_BYTES
    assert read_bitstream(bitstream) == (fingerprint, payload)


def test_every_flip_of_one_bit_is_found() -> None:
    bitstream = write_bitstream(b"ten bytes.", FINGERPRINT)
    for position in range(8 * len(bitstream)):
        damaged = bytearray(bitstream)
        damaged[position // 8] ^= 1 << position % 8
        with pytest.raises(InvalidCode):
            read_bitstream(bytes(damaged))


def test_every_cut_is_found() -> None:
    bitstream = write_bitstream(b"ten bytes.", FINGERPRINT)
    for length in range(len(bitstream)):
        with pytest.raises(InvalidCode):
            read_bitstream(bitstream[:length])


def test_a_later_version_is_told_from_damage() -> None:
    framed = bytes((MAGIC, 3)) + FINGERPRINT + b"payload"
    with pytest.raises(UnsupportedVersion, match="version 3; this program reads version 1"):
        read_bitstream(framed + binascii.crc_hqx(framed, 0xFFFF).to_bytes(2, "big"))


@given(st.binary(max_size=60))
def test_arbitrary_bytes_are_no_code(data: bytes) -> None:
    with pytest.raises(CodeError):
        read_bitstream(b"L" + data)
