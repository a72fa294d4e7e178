import numpy as np
import pytest

from latentwire.entropy import lanes as lanes_module
from latentwire.entropy.coder_tables import Integers, Tables
from latentwire.entropy.lanes import BYTES_PER_LANE, MAX_LANES, MIN_LANES, SymbolWriter, best_lanes, open_reader
from latentwire.entropy.single_coder import SingleWriter
from latentwire.errors import InvalidCode
from latentwire.model.card import FREQUENCY_BITS
from tests.tiny_any_size_model import make_tables

TABLES = Tables(make_tables(np.random.default_rng(0)).scale_tables)
CHECK = 0xBEEF

each_lanes = pytest.mark.parametrize("lanes", [1, 2, 8, 64])


def draw(count: int, farthest: float = 1.0) -> tuple[Integers, Integers]:
    """Table numbers and symbols as often outside their tables as `farthest` is above 1."""
    random = np.random.default_rng(count)
    numbers = random.integers(0, 64, count)
    spread = 0.11 * np.exp(0.1 * numbers) * farthest
    return numbers, np.rint(random.normal(0, spread)).astype(np.int64)


def write(groups: list[tuple[Integers, Integers]], lanes: int) -> tuple[bytes, float]:
    writer = SymbolWriter(TABLES)
    for numbers, symbols in groups:
        writer.write(numbers, symbols)
    return writer.finish(CHECK, lanes), writer.ideal_bits


def read_any(data: bytes, numbers: list[Integers], lanes: int) -> list[Integers]:
    """Read groups whose tables have these numbers."""
    reader = open_reader(TABLES, data, lanes)
    found = [reader.read(group) for group in numbers]
    reader.finish(CHECK)
    return found


def read(data: bytes, groups: list[tuple[Integers, Integers]], lanes: int, check: int = CHECK) -> None:
    """Read groups, and compare them with what was written."""
    reader = open_reader(TABLES, data, lanes)
    found = [reader.read(numbers) for numbers, _ in groups]
    reader.finish(check)
    for values, (_, symbols) in zip(found, groups, strict=True):
        assert values.tolist() == symbols.tolist()


@pytest.mark.parametrize("lanes", [1, 2, 8, MIN_LANES, MAX_LANES])
@pytest.mark.parametrize("farthest", [1.0, 40.0])
def test_symbols_come_back(lanes: int, farthest: float) -> None:
    # The lanes end before, in and after the group of 600, and in those of escapes.
    for last in (1, 2, 9, 600, 2500):
        groups = [draw(count, farthest) for count in (0, 1, 63, 64, 65, 2000, 600, last)]
        read(write(groups, lanes)[0], groups, lanes)


@pytest.mark.parametrize("lanes", [1, 2, 4])
def test_the_farthest_symbols_come_back(lanes: int) -> None:
    symbols = np.array([-32_000, 32_000, 0, -1, 1])
    groups = [(np.full(5, 0), symbols), (np.full(5, 63), symbols)]
    read(write(groups, lanes)[0], groups, lanes)


def test_lanes_may_code_nothing() -> None:
    # With so many symbols, the single lane has coded all of them when it has words for two lanes.
    counts = []
    for count in range(8, 40):
        groups = [draw(count)]
        try:
            data = write(groups, 2)[0]
        except ValueError:
            continue
        read(data, groups, 2)
        counts.append(count)
    assert min(counts) > 8


@each_lanes
def test_too_few_symbols_for_lanes_are_refused(lanes: int) -> None:
    for groups in ([], [draw(0)], [draw(3)]):
        if lanes == 1:
            read(write(groups, lanes)[0], groups, lanes)
        else:
            with pytest.raises(ValueError, match="too few bits"):
                write(groups, lanes)


@pytest.mark.parametrize("lanes", [-2, 0, 3, 253, 255, 256])
def test_numbers_of_lanes_that_no_writer_uses_are_refused(lanes: int) -> None:
    with pytest.raises(InvalidCode, match="no part has"):
        open_reader(TABLES, write([draw(5000)], 2)[0], lanes)


def test_the_best_number_of_lanes_is_1_or_even() -> None:
    found = [best_lanes(8.0 * count) for count in range(0, 50_000, 10)]
    assert found == sorted(found)
    assert set(found) == {1, *range(MIN_LANES, MAX_LANES + 2, 2)}
    assert best_lanes(8 * MIN_LANES * BYTES_PER_LANE - 1) == 1
    # So many lanes always find their words.
    least = np.full(8 * MIN_LANES * BYTES_PER_LANE // FREQUENCY_BITS + 1, 0)
    groups = [(least, least + 10_000)]
    ideal_bits = write(groups, 1)[1]
    read(write(groups, best_lanes(ideal_bits))[0], groups, best_lanes(ideal_bits))


def test_ideal_lengths_of_symbols_add_up_to_those_of_a_group() -> None:
    for farthest in (1.0, 40.0):
        numbers, symbols = draw(5000, farthest)
        assert TABLES.ideal_bits(numbers, symbols).sum() == pytest.approx(write([(numbers, symbols)], 1)[1])


def test_one_lane_takes_hardly_more_than_the_ideal_length() -> None:
    for count in (0, 1, 50, 5000):
        data, ideal_bits = write([draw(count)], 1)
        assert len(data) <= ideal_bits / 8 + 4


@pytest.mark.parametrize("count", [30_000, 100_000, 300_000])
def test_a_lane_takes_half_a_byte(count: int) -> None:
    groups = [draw(count)]
    ideal_bits = write(groups, 1)[1]
    lanes = best_lanes(ideal_bits)
    assert lanes > 1
    assert len(write(groups, lanes)[0]) < ideal_bits / 8 + 8 + 0.6 * lanes < 1.005 * ideal_bits / 8


@each_lanes
def test_another_check_is_refused(lanes: int) -> None:
    groups = [draw(1000)]
    with pytest.raises(InvalidCode, match="computes other tables"):
        read(write(groups, lanes)[0], groups, lanes, CHECK ^ 1)


@each_lanes
@pytest.mark.parametrize("place", [0, 251, 990])
def test_other_tables_are_refused(lanes: int, place: int) -> None:
    numbers, symbols = draw(1000)
    data, _ = write([(numbers, symbols)], lanes)
    drifted = numbers.copy()
    drifted[place] ^= 1
    with pytest.raises(InvalidCode, match="computes other tables"):
        read_any(data, [drifted], lanes)


@each_lanes
def test_bytes_that_are_cut_or_added_are_refused(lanes: int) -> None:
    groups = [draw(1000, 2.0)]
    data, _ = write(groups, lanes)
    appended = [data + bytes((value,)) for value in range(256)]
    for changed in (*(data[:length] for length in range(len(data))), *appended, data + b"\0\0", b"\0" + data):
        with pytest.raises(InvalidCode):
            read(changed, groups, lanes)


@pytest.mark.parametrize(("lanes", "count"), [(2, 200), (8, 400), (64, 700)])
def test_each_flip_of_a_bit_is_refused_or_gives_other_symbols(lanes: int, count: int) -> None:
    numbers, symbols = draw(count)
    data, _ = write([(numbers, symbols)], lanes)
    unseen = 0
    for position in range(8 * len(data)):
        changed = bytearray(data)
        changed[position // 8] ^= 1 << position % 8
        try:
            (found,) = read_any(bytes(changed), [numbers], lanes)
        except InvalidCode:
            continue
        assert found.tolist() != symbols.tolist()
        # It is written as it was read: no other bytes stand for the same symbols.
        assert write([(numbers, found)], lanes)[0] == changed
        unseen += 1
    # rANS is no checksum: a bit may select between two symbols of a table, and nothing else. The bitstream has one.
    assert unseen < 0.05 * 8 * len(data)


@pytest.mark.parametrize("lanes", [1, 2, 64, MAX_LANES])
def test_random_bytes_are_refused_or_written_as_they_are(lanes: int) -> None:
    random = np.random.default_rng(lanes)
    for length in (*range(40), 500, 2000, 5000):
        numbers = random.integers(0, 64, length)
        with pytest.raises(InvalidCode):
            read_any(random.bytes(length), [numbers], lanes)


def test_a_part_with_fewer_symbols_than_its_lanes_have_is_refused() -> None:
    numbers, symbols = draw(1000)
    data, _ = write([(numbers, symbols)], 8)
    # Groups are read from their ends, and each is the end of the next.
    for count in (0, 1, 500, 900, 999):
        with pytest.raises(InvalidCode, match="do not end as they must"):
            read_any(data, [numbers[1000 - count :]], 8)
    with pytest.raises(InvalidCode, match="do not end as they must"):
        read_any(data, [], 8)


def test_a_single_lane_that_ends_too_late_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A writer whose single lane codes symbols that the lanes could have."""
    numbers, symbols = draw(1000)
    data, _ = write([(numbers, symbols)], 2)
    code = lanes_module._write_last

    def code_more(single: SingleWriter, groups: list[tuple[Integers, Integers]], words: int) -> None:
        code(single, groups, words)
        starts, frequencies = groups.pop()
        groups.append((starts[:-1], frequencies[:-1]))
        single.write(starts[-1:], frequencies[-1:])
        assert len(single.words) == words

    monkeypatch.setattr(lanes_module, "_write_last", code_more)
    other, _ = write([(numbers, symbols)], 2)
    assert other != data
    with pytest.raises(InvalidCode, match="do not end as they must"):
        read_any(other, [numbers], 2)


def test_lanes_that_do_not_begin_in_a_state_are_refused() -> None:
    for data in (bytes(4), bytes((0, 255, 255, 255)), bytes(6)):
        with pytest.raises(InvalidCode, match="impossible state"):
            open_reader(TABLES, data, 2)
    for data in (bytes((1, 0, 0, 0)), bytes((1, 0, 0, 0, 0, 0)), bytes((255,) * 7)):
        with pytest.raises(InvalidCode, match="have no states"):
            open_reader(TABLES, data, 2)


def test_a_state_that_is_written_too_long_is_refused() -> None:
    short = next(data for data, _ in (write([draw(count)], 1) for count in range(1, 100)) if len(data) % 2 == 0)
    with pytest.raises(InvalidCode, match="shortest form"):
        open_reader(TABLES, b"\0" + short, 1)
    short = next(data for data, _ in (write([draw(count)], 2) for count in range(100, 200)) if len(data) % 2 == 0)
    with pytest.raises(InvalidCode, match="shortest form"):
        open_reader(TABLES, b"\0" + short, 2)
