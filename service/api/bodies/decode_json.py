"""The JSON body of `/decode` -> a checked `CodeJson`.

The number of lists, objects and elements is limited before the JSON is parsed, so that neither deep nesting nor a mass
of small elements costs much.
"""

import base64
import json
from typing import Annotated, Any, NoReturn

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from latentwire.errors import InvalidCode
from service.errors import InvalidJson

MAX_LISTS_AND_OBJECTS = 32
MAX_CODE_ELEMENTS = 65536
# The elements of `code`, and an allowance for the other fields.
MAX_COMMAS = MAX_CODE_ELEMENTS + 1000


class CodeJson(BaseModel):
    """What `/decode` takes as JSON: `bitstream`, or else `code`. A response of `/encode` has both, and can be sent."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False, hide_input_in_errors=True)

    bitstream: str | None = Field(None, description="bitstream in base64; `code` is then not used")
    code: Annotated[list[float], Field(max_length=MAX_CODE_ELEMENTS)] | None = Field(
        None, description="any point of the latent space, before quantization"
    )
    model: str | None = Field(None, description="name of the model to decode `code` with")
    model_id: str | None = Field(None, description="refused if the decoding model has another one")
    shape: Any = Field(None, description="not used")
    payload_bytes: Any = Field(None, description="not used")
    bitstream_bytes: Any = Field(None, description="not used")
    bpp: Any = Field(None, description="not used")
    mse: Any = Field(None, description="not used")
    psnr_db: Any = Field(None, description="not used")
    max_error: Any = Field(None, description="not used")
    ood: Any = Field(None, description="not used")
    sent_as: Any = Field(None, description="not used")

    def decoded_bitstream(self) -> bytes | None:
        """Return the decoded `bitstream`, or None if the field is missing; raise `InvalidCode` if it is not base64."""
        try:
            return None if self.bitstream is None else base64.b64decode(self.bitstream, validate=True)
        except ValueError as error:
            raise InvalidCode("bitstream is not base64") from error


def parse_code_json(body: bytes) -> CodeJson:
    """Parse and check a JSON body.

    Raises:
        InvalidJson: not UTF-8, not JSON, not an object, too many lists and objects, a name twice, or a number that
            JSON does not have (NaN, Infinity).
        InvalidCode: a field of the wrong type, an unknown field, or neither `bitstream` nor `code`.
    """
    if body.count(b"[") + body.count(b"{") > MAX_LISTS_AND_OBJECTS:
        raise InvalidJson(f"the JSON has more than {MAX_LISTS_AND_OBJECTS} lists and objects; a code is one flat list")
    if body.count(b",") > MAX_COMMAS:
        raise InvalidJson(f"the JSON has more than {MAX_COMMAS:,} commas; a code has at most {MAX_CODE_ELEMENTS:,}")
    try:
        content = json.loads(body.decode(), object_pairs_hook=_without_duplicates, parse_constant=_refuse_constant)
    except ValueError as error:  # also the base of UnicodeDecodeError, and of too long an integer
        raise InvalidJson("the body is not valid JSON") from error
    if not isinstance(content, dict):
        raise InvalidJson('the body is not a JSON object such as {"bitstream": "..."} or {"code": [0.1, ...]}')
    try:
        code = CodeJson.model_validate(content)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        where = ".".join(str(part) for part in first["loc"])[:64]
        raise InvalidCode(f"the JSON is not that of a code: {where}: {first['msg']}") from error
    if code.bitstream is None and code.code is None:
        raise InvalidCode('the JSON has neither "bitstream" (base64 of the bitstream) nor "code" (a list of numbers)')
    return code


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) != len(pairs):
        raise InvalidJson("the JSON names a field twice")
    return content


def _refuse_constant(name: str) -> NoReturn:
    raise InvalidJson(f"the JSON has {name}, which is not a number; a code has finite numbers only")
