"""The bytes of a `multipart/form-data` body -> the files in it.

Each file is kept in memory, and its size is limited. Nothing is spooled to disk, as Starlette's own parser would do.
"""

import re
from collections import deque

from multipart import MultipartError, MultipartSegment, PushMultipartParser, parse_options_header

from latentwire.errors import BodyTooLarge, InvalidMultipart
from service.http.negotiation import is_binary

# The limit of RFC 2046.
MAX_BOUNDARY_CHARACTERS = 70
# Parsing it takes time that grows with its length.
MAX_CONTENT_TYPE_CHARACTERS = 1000
MAX_FIELDS = 100

# `filename*` is a name in an encoding, and `filename*0` the first part of one (RFC 2231). The parser drops both.
_ENCODED_NAME = re.compile(r";\s*filename\*[0-9]*\*?", re.IGNORECASE)

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
        boundary = parse_options_header(content_type)[1].get("boundary")
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
        self._parser = _Parser(boundary, header_charset="latin-1")

    def feed(self, data: bytes) -> None:
        """Take in the bytes that come next.

        Raises:
            InvalidMultipart: not a form, or one with several files, or with many fields.
            BodyTooLarge: one of the files is too long.
        """
        try:
            # Without bytes, the parser would take the form for ended.
            for event in self._parser.parse(data) if data else ():
                if event is None:
                    self._end_part()
                elif isinstance(event, MultipartSegment):
                    self._begin_part(event)
                elif self._is_file:
                    self._add_data(event)
        except MultipartError as error:
            message = f"the body is not a well-formed multipart/form-data form; {self._advice}"
            raise InvalidMultipart(message) from error

    @property
    def next_file(self) -> bytes | None:
        """What `take` returns next."""
        return self._files[0] if self._files else None

    def take(self) -> bytes | None:
        """Return the content of the next file, or None if none is complete."""
        return self._files.popleft() if self._files else None

    def finish(self) -> None:
        """Check that the form has ended.

        Raises:
            InvalidMultipart: it is cut short, or has no file.
        """
        try:
            self._parser.close()
        except MultipartError as error:
            message = f"the form is cut short, or not one: its closing boundary is missing; {self._advice}"
            raise InvalidMultipart(message) from error
        if self._files_read == 0:
            raise InvalidMultipart(f"the form has no file; {self._advice}")

    def _begin_part(self, part: MultipartSegment) -> None:
        file_name = part.filename
        if file_name is None:
            disposition = _ENCODED_NAME.sub("; filename", part.header("Content-Disposition", ""))
            file_name = parse_options_header(disposition)[1].get("filename")
        media_type = part.content_type or ""
        has_image_type = media_type.startswith("image/") or (media_type != "" and is_binary(media_type))
        self._has_name = has_image_type if file_name is None else file_name != ""
        self._is_file = file_name is not None or has_image_type

    def _add_data(self, data: bytes) -> None:
        self._data += data
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


class _Parser(PushMultipartParser):  # type: ignore[misc]
    def _create_segment(self, headerlist: list[tuple[str, str]]) -> MultipartSegment:
        # The parser itself refuses a part without a disposition.
        return MultipartSegment(headerlist)
