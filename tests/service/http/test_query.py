import pytest

from latentwire.errors import InvalidParameter
from service.http.query import parse_query


@pytest.mark.parametrize(
    ("query", "parameters"),
    [
        (b"", {}),
        (b"a=1", {"a": "1"}),
        (b"a=1&b=2", {"a": "1", "b": "2"}),
        (b"a", {"a": ""}),
        (b"a=%20+x", {"a": "  x"}),
        (b"a=%ff", {"a": "\ufffd"}),
        (b"a=\xff", {"a": "\xff"}),
        (b"&&a=1&", {"a": "1"}),
    ],
)
def test_parse_query(query: bytes, parameters: dict[str, str]) -> None:
    assert parse_query(query, {"a", "b"}) == parameters


@pytest.mark.parametrize(
    ("query", "says"),
    [(b"c=1", "no parameter 'c'; it has a, b"), (b"a=1&a=1", "twice"), (b"a=1&" * 20, "16"), (b"=1", "no parameter")],
)
def test_parse_query_refuses(query: bytes, says: str) -> None:
    with pytest.raises(InvalidParameter, match=says):
        parse_query(query, {"a", "b"})
