"""The bytes of a `multipart/form-data` body -> the files in it.

Each file is kept in memory, and its size is limited. Nothing is spooled to disk, as Starlette's own parser would do.
"""

import math
from collections import deque

from python_multipart import MultipartParser
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartState, parse_options_header

from service.errors import BodyTooLarge, InvalidMultipart

# The limit of RFC 2046.
MAX_BOUNDARY_CHARACTERS = 70

_FILE_ADVICE = "send the image as the form's only part, for example with curl's -F file=@image.png"
_FILES_ADVICE = "send the images as files, for example with curl's -F file=@a.png -F file=@b.png"


def read_single_file(body: bytes, content_type: str) -> bytes:
    """Return the content of the only part of the form `body`, which must be a file in a field of any name.

    Raises:
        InvalidMultipart: not a form, cut short, or one that holds something other than one file.
    """
    form = FileForm(content_type, max_file_bytes=len(body), single=True)
    form.feed(body)
    form.finish()
    return form.take() or b""


class FileForm:
    """Reads a form of files: feed bytes, take files, and call `finish` after the last bytes.

    The parser itself limits the number and the length of a part's headers.
    """

    def __init__(self, content_type: str, max_file_bytes: int, *, single: bool = False) -> None:
        """Read the form whose boundary is in the Content-Type header; a `single` form may have only one part.

        Raises:
            InvalidMultipart: the header names no boundary, or one that is too long.
        """
        boundary = parse_options_header(content_type)[1].get(b"boundary")
        if not boundary:
            raise InvalidMultipart("the Content-Type header names no boundary")
        if len(boundary) > MAX_BOUNDARY_CHARACTERS:
            raise InvalidMultipart(f"the form's boundary is longer than {MAX_BOUNDARY_CHARACTERS} characters")
        self._max_file_bytes = max_file_bytes
        self._advice = _FILE_ADVICE if single else _FILES_ADVICE
        self._max_parts = 1 if single else math.inf
        self._parts = 0
        self._files: deque[bytes] = deque()
        self._data = bytearray()
        self._disposition = b""
        self._header_name = bytearray()
        self._header_value = bytearray()
        callbacks = {
            "on_part_begin": self._begin_part,
            "on_header_field": lambda data, start, end: self._header_name.extend(data[start:end]),
            "on_header_value": lambda data, start, end: self._header_value.extend(data[start:end]),
            "on_header_end": self._end_header,
            "on_headers_finished": self._check_part,
            "on_part_data": self._add_data,
            "on_part_end": self._end_part,
        }
        self._parser = MultipartParser(boundary, callbacks)  # type: ignore[arg-type]

    def feed(self, data: bytes) -> None:
        """Take in the bytes that come next.

        Raises:
            InvalidMultipart: not a form, or one that holds something other than files.
            BodyTooLarge: one of the files is too long.
        """
        try:
            self._parser.write(data)
        except FormParserError as error:
            message = f"the body is not a well-formed multipart/form-data form; {self._advice}"
            raise InvalidMultipart(message) from error

    def take(self) -> bytes | None:
        """Return the content of the next file, or None if none is complete."""
        return self._files.popleft() if self._files else None

    def finish(self) -> None:
        """Check that the form has ended.

        Raises:
            InvalidMultipart: it is empty or cut short.
        """
        if self._parts == 0:
            raise InvalidMultipart(f"the form is empty; {self._advice}")
        if self._parser.state != MultipartState.END:
            raise InvalidMultipart("the form is cut short: its closing boundary is missing")

    def _begin_part(self) -> None:
        self._parts += 1
        if self._parts > self._max_parts:
            raise InvalidMultipart(f"the form has more than one part; {self._advice}")

    def _end_header(self) -> None:
        if self._header_name.lower() == b"content-disposition":
            self._disposition = bytes(self._header_value)
        self._header_name.clear()
        self._header_value.clear()

    def _check_part(self) -> None:
        options = parse_options_header(self._disposition)[1]
        self._disposition = b""
        if b"filename" not in options:
            raise InvalidMultipart(f"the form's part is a text field, not a file; {self._advice}")

    def _add_data(self, data: bytes, start: int, end: int) -> None:
        self._data += data[start:end]
        if len(self._data) > self._max_file_bytes:
            raise BodyTooLarge(f"a file of the form is longer than the {self._max_file_bytes:,} bytes that are allowed")

    def _end_part(self) -> None:
        self._files.append(bytes(self._data))
        self._data.clear()
