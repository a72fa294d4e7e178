"""The bytes of a `multipart/form-data` body -> the bytes of the one file in it, or of each of many.

A body with one file is complete and bounded before it is parsed. A body with many files is parsed as it arrives, and
each file is bounded. So nothing is spooled to disk, as Starlette's own parser would do.
"""

from collections import deque

from python_multipart import MultipartParser
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import parse_options_header

from service.errors import BodyTooLarge, InvalidMultipart

# The limit of RFC 2046.
MAX_BOUNDARY_CHARACTERS = 70

_MANY_ADVICE = "send the images as files, for example with curl's -F file=@a.png -F file=@b.png"
_ADVICE = "send the image as the form's only part, for example with curl's -F file=@image.png"


def read_single_file(body: bytes, content_type: str) -> bytes:
    """Return the content of the form's only part, which must be a file in a field of any name.

    Args:
        body: the whole body.
        content_type: the request's header, which holds the boundary.

    Raises:
        InvalidMultipart: not a form, cut short, or one that holds something other than one file.
    """
    form = _Form(max_parts=1)
    parser = _parser(form, content_type)
    _write(parser, body, _ADVICE)
    _finish(parser, form, _ADVICE)
    return form.files[0]


class FileForm:
    """Reads a form of any number of files: feed bytes, take files, and call `finish` after the last bytes."""

    def __init__(self, content_type: str, max_file_bytes: int) -> None:
        """Read the form whose boundary is in the Content-Type header; `max_file_bytes` limits each file.

        Raises:
            InvalidMultipart: the header names no boundary, or one that is too long.
        """
        self._form = _Form(max_file_bytes=max_file_bytes)
        self._parser = _parser(self._form, content_type)

    def feed(self, data: bytes) -> None:
        """Take in the bytes that come next.

        Raises:
            InvalidMultipart: not a form, or one that holds something other than files.
            BodyTooLarge: one of the files is too long.
        """
        _write(self._parser, data, _MANY_ADVICE)

    def take(self) -> bytes | None:
        """Return the content of the next file, or None if none is complete."""
        return self._form.files.popleft() if self._form.files else None

    def finish(self) -> None:
        """Check that the form has ended.

        Raises:
            InvalidMultipart: it is empty or cut short.
        """
        _finish(self._parser, self._form, _MANY_ADVICE)


def _parser(form: "_Form", content_type: str) -> MultipartParser:
    _, options = parse_options_header(content_type)
    boundary = options.get(b"boundary")
    if not boundary:
        raise InvalidMultipart("the Content-Type header names no boundary")
    if len(boundary) > MAX_BOUNDARY_CHARACTERS:
        raise InvalidMultipart(f"the form's boundary is longer than {MAX_BOUNDARY_CHARACTERS} characters")
    return MultipartParser(
        boundary,
        {
            "on_part_begin": form.begin_part,
            "on_header_field": form.add_to_header_name,
            "on_header_value": form.add_to_header_value,
            "on_header_end": form.end_header,
            "on_headers_finished": form.check_part,
            "on_part_data": form.add_data,
            "on_part_end": form.end_part,
            "on_end": form.end,
        },
    )


def _write(parser: MultipartParser, data: bytes, advice: str) -> None:
    try:
        parser.write(data)
    except FormParserError as error:
        raise InvalidMultipart(f"the body is not a well-formed multipart/form-data form; {advice}") from error


def _finish(parser: MultipartParser, form: "_Form", advice: str) -> None:
    try:
        parser.finalize()
    except FormParserError as error:
        raise InvalidMultipart(f"the body is not a well-formed multipart/form-data form; {advice}") from error
    if form.parts == 0:
        raise InvalidMultipart(f"the form is empty; {advice}")
    if not form.ended:
        raise InvalidMultipart("the form is cut short: its closing boundary is missing")


class _Form:
    """What the parser has read so far. The parser itself limits the number and the length of a part's headers."""

    def __init__(self, max_parts: int | None = None, max_file_bytes: int | None = None) -> None:
        self.parts = 0
        self.ended = False
        self.files: deque[bytes] = deque()
        self._max_parts = max_parts
        self._max_file_bytes = max_file_bytes
        self._data: list[bytes] = []
        self._file_bytes = 0
        self._disposition = b""
        self._header_name = b""
        self._header_value = b""

    def begin_part(self) -> None:
        self.parts += 1
        if self._max_parts is not None and self.parts > self._max_parts:
            raise InvalidMultipart(f"the form has more than one part; {_ADVICE}")

    def add_to_header_name(self, data: bytes, start: int, end: int) -> None:
        self._header_name += data[start:end]

    def add_to_header_value(self, data: bytes, start: int, end: int) -> None:
        self._header_value += data[start:end]

    def end_header(self) -> None:
        if self._header_name.lower() == b"content-disposition":
            self._disposition = self._header_value
        self._header_name = self._header_value = b""

    def check_part(self) -> None:
        _, options = parse_options_header(self._disposition)
        self._disposition = b""
        if b"filename" not in options:
            advice = _ADVICE if self._max_parts == 1 else _MANY_ADVICE
            raise InvalidMultipart(f"the form's part is a text field, not a file; {advice}")

    def add_data(self, data: bytes, start: int, end: int) -> None:
        self._file_bytes += end - start
        if self._max_file_bytes is not None and self._file_bytes > self._max_file_bytes:
            raise BodyTooLarge(f"a file of the form is longer than the {self._max_file_bytes:,} bytes that are allowed")
        self._data.append(data[start:end])

    def end_part(self) -> None:
        self.files.append(b"".join(self._data))
        self._data, self._file_bytes = [], 0

    def end(self) -> None:
        self.ended = True
