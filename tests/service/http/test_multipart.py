import time

import pytest

from latentwire.errors import InvalidMultipart
from service.http.multipart import FileForm, read_single_file

TYPE = "multipart/form-data; boundary=b"
HEAD = b'--b\r\nContent-Disposition: form-data; name="f"; filename="a.png"\r\nContent-Type: image/png\r\n\r\n'
GOOD = HEAD + b"content" + b"\r\n--b--\r\n"

TEXT = (b'form-data; name="send; filename=x"', b"", b"Send")
NOT_CHOSEN = (b'form-data; name="f"; filename=""', b"application/octet-stream", b"")


def form_of(*parts: tuple[bytes, bytes, bytes]) -> bytes:
    """A form of parts with these dispositions, types and contents."""
    head = b"--b\r\nContent-Disposition: %b\r\n%b\r\n%b\r\n"
    written = [head % (which, type_ and b"Content-Type: " + type_ + b"\r\n", data) for which, type_, data in parts]
    return b"".join(written) + b"--b--\r\n"


@pytest.mark.parametrize(
    ("disposition", "content_type"),
    [
        (b"form-data; name=f; filename*=UTF-8''%E2%98%83.png", b""),
        (b"form-data; FileName*=UTF-8'en'a.png; name=f", b""),
        (b"form-data; name=f; filename*0=a; filename*1=.png", b""),
        (b"form-data; filename=a.png", b""),
        (b"form-data; name=f", b"image/png"),
        (b"form-data; name=f", b"Application/Octet-Stream; charset=binary"),
        (b'form-data; name="f"; filename=""', b""),
        (b"", b"image/png"),
    ],
)
def test_a_file_is_recognized_by_any_name_or_the_type_of_an_image(disposition: bytes, content_type: bytes) -> None:
    whole = form_of(TEXT, NOT_CHOSEN, (disposition, content_type, b"content"), TEXT)
    assert read_single_file(whole, TYPE) == b"content"


def test_an_empty_file_with_a_name_is_a_file() -> None:
    form = FileForm(TYPE, 100)
    form.feed(form_of((b"form-data; filename=a", b"", b""), TEXT, (b"form-data; filename=b", b"", b"content")))
    form.finish()
    assert [form.take(), form.take(), form.take()] == [b"", b"content", None]


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
    "another boundary": (GOOD, "multipart/form-data; boundary=c", "closing boundary"),
    "a long header": (GOOD, TYPE + "; a=b" * 200, "longer than 1000 characters"),
    "an empty body": (b"", TYPE, "closing boundary"),
    "no parts": (b"--b--\r\n", TYPE, "form"),
    "two files": (GOOD[: -len(b"--b--\r\n")] + GOOD, TYPE, "several files"),
    "a text field": (form_of(TEXT), TYPE, "no file"),
    "a file that was not chosen": (form_of(NOT_CHOSEN), TYPE, "no file"),
    "no disposition": (b"--b\r\n\r\ncontent\r\n--b--\r\n", TYPE, "no file"),
    "101 fields": (form_of(*[TEXT] * 101), TYPE, "more than 100 fields"),
    "cut in the content": (GOOD[:-12], TYPE, "form"),
    "cut in the headers": (HEAD[:20], TYPE, "form"),
    "without its end": (GOOD[:-4], TYPE, "form"),
    "1,000 headers": (HEAD[:-2] + b"X: y\r\n" * 1000 + b"\r\ncontent\r\n--b--\r\n", TYPE, "not a well-formed"),
    "a header of a megabyte": (HEAD[:-2] + b"X: " + b"y" * (1 << 20), TYPE, "not a well-formed"),
    "binary": (bytes(range(256)), TYPE, "closing boundary"),
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
