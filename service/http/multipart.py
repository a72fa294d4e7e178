"""The bytes of a `multipart/form-data` body -> the files in it.

Each file is kept in memory, and its size is limited. Nothing is spooled to disk, as Starlette's own parser would do.
"""

from collections import deque

from python_multipart import MultipartParser
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import parse_options_header

from service.errors import BodyTooLarge, InvalidMultipart

# The limit of RFC 2046.
MAX_BOUNDARY_CHARACTERS = 70

_FILE_ADVICE = "send the image as the form's only part, for example with curl's -F file=@image.png"
_FILES_ADVICE = "send the images as files, for example with curl's -F file=@a.png -F file=@b.png"


def read_single_file(body: bytes, content_type: str) -> bytes:
    """Return the content of the form's only part, which must be a file in a field of any name.

    Args:
        body: the whole body.
        content_type: the request's header, which holds the boundary.

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
        """Read the form whose boundary is in the Content-Type header.

        Args:
            content_type: the header.
            max_file_bytes: limit for each file.
            single: whether the form may have only one part.

        Raises:
            InvalidMultipart: the header names no boundary, or one that is too long.
        """
        boundary = parse_options_header(content_type)[1].get(b"boundary")
        if not boundary:
            raise InvalidMultipart("the Content-Type header names no boundary")
        if len(boundary) > MAX_BOUNDARY_CHARACTERS:
            raise InvalidMultipart(f"the form's boundary is longer than {MAX_BOUNDARY_CHARACTERS} characters")
        self._max_file_bytes = max_file_bytes
        self._single = single
        self._advice = _FILE_ADVICE if single else _FILES_ADVICE
        self._parts = 0
        self._ended = False
        self._files: deque[bytes] = deque()
        self._data = bytearray()
        self._disposition = b""
        self._header_name = b""
        self._header_value = b""
        callbacks = {
            "on_part_begin": self._begin_part,
            "on_header_field": self._add_to_header_name,
            "on_header_value": self._add_to_header_value,
            "on_header_end": self._end_header,
            "on_headers_finished": self._check_part,
            "on_part_data": self._add_data,
            "on_part_end": self._end_part,
            "on_end": self._end,
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
            raise self._malformed() from error

    def take(self) -> bytes | None:
        """Return the content of the next file, or None if none is complete."""
        return self._files.popleft() if self._files else None

    def finish(self) -> None:
        """Check that the form has ended.

        Raises:
            InvalidMultipart: it is empty or cut short.
        """
        try:
            self._parser.finalize()
        except FormParserError as error:
            raise self._malformed() from error
        if self._parts == 0:
            raise InvalidMultipart(f"the form is empty; {self._advice}")
        if not self._ended:
            raise InvalidMultipart("the form is cut short: its closing boundary is missing")

    def _malformed(self) -> InvalidMultipart:
        return InvalidMultipart(f"the body is not a well-formed multipart/form-data form; {self._advice}")

    def _begin_part(self) -> None:
        self._parts += 1
        if self._single and self._parts > 1:
            raise InvalidMultipart(f"the form has more than one part; {self._advice}")

    def _add_to_header_name(self, data: bytes, start: int, end: int) -> None:
        self._header_name += data[start:end]

    def _add_to_header_value(self, data: bytes, start: int, end: int) -> None:
        self._header_value += data[start:end]

    def _end_header(self) -> None:
        if self._header_name.lower() == b"content-disposition":
            self._disposition = self._header_value
        self._header_name = self._header_value = b""

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

    def _end(self) -> None:
        self._ended = True
