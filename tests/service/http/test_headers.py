from service.http.headers import Head, read_head


def test_a_head_is_read() -> None:
    headers = [(b"accept", b"a"), (b"content-type", b"t"), (b"accept", b"b"), (b"content-type", b"u")]
    assert read_head({"headers": headers}) == Head(b"a,b", b"t", b"")
    assert read_head({"headers": [(b"content-length", b"7")]}) == Head(b"", b"", b"7")
