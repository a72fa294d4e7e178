"""The bytes of a `multipart/form-data` body -> the bytes of the one file in it.

The body is whole and bounded when it comes here, so nothing is spooled to a disk. Knows nothing of images.
"""

from python_multipart import MultipartParser
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import parse_options_header

from service.errors import InvalidMultipart

MAX_BOUNDARY_CHARACTERS = 70  # RFC 2046 allows no more

_ADVICE = "send the image as the form's only part, for example with curl's -F file=@image.png"


def read_single_file(body: bytes, content_type: str) -> bytes:
    """Return the content of the form's only part, which must be a file; the name of its field is free.

    Args:
        body: the whole body.
        content_type: the request's header, which holds the boundary.

    Raises:
        InvalidMultipart: not a form, cut short, or one that holds something other than one file.
    """
    _, options = parse_options_header(content_type)
    boundary = options.get(b"boundary")
    if not boundary:
        raise InvalidMultipart("the Content-Type header names no boundary")
    if len(boundary) > MAX_BOUNDARY_CHARACTERS:
        raise InvalidMultipart(f"the form's boundary is longer than {MAX_BOUNDARY_CHARACTERS} characters")
    form = _Form()
    parser = MultipartParser(
        boundary,
        {
            "on_part_begin": form.begin_part,
            "on_header_field": form.add_to_header_name,
            "on_header_value": form.add_to_header_value,
            "on_header_end": form.end_header,
            "on_headers_finished": form.check_part,
            "on_part_data": form.add_data,
            "on_end": form.end,
        },
    )
    try:
        parser.write(body)
        parser.finalize()
    except FormParserError as error:
        raise InvalidMultipart(f"the body is not a well-formed multipart/form-data form; {_ADVICE}") from error
    if form.parts == 0:
        raise InvalidMultipart(f"the form is empty; {_ADVICE}")
    if not form.ended:
        raise InvalidMultipart("the form is cut short: its closing boundary is missing")
    return b"".join(form.data)


class _Form:
    """What the parser has seen so far. The parser itself bounds the number and the length of a part's headers."""

    def __init__(self) -> None:
        self.parts = 0
        self.ended = False
        self.data: list[bytes] = []
        self._disposition = b""
        self._header_name = b""
        self._header_value = b""

    def begin_part(self) -> None:
        self.parts += 1
        if self.parts > 1:
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
        if b"filename" not in options:
            raise InvalidMultipart(f"the form's part is a text field, not a file; {_ADVICE}")

    def add_data(self, data: bytes, start: int, end: int) -> None:
        self.data.append(data[start:end])

    def end(self) -> None:
        self.ended = True
