import binascii

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from codec import bitstream
from codec.errors import CodeError, InvalidCode, UnsupportedVersion

FINGERPRINT = bytes.fromhex("00ff10ab")


@st.composite
def symbols_and_bits(draw: st.DrawFn) -> tuple[list[int], int]:
    bits = draw(st.integers(1, 16))
    return draw(st.lists(st.integers(0, 2**bits - 1), min_size=1, max_size=40)), bits


@given(symbols_and_bits())
def test_unpack_undoes_pack_in_the_stated_number_of_bytes(case: tuple[list[int], int]) -> None:
    symbols, bits = case
    payload = bitstream.pack(np.array(symbols), bits)
    assert len(payload) == bitstream.payload_bytes(len(symbols), bits)
    assert bitstream.unpack(payload, len(symbols), bits).tolist() == symbols


def test_pack_is_most_significant_bit_first() -> None:
    assert bitstream.pack(np.array([0b101, 0b001, 0b110]), 3) == bytes([0b10100111, 0b00000000])
    assert bitstream.pack(np.array([1, 2, 255]), 8) == b"\x01\x02\xff"


def test_the_test_vector_of_the_format_document() -> None:
    payload = bitstream.pack(np.array([1, 63, 0, 42]), 6)
    assert payload.hex() == "07f02a"
    wire = bitstream.write_wire(payload, FINGERPRINT)
    assert wire.hex() == "4c0100ff10ab07f02a029d"


@pytest.mark.parametrize("length", [0, 1, 3, 100])
def test_unpack_refuses_a_payload_of_another_length(length: int) -> None:
    with pytest.raises(InvalidCode, match="codes hold 2"):
        bitstream.unpack(bytes(length), 3, 4)


def test_unpack_refuses_padding_that_is_not_zero() -> None:
    with pytest.raises(InvalidCode, match="padding"):
        bitstream.unpack(b"\x00\x01", 3, 4)


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
    framed = bytes((bitstream.MAGIC, 2)) + FINGERPRINT + b"payload"
    with pytest.raises(UnsupportedVersion, match="version 2"):
        bitstream.read_wire(framed + binascii.crc_hqx(framed, 0xFFFF).to_bytes(2, "big"))


@given(st.binary(max_size=60))
def test_arbitrary_bytes_are_no_code(data: bytes) -> None:
    with pytest.raises(CodeError):
        bitstream.read_wire(b"L" + data)
