"""The JSON of a code -> a checked `CodeJson`."""

import base64
from collections.abc import Iterable
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from latentwire.errors import InvalidCode
from latentwire.format.any_size import MAX_SIDE
from latentwire.format.json_object import MAX_WIDE_BYTES, first_fault, parse_json_object
from latentwire.model.any_size_card import AnySizeCard
from latentwire.model.card import ModelCard

MAX_LISTS_AND_OBJECTS = 32
MAX_CODE_ELEMENTS = 65536
# The elements of `code`, and an allowance for the other fields.
MAX_COMMAS = MAX_CODE_ELEMENTS + 1000

# A number of a code, with comma and spaces; and all fields beside `code` and `bitstream`.
_NUMBER_BYTES, _OTHER_BYTES = 32, MAX_WIDE_BYTES
_STANDARD_ALPHABET, _BLANKS = bytes.maketrans(b"-_", b"+/"), b" \t\r\n"


class CodeJson(BaseModel):
    """What `/decode` takes as JSON: `bitstream`, or else `code`. A response of `/encode` has both, and can be sent.

    Other fields are passed over, those that newer senders add among them.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True, allow_inf_nan=False, hide_input_in_errors=True)

    bitstream: str | None = Field(None, description="bitstream in base64; `code` is then not used")
    code: Annotated[list[float], Field(max_length=MAX_CODE_ELEMENTS)] | None = Field(
        None, description="any point of the latent space, before quantization"
    )
    model: str | None = Field(None, description="name of the model to decode `code` with")
    model_id: str | None = Field(None, description="refused if the decoding model has another one")

    def decoded_bitstream(self) -> bytes | None:
        """Return the decoded `bitstream`, or None if the field is missing; raise `InvalidCode` if it is not base64.

        Line breaks, the alphabet for URLs and missing padding are as good as none: the checksum finds what is wrong.
        """
        if self.bitstream is None:
            return None
        try:
            text = self.bitstream.encode("ascii").translate(_STANDARD_ALPHABET, _BLANKS).rstrip(b"=")
            return base64.b64decode(text + b"=" * (-len(text) % 4), validate=True)
        except ValueError as error:
            raise InvalidCode("bitstream is not base64") from error


def max_code_bytes(cards: Iterable[ModelCard | AnySizeCard]) -> int:
    """Return how many bytes a request for `/decode` can need for a code of one of these models, in JSON or not."""
    # A lossless image is not longer than its pixels, and not twice as long in base64 with line breaks.
    return _OTHER_BYTES + max(
        2 * card.image.pixels * card.image.channels + _NUMBER_BYTES * card.code_size
        if isinstance(card, ModelCard)
        else 2 * MAX_SIDE * MAX_SIDE * 3
        for card in cards
    )


def parse_code_json(body: bytes) -> CodeJson:
    """Parse and check a JSON body.

    Raises:
        InvalidJson: see `parse_json_object`; a code is one flat list, in one object.
        InvalidCode: a field of the wrong type, or neither `bitstream` nor `code`.
    """
    content = parse_json_object(body, max_lists_and_objects=MAX_LISTS_AND_OBJECTS, max_commas=MAX_COMMAS)
    try:
        code = CodeJson.model_validate(content)
    except ValidationError as error:
        raise InvalidCode(f"the JSON is not that of a code: {first_fault(error)}") from error
    if code.bitstream is None and code.code is None:
        raise InvalidCode('the JSON has neither "bitstream" (base64 of the bitstream) nor "code" (a list of numbers)')
    return code
