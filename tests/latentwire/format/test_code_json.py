import json
import tracemalloc

import pytest

from latentwire.errors import CodecError, InvalidJson
from latentwire.format.code_json import parse_code_json

MAX_BYTES = 10 << 20
MAX_PEAK_BYTES = 64 << 20


def text(field: str, element: bytes, end: bytes = b"") -> bytes:
    head, tail = b'{"' + field.encode() + b'": "', end + b'"}'
    return head + element * ((MAX_BYTES - len(head + tail)) // len(element)) + tail


LARGE = {
    "base64": text("bitstream", b"TAGd"),
    "base64 in lines": text("bitstream", b"T\\n"),
    "a wide character": text("bitstream", b"a", "🙂".encode()),
    "an escaped wide character": text("bitstream", b"a", json.dumps("🙂")[1:-1].encode()),
    "wide characters in a field that is passed over": text("other", "🙂".encode()),
    "escaped characters": text("other", b"\\u00e9"),
    "a long name": b'{"' + b"a" * (MAX_BYTES - 99) + b'": 1}',
    "a long number": b'{"code": [0.' + b"1" * (MAX_BYTES - 99) + b"]}",
    "numbers": b'{"code": [' + b"0.12345678901234567890," * 60_000 + b"0]}",
    "commas": b'{"code": [' + b"0," * (MAX_BYTES // 2 - 99) + b"0]}",
    "blanks": b" " * (MAX_BYTES - 99) + b'{"code": [0]}',
    "backslashes": text("bitstream", rb"\\\\"),
}


@pytest.mark.parametrize("body", LARGE.values(), ids=LARGE)
def test_a_large_body_takes_bounded_memory(body: bytes) -> None:
    tracemalloc.start()
    try:
        parse_code_json(body).decoded_bitstream()
    except CodecError:
        pass
    finally:
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert peak <= MAX_PEAK_BYTES


def test_a_long_text_beyond_ascii_is_refused_and_a_short_one_passed_over() -> None:
    assert parse_code_json('{"code": [1], "name": "🙂"}'.encode()).code == [1]
    for wide in ("🙂", json.dumps("🙂")[1:-1]):
        with pytest.raises(InvalidJson, match="beyond ASCII"):
            parse_code_json(f'{{"code": [1], "name": "{"a" * 70_000}{wide}"}}'.encode())
