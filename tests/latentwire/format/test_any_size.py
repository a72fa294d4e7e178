import tracemalloc
from typing import Literal

import numpy as np
import pytest

from latentwire.errors import InvalidCode
from latentwire.format.any_size import MAX_SIDE, Header, part_count, parts_of, read_header, read_payload, write_payload

LARGE = Header(2100, 1030, 3, 77)


@pytest.mark.parametrize(
    ("height", "width", "length"),
    [
        (1, 1, 3),
        (64, 64, 3),
        (65, 1, 4),
        (1024, 1024, 4),
        (1, 1025, 5),
        (16384, 9, 5),
        (16385, 1, 6),
        (65535, 65535, 6),
    ],
)
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_a_header_takes_three_to_six_bytes(height: int, width: int, length: int, channels: Literal[1, 2, 3, 4]) -> None:
    header = Header(height, width, channels, 200)
    data = header.write()
    assert len(data) == length
    assert read_header(data + b"more") == (header, length)


def test_each_header_has_one_form() -> None:
    with pytest.raises(InvalidCode, match="shortest"):
        read_header(bytes.fromhex("1000003f"))
    with pytest.raises(InvalidCode, match="at most 65,535"):
        read_header(b"\x30" + b"\xff" * 5)
    with pytest.raises(InvalidCode, match="cut short"):
        read_header(b"\x30\0\0")
    with pytest.raises(InvalidCode, match="empty"):
        read_header(b"")


@pytest.mark.parametrize("side", [1, 16, 17, 1024, 1025, 1040, 2049, 5000, MAX_SIDE])
def test_parts_are_even_and_cover_the_image(side: int) -> None:
    header = Header(side, 100, 3, 0)
    parts = parts_of(header)
    assert len(parts) == part_count(header)
    edges = [0, *(part.top + part.height for part in parts)]
    assert [part.top for part in parts] == edges[:-1]
    assert edges[-1] == header.latent_height
    assert max(part.height for part in parts) <= 64
    assert all(part.top % 4 == 0 for part in parts)
    assert min(part.height for part in parts) >= min(32, header.latent_height)


def bodies() -> list[bytes]:
    random = np.random.default_rng(0)
    return [random.bytes(50 + 30 * number) for number in range(part_count(LARGE))]


def test_a_payload_comes_back() -> None:
    payload = write_payload(LARGE, bodies())
    parsed = read_payload(payload)
    assert (parsed.header, parsed.bodies, parsed.excess) == (LARGE, bodies(), False)
    parsed.check_whole()
    single = write_payload(Header(64, 64, 3, 1), [b"body"])
    assert len(single) == 7
    assert read_payload(single).bodies == [b"body"]


def test_no_flipped_bit_after_the_header_goes_unseen() -> None:
    payload = write_payload(LARGE, bodies())
    for position in range(8 * len(LARGE.write()), 8 * len(payload)):
        changed = bytearray(payload)
        changed[position // 8] ^= 1 << position % 8
        with pytest.raises(InvalidCode):
            read_payload(bytes(changed)).check_whole()


def test_cutting_costs_only_the_parts_that_are_cut() -> None:
    payload = write_payload(LARGE, bodies())
    parsed = read_payload(payload[:-1])
    assert parsed.bodies == [*bodies()[:-1], None]
    with pytest.raises(InvalidCode, match="1 of the payload's 6 parts"):
        parsed.check_whole()
    assert read_payload(payload[: len(payload) // 2]).bodies.count(None) in range(1, 6)
    appended = read_payload(payload + b"\0")
    assert appended.bodies == bodies()
    with pytest.raises(InvalidCode, match="follow"):
        appended.check_whole()


def test_a_part_in_the_place_of_another_is_missing() -> None:
    same = [b"x" * 10] * part_count(LARGE)
    payload = write_payload(LARGE, same)
    swapped = payload[:-28] + payload[-14:] + payload[-28:-14]
    assert read_payload(swapped).bodies.count(None) == 2


def test_a_claim_of_many_pixels_costs_nothing() -> None:
    payload = Header(MAX_SIDE, MAX_SIDE, 3, 0).write() + bytes(24)
    tracemalloc.start()
    try:
        with pytest.raises(InvalidCode, match="4,096 parts"):
            read_payload(payload)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()
