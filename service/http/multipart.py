"""The bytes of a `multipart/form-data` body -> the files in it.

Each file is kept in memory, and its size is limited. Nothing is spooled to disk, as Starlette's own parser would do.
"""

import re
from collections import deque

from python_multipart import MultipartParser
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartState, parse_options_header

from latentwire.errors import BodyTooLarge, InvalidMultipart
from service.http.negotiation import is_binary, media_type_of

# The limit of RFC 2046.
MAX_BOUNDARY_CHARACTERS = 70
# Parsing it takes time that grows with its length.
MAX_CONTENT_TYPE_CHARACTERS = 1000
MAX_FIELDS = 100

# `filename*` is a name in an encoding, and `filename*0` the first part of one (RFC 2231). The parser drops both.
_ENCODED_NAME = re.compile(rb";\s*filename\*[0-9]*\*?", re.IGNORECASE)

_FILE_ADVICE = "send the image as the form's only file, for example with curl's -F file=@image.png"
_FILES_ADVICE = "send the images as files, for example with curl's -F file=@a.png -F file=@b.png"


def read_single_file(body: bytes, content_type: str) -> bytes:
    """Return the content of the only file of the form `body`, in a field of any name.

    Raises:
        InvalidMultipart: not a form, cut short, without a file or with several.
    """
    form = FileForm(content_type, max_file_bytes=len(body), single=True)
    form.feed(body)
    form.finish()
    return form.take() or b""


class FileForm:
    """Reads the files of a form: feed bytes, take files, and call `finish` after the last bytes.

    A part is a file if it has a file name or an image's type. Other parts are passed over, and so is what browsers send
    for a file that was not chosen. The parser itself limits the number and the length of a part's headers.
    """

    def __init__(self, content_type: str, max_file_bytes: int, *, single: bool = False) -> None:
        """Read the form whose boundary is in the Content-Type header; a `single` form may have only one file.

        Raises:
            InvalidMultipart: the header is too long, or names no boundary, or one that is too long.
        """
        if len(content_type) > MAX_CONTENT_TYPE_CHARACTERS:
            raise InvalidMultipart(f"the Content-Type header is longer than {MAX_CONTENT_TYPE_CHARACTERS} characters")
        boundary = parse_options_header(content_type)[1].get(b"boundary")
        if not boundary:
            raise InvalidMultipart("the Content-Type header names no boundary")
        if len(boundary) > MAX_BOUNDARY_CHARACTERS:
            raise InvalidMultipart(f"the form's boundary is longer than {MAX_BOUNDARY_CHARACTERS} characters")
        self._max_file_bytes = max_file_bytes
        self._advice = _FILE_ADVICE if single else _FILES_ADVICE
        self._single = single
        self._files_read = self._fields_read = 0
        self._is_file = self._has_name = False
        self._files: deque[bytes] = deque()
        self._data = bytearray()
        self._disposition = self._type = b""
        self._header_name = bytearray()
        self._header_value = bytearray()
        callbacks = {
            "on_header_field": lambda data, start, end: self._header_name.extend(data[start:end]),
            "on_header_value": lambda data, start, end: self._header_value.extend(data[start:end]),
            "on_header_end": self._end_header,
            "on_headers_finished": self._begin_part,
            "on_part_data": self._add_data,
            "on_part_end": self._end_part,
        }
        self._parser = MultipartParser(boundary, callbacks)  # type: ignore[arg-type]

    def feed(self, data: bytes) -> None:
        """Take in the bytes that come next.

        Raises:
            InvalidMultipart: not a form, or one with several files, or with many fields.
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
            InvalidMultipart: it is cut short, or has no file.
        """
        if self._parser.state not in (MultipartState.START, MultipartState.END):
            raise InvalidMultipart("the form is cut short: its closing boundary is missing")
        if self._files_read == 0:
            raise InvalidMultipart(f"the form has no file; {self._advice}")

    def _end_header(self) -> None:
        name = self._header_name.lower()
        if name == b"content-disposition":
            self._disposition = bytes(self._header_value)
        elif name == b"content-type":
            self._type = bytes(self._header_value)
        self._header_name.clear()
        self._header_value.clear()

    def _begin_part(self) -> None:
        options = parse_options_header(_ENCODED_NAME.sub(b"; filename", self._disposition))[1]
        media_type = media_type_of(self._type.decode("latin-1"))
        has_image_type = media_type.startswith("image/") or (media_type and is_binary(media_type))
        self._has_name = bool(options.get(b"filename", has_image_type))
        self._is_file = b"filename" in options or self._has_name
        self._disposition = self._type = b""

    def _add_data(self, data: bytes, start: int, end: int) -> None:
        if not self._is_file:
            return
        self._data += data[start:end]
        if len(self._data) > self._max_file_bytes:
            raise BodyTooLarge(f"a file of the form is longer than the {self._max_file_bytes:,} bytes that are allowed")

    def _end_part(self) -> None:
        if self._data or self._has_name:
            self._files.append(bytes(self._data))
            self._data.clear()
            self._files_read += 1
            if self._single and self._files_read > 1:
                raise InvalidMultipart(f"the form has several files; {self._advice}")
        else:
            # A text, or a browser's part for a file that was not chosen.
            self._fields_read += 1
            if self._fields_read > MAX_FIELDS:
                raise InvalidMultipart(f"the form has more than {MAX_FIELDS} fields without a file")
