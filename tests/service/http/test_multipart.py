import time

import pytest

from service.errors import InvalidMultipart
from service.http.multipart import read_single_file

TYPE = "multipart/form-data; boundary=b"
HEAD = b'--b\r\nContent-Disposition: form-data; name="f"; filename="a.png"\r\nContent-Type: image/png\r\n\r\n'
GOOD = HEAD + b"content" + b"\r\n--b--\r\n"


@pytest.mark.parametrize("content_type", [TYPE, 'multipart/form-data; boundary="b"', "Multipart/Form-Data;boundary=b"])
def test_read_single_file_returns_the_content(content_type: str) -> None:
    assert read_single_file(GOOD, content_type) == b"content"


@pytest.mark.parametrize("content", [b"", b"\r\n--", b"\r\n--bb", b"\r\n" * 1000, bytes(range(256))])
def test_read_single_file_keeps_every_byte(content: bytes) -> None:
    type_ = "multipart/form-data; boundary=boundary"
    body = HEAD.replace(b"--b", b"--boundary") + content + b"\r\n--boundary--\r\n"
    assert read_single_file(body, type_) == content


def test_read_single_file_knows_headers_by_any_letters() -> None:
    assert read_single_file(GOOD.replace(b"Content-Disposition", b"CONTENT-disposition"), TYPE) == b"content"


BAD: dict[str, tuple[bytes, str, str]] = {
    "no boundary": (GOOD, "multipart/form-data", "no boundary"),
    "an empty boundary": (GOOD, "multipart/form-data; boundary=", "no boundary"),
    "a long boundary": (GOOD, "multipart/form-data; boundary=" + "b" * 71, "longer than 70"),
    "another boundary": (GOOD, "multipart/form-data; boundary=c", "not a well-formed"),
    "an empty body": (b"", TYPE, "empty"),
    "no parts": (b"--b--\r\n", TYPE, "form"),
    "two files": (GOOD[: -len(b"--b--\r\n")] + GOOD, TYPE, "more than one part"),
    "a text field": (GOOD.replace(b'; filename="a.png"', b""), TYPE, "text field"),
    "no disposition": (b"--b\r\n\r\ncontent\r\n--b--\r\n", TYPE, "text field"),
    "cut in the content": (GOOD[:-12], TYPE, "form"),
    "cut in the headers": (HEAD[:20], TYPE, "form"),
    "without its end": (GOOD[:-4], TYPE, "form"),
    "1,000 headers": (HEAD[:-2] + b"X: y\r\n" * 1000 + b"\r\ncontent\r\n--b--\r\n", TYPE, "not a well-formed"),
    "a header of a megabyte": (HEAD[:-2] + b"X: " + b"y" * (1 << 20), TYPE, "not a well-formed"),
    "binary": (bytes(range(256)), TYPE, "not a well-formed"),
}


@pytest.mark.parametrize(("body", "content_type", "says"), BAD.values(), ids=BAD)
def test_read_single_file_refuses(body: bytes, content_type: str, says: str) -> None:
    with pytest.raises(InvalidMultipart, match=says):
        read_single_file(body, content_type)


def test_read_single_file_refuses_every_truncation() -> None:
    for length in range(len(GOOD) - len(b"\r\n")):
        with pytest.raises(InvalidMultipart):
            read_single_file(GOOD[:length], TYPE)


@pytest.mark.parametrize("filler", [b"\r", b"\n", b"\r\n", b"\r\n-", b"\r\n--", b"--b", b"b"])
def test_read_single_file_is_not_slowed_by_near_boundaries(filler: bytes) -> None:
    body = HEAD + filler * ((2 << 20) // len(filler))
    started = time.monotonic()
    with pytest.raises(InvalidMultipart):
        read_single_file(body, TYPE)
    assert time.monotonic() - started < 5
