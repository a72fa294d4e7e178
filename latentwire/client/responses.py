"""Responses of a service -> results, and errors for problem documents."""

import json
import re
from base64 import b64decode
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from io import BytesIO
from typing import Literal, TypeVar

import httpx
import numpy as np
from PIL import Image as Pillow
from pydantic import TypeAdapter, ValidationError

from latentwire.client.errors import InvalidResponse
from latentwire.client.results import Encoded, EncodedMany, Finding, Fitted, Image, ModelSummary, Rectangle
from latentwire.client.sources import NPY
from latentwire.errors import CodecError
from latentwire.format.npy import NpyReader
from latentwire.imaging.image import Pixels, as_pixels
from latentwire.problems import PROBLEM_MEDIA_TYPE, error_of

Result = TypeVar("Result")

RETRY_AFTER = re.compile(r"[0-9]{1,6}")


# Fields that this version does not know are passed over: a newer service may send them.
@dataclass(kw_only=True)
class _Code:
    bitstream: str
    payload_bytes: int
    bpp: float
    code: tuple[float, ...] | None
    mse: float | None
    max_error: float | None
    ood: Finding | None
    doubt: Finding | None
    sent_as: str
    fitted: Fitted | None
    quality: float | None = None
    # Of an image in a batch of any size.
    shape: tuple[int, int, int] | None = None


@dataclass(kw_only=True)
class _Model:
    model: str
    model_id: str
    shape: tuple[int, int, int] | None


@dataclass(kw_only=True)
class _OneCode(_Model, _Code):
    pass


@dataclass(kw_only=True)
class _Batch(_Model):
    images: list[_Code]


@dataclass(kw_only=True)
class _Images:
    images: list[str]


@dataclass(kw_only=True)
class _Summary:
    name: str
    model_id: str
    kind: str
    shape: tuple[int, int, int] | None
    payload_bytes: float | None
    psnr_db: float | None
    description: str


@dataclass(kw_only=True)
class _Models:
    default: str
    default_any_size: str | None
    models: list[_Summary]


@dataclass(kw_only=True)
class _ProblemDocument:
    code: str
    detail: str


@dataclass(kw_only=True)
class _Readiness:
    status: Literal["ready"]


_ONE_CODE, _BATCH, _MODELS = TypeAdapter(_OneCode), TypeAdapter(_Batch), TypeAdapter(_Models)
_READINESS, _PROBLEM = TypeAdapter(_Readiness), TypeAdapter(_ProblemDocument)
_IMAGES = TypeAdapter(_Images)


def refusal(response: httpx.Response) -> CodecError | None:
    """Return the error that a response stands for; None if its status is 200."""
    if response.status_code == httpx.codes.OK:
        return None
    try:
        if _media_type(response) != PROBLEM_MEDIA_TYPE:
            raise _unexpected(response)
        problem = _PROBLEM.validate_json(response.content)
        error = error_of(problem.code, problem.detail)
        error.code = problem.code
    except ValidationError:
        error = _unexpected(response)
    except InvalidResponse as unexpected:
        error = unexpected
    error.status = response.status_code
    error.request_id = response.headers.get("x-request-id") or response.request.headers.get("x-request-id")
    error.add_note(f"HTTP status {error.status}, request id {error.request_id}")
    return error


def wait_s(response: httpx.Response) -> float | None:
    """Return the seconds that a response asks to wait for; None if it does not say."""
    asked = response.headers.get("retry-after", "")
    return float(asked) if RETRY_AFTER.fullmatch(asked) else None


def read_encoded(response: httpx.Response) -> Encoded:
    """Return the result of `/encode`."""
    fields = _read(response, _ONE_CODE.validate_json)
    return _encoded(fields, fields)


def read_batch(response: httpx.Response) -> list[Encoded]:
    """Return the results of `/encode/batch`."""
    batch = _read(response, _BATCH.validate_json)
    return [_encoded(fields, batch) for fields in batch.images]


def read_image(response: httpx.Response) -> Image:
    """Return the result of `/decode`."""

    def read(content: bytes) -> Image:
        missing = json.loads(response.headers.get("latentwire-missing", "[]"))
        return Image(_pixels(content, 3), *_model_of(response), tuple(Rectangle(*one) for one in missing))

    return _read(response, read)


def read_images(response: httpx.Response) -> list[Image]:
    """Return the result of `/decode/batch`: an array of images, or PNG files of images of any size in JSON."""

    def read(content: bytes) -> list[Image]:
        if _media_type(response) == NPY:
            pixels: Iterable[Pixels] = _pixels(content, 4)
        else:
            pixels = map(_png, _IMAGES.validate_json(content).images)
        return [Image(one, *_model_of(response)) for one in pixels]

    return _read(response, read)


def _png(base64: str) -> Pixels:
    with Pillow.open(BytesIO(b64decode(base64)), formats=["PNG"]) as picture:
        return as_pixels(np.asarray(picture))


def read_container(response: httpx.Response, images: int) -> EncodedMany:
    """Return the result of `/encode/batch` of this many images."""
    return EncodedMany(response.content, images, *_model_of(response))


def read_models(response: httpx.Response) -> tuple[ModelSummary, ...]:
    """Return the result of `/models`."""
    found = _read(response, _MODELS.validate_json)
    defaults = (found.default, found.default_any_size)
    return tuple(ModelSummary(**asdict(one), is_default=one.name in defaults) for one in found.models)


def read_readiness(response: httpx.Response) -> None:
    """Check that a response says that the service is ready."""
    _read(response, _READINESS.validate_json)


def _read(response: httpx.Response, read: Callable[[bytes], Result]) -> Result:
    try:
        return read(response.content)
    except (ValueError, TypeError, CodecError) as error:
        raise _unexpected(response) from error


def _pixels(content: bytes, dimensions: int) -> Pixels:
    reader = NpyReader([np.uint8], "uint8")
    reader.feed(content)
    reader.finish()
    shape = reader.shape or (0,)
    if len(shape) != dimensions:
        raise ValueError(f"an array of shape {shape}")
    pixels = reader.take(shape[0])
    return np.empty(shape, np.uint8) if pixels is None else pixels.astype(np.uint8)


def _model_of(response: httpx.Response) -> tuple[str, str]:
    name, _, model_id = response.headers.get("latentwire-model", "").partition("@")
    return name, model_id


def _encoded(code: _Code, model: _Model) -> Encoded:
    if (shape := code.shape or model.shape) is None:
        raise ValueError("an image without a shape")
    return Encoded(
        bitstream=b64decode(code.bitstream),
        model=model.model,
        model_id=model.model_id,
        shape=shape,
        code=code.code,
        payload_bytes=code.payload_bytes,
        bpp=code.bpp,
        mse=code.mse,
        max_error=code.max_error,
        ood=code.ood,
        doubt=code.doubt,
        sent_as=code.sent_as,
        quality=code.quality,
        fitted=code.fitted,
    )


def _media_type(response: httpx.Response) -> str:
    return str(response.headers.get("content-type", "")).partition(";")[0].strip().lower()


def _unexpected(response: httpx.Response) -> InvalidResponse:
    answered = f"{response.request.url} answered with status {response.status_code}"
    if "location" in response.headers:
        return InvalidResponse(f"{answered}, which leads to {response.headers['location']}; give that address")
    kind = _media_type(response) or "no media type"
    return InvalidResponse(f"{answered} and {kind}, as no Latentwire service does; check the address")
