"""`POST /encode`: an image file enters, its code leaves."""

import base64
import json
from typing import TYPE_CHECKING, Any, cast

from fastapi import APIRouter, Request, Response

from codec import errors as codec_errors
from codec.image import Fit
from service import errors
from service.body import read_body, wait_until_gone
from service.error_responses import document_problems
from service.multipart import read_single_file
from service.negotiation import choose_answer, media_type_of
from service.openapi import BINARY, EXAMPLE_MODEL_ID, EXAMPLE_PAYLOAD, EXAMPLE_WIRE, MODEL_HEADER
from service.query import FORMS, read_form, read_query
from service.state import state_of

if TYPE_CHECKING:
    from codec.encoder import EncodedImage, Encoder
    from service.registry import Halves

FORM = "multipart/form-data"
# The type is not believed: the codec looks at the bytes. An absent type and octet-stream say "look yourself" anyway.
IMAGE_TYPES = (
    "image/png",
    "image/jpeg",
    "image/webp",
    "image/bmp",
    "image/x-ms-bmp",
    "image/gif",
    "application/octet-stream",
)
TAKEN = frozenset({*IMAGE_TYPES, FORM, ""})
JSON = "application/json"
OFFERED = (JSON, "application/octet-stream")
FITS = ("strict", "resize", "pad")
PARAMETERS = frozenset({"model", "fit", "form"})

EXAMPLE_ANSWER: dict[str, Any] = {
    "model": "tiny",
    "model_id": EXAMPLE_MODEL_ID,
    "code": [0.25, -1.5],
    "shape": [28, 28, 1],
    "payload": EXAMPLE_PAYLOAD,
    "payload_bytes": 2,
    "wire_bytes": len(EXAMPLE_WIRE),
    "bpp": 8 * len(EXAMPLE_WIRE) / (28 * 28),
}
ANSWER_SCHEMA: dict[str, Any] = {
    "title": "EncodedImage",
    "type": "object",
    "required": list(EXAMPLE_ANSWER),
    "properties": {
        "model": {"type": "string", "description": "name of the model that made the code"},
        "model_id": {"type": "string", "description": "SHA-256 that tells this model from all others"},
        "code": {"type": "array", "items": {"type": "number"}, "description": "the code before quantisation"},
        "shape": {"type": "array", "items": {"type": "integer"}, "description": "height, width, channels"},
        "payload": {"type": "string", "format": "byte", "description": "the wire bytes, in base64"},
        "payload_bytes": {"type": "integer", "description": "bytes of the coded symbols alone"},
        "wire_bytes": {"type": "integer", "description": "bytes of `payload` decoded: header, symbols, check sum"},
        "bpp": {"type": "number", "description": "bits of the wire bytes for each pixel"},
    },
}

router = APIRouter()


@router.post(
    "/encode",
    summary="Turn an image into its code",
    tags=["codec"],
    response_class=Response,
    responses={
        200: {
            "description": "The code: as JSON, or as the wire bytes alone, by `Accept`.",
            "headers": MODEL_HEADER,
            "content": {
                "application/json": {"schema": ANSWER_SCHEMA, "example": EXAMPLE_ANSWER},
                "application/octet-stream": BINARY,
            },
        },
        **document_problems(
            [
                codec_errors.InvalidImage,
                errors.InvalidMultipart,
                errors.InvalidParameter,
                errors.ClientGone,
                errors.UnknownModel,
                errors.NotAcceptable,
                codec_errors.ImageTooLarge,
                errors.BodyTooLarge,
                errors.UnsupportedMediaType,
                codec_errors.ImageMismatch,
                codec_errors.UncodableImage,
                errors.Overloaded,
                errors.NotReady,
            ]
        ),
    },
    openapi_extra={
        "parameters": [
            {
                "name": "model",
                "in": "query",
                "schema": {"type": "string"},
                "description": "Name of the model; without it, the default model.",
            },
            {
                "name": "fit",
                "in": "query",
                "schema": {"type": "string", "enum": list(FITS), "default": "strict"},
                "description": "`strict` refuses an image that is not of the model's size, channels and bit depth; "
                "`resize` stretches it to the size; `pad` keeps its proportions and centres it on black.",
            },
            {
                "name": "form",
                "in": "query",
                "schema": {"type": "string", "enum": list(FORMS), "default": "full"},
                "description": "`full` is the wire bytes, which say which model made them. `bare`, only with `Accept: "
                "application/octet-stream`, is the payload alone, 8 bytes less: `/decode` must then be told the model.",
            },
        ],
        "requestBody": {
            "required": True,
            "description": "One image file: PNG, JPEG, WebP, BMP or GIF. What it is, is read from its bytes.",
            "content": {
                **dict.fromkeys(IMAGE_TYPES, BINARY),
                FORM: {
                    "schema": {
                        "type": "object",
                        "required": ["file"],
                        "properties": {"file": {"type": "string", "format": "binary"}},
                    }
                },
            },
        },
    },
)
async def encode(request: Request) -> Response:
    """Encode one image file; each answer names the model in `Latentwire-Model`."""
    state = state_of(request)
    parameters = read_query(request, PARAMETERS)
    fit = read_fit(parameters.get("fit", "strict"))
    encoders = cast("Halves[Encoder]", state.registry.encoders)
    encoder = encoders.by_name(parameters.get("model"))
    answer_type = choose_answer(",".join(request.headers.getlist("accept")), OFFERED)
    form = read_form(parameters.get("form", "full"))
    if form == "bare" and answer_type != "application/octet-stream":
        raise errors.InvalidParameter("form=bare goes with 'Accept: application/octet-stream'; JSON has the full form")
    content_type = request.headers.get("content-type", "")
    media_type = media_type_of(content_type)
    if media_type not in TAKEN:
        raise errors.UnsupportedMediaType(
            f"/encode takes an image file, not {media_type[:64]}; name its type, "
            "for example with curl's -H 'Content-Type: image/png', or send it as a form with -F file=@image.png"
        )
    body = await read_body(request, state.settings.max_body_bytes)

    def work() -> bytes:
        data = read_single_file(body, content_type) if media_type == FORM else body
        encoded = encoder.encode_file(data, fit, state.settings.max_image_pixels)
        if answer_type == JSON:
            return _to_json(encoder, encoded)
        return encoded.payload if form == "bare" else encoded.wire

    content = await state.admission.run(work, lambda: wait_until_gone(request))
    headers = {"Latentwire-Model": encoder.card.full_name, "Vary": "Accept"}
    return Response(content, headers=headers, media_type=answer_type)


def read_fit(value: str) -> Fit:
    """Return what `fit` says.

    Raises:
        InvalidParameter: something that it does not take.
    """
    if value not in FITS:
        raise errors.InvalidParameter(f"fit takes {', '.join(FITS[:-1])} or {FITS[-1]}, not '{value[:64]}'")
    return cast(Fit, value)


def _to_json(encoder: "Encoder", encoded: "EncodedImage") -> bytes:
    card = encoder.card
    answer = {
        "model": card.name,
        "model_id": card.model_id,
        # The shortest decimals that give the same float32 again.
        "code": [float(str(element)) for element in encoded.y],
        "shape": card.image.as_tuple(),
        "payload": base64.b64encode(encoded.wire).decode(),
        "payload_bytes": len(encoded.payload),
        "wire_bytes": len(encoded.wire),
        "bpp": 8 * len(encoded.wire) / card.image.pixels,
    }
    return json.dumps(answer).encode()
