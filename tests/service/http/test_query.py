import pytest
from starlette.requests import Request

from service.errors import InvalidParameter
from service.http.query import read_query


def request_of(query: bytes) -> Request:
    return Request({"type": "http", "query_string": query})


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
def test_read_query(query: bytes, parameters: dict[str, str]) -> None:
    assert read_query(request_of(query), {"a", "b"}) == parameters


@pytest.mark.parametrize(
    ("query", "says"),
    [(b"c=1", "no parameter 'c'; it has a, b"), (b"a=1&a=1", "twice"), (b"a=1&" * 20, "16"), (b"=1", "no parameter")],
)
def test_read_query_refuses(query: bytes, says: str) -> None:
    with pytest.raises(InvalidParameter, match=says):
        read_query(request_of(query), {"a", "b"})
