import numpy as np
import pytest

from latentwire.entropy.lanes import MAX_LANES, Integers, SymbolWriter, Tables, best_lanes, open_reader
from latentwire.errors import InvalidCode
from tests.tiny_any_size_model import make_tables

TABLES = Tables(make_tables(np.random.default_rng(0)).scale_tables)
CHECK = 0xBEEF

each_lanes = pytest.mark.parametrize("lanes", [1, 2, 7, MAX_LANES])


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


def read(data: bytes, groups: list[tuple[Integers, Integers]], lanes: int, check: int = CHECK) -> None:
    """Read groups, and compare them with what was written."""
    reader = open_reader(TABLES, data, lanes)
    found = [reader.read(numbers) for numbers, _ in groups]
    reader.finish(check)
    for values, (_, symbols) in zip(found, groups, strict=True):
        assert values.tolist() == symbols.tolist()


@each_lanes
@pytest.mark.parametrize("farthest", [1.0, 40.0])
def test_symbols_come_back(lanes: int, farthest: float) -> None:
    groups = [draw(count, farthest) for count in (0, 1, 6, 7, 8, 1000)]
    read(write(groups, lanes)[0], groups, lanes)


@each_lanes
def test_the_farthest_symbols_come_back(lanes: int) -> None:
    symbols = np.array([-32_000, 32_000, 0, -1, 1])
    groups = [(np.full(5, 0), symbols), (np.full(5, 63), symbols)]
    read(write(groups, lanes)[0], groups, lanes)


def test_ideal_lengths_of_symbols_add_up_to_those_of_a_group() -> None:
    for farthest in (1.0, 40.0):
        numbers, symbols = draw(5000, farthest)
        assert TABLES.ideal_bits(numbers, symbols).sum() == pytest.approx(write([(numbers, symbols)], 1)[1])


def test_one_lane_takes_hardly_more_than_the_ideal_length() -> None:
    for count in (0, 1, 50, 5000):
        data, ideal_bits = write([draw(count)], 1)
        assert len(data) <= ideal_bits / 8 + 4


def test_many_lanes_take_less_than_half_a_percent_more() -> None:
    groups = [draw(300_000)]
    ideal_bits = write(groups, 1)[1]
    lanes = best_lanes(ideal_bits)
    assert lanes > 1
    assert len(write(groups, lanes)[0]) < 1.005 * ideal_bits / 8


@each_lanes
def test_another_check_is_refused(lanes: int) -> None:
    groups = [draw(100)]
    with pytest.raises(InvalidCode, match="computes other tables"):
        read(write(groups, lanes)[0], groups, lanes, CHECK ^ 1)


@each_lanes
def test_other_tables_are_refused(lanes: int) -> None:
    numbers, symbols = draw(500)
    data, _ = write([(numbers, symbols)], lanes)
    reader = open_reader(TABLES, data, lanes)
    drifted = numbers.copy()
    drifted[250] ^= 1
    with pytest.raises(InvalidCode, match="computes other tables"):
        _ = reader.read(drifted), reader.finish(CHECK)


@each_lanes
def test_bytes_that_are_cut_or_added_are_refused(lanes: int) -> None:
    groups = [draw(500, 2.0)]
    data, _ = write(groups, lanes)
    for changed in (data[:-1], data[:-2], data[:3], b"", data + b"\0", data + b"\0\0", b"\0" + data):
        with pytest.raises(InvalidCode):
            read(changed, groups, lanes)


def test_a_state_that_is_written_too_long_is_refused() -> None:
    short = next(data for data, _ in (write([draw(count)], 1) for count in range(1, 100)) if len(data) % 2 == 0)
    with pytest.raises(InvalidCode, match="shortest form"):
        open_reader(TABLES, b"\0" + short, 1)
