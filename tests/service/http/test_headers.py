from service.http.headers import ContentHeaders, parse_content_headers


def test_content_headers_are_parsed() -> None:
    headers = [(b"accept", b"a"), (b"content-type", b"t"), (b"accept", b"b"), (b"content-type", b"u")]
    assert parse_content_headers({"headers": headers}) == ContentHeaders(b"a,b", b"t", b"")
    assert parse_content_headers({"headers": [(b"content-length", b"7")]}) == ContentHeaders(b"", b"", b"7")
