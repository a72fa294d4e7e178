"""`POST /encode`: an image file enters, its code leaves."""

import base64
import json
import math
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np
from starlette.requests import Request
from starlette.responses import Response

from latentwire import errors as codec_errors
from latentwire.imaging import image
from latentwire.options import OnOod
from service import errors
from service.api.encode_options import PARAMETERS, EncodeWishes, read_wishes
from service.api.state import state_of
from service.api.unary import Answer, work_on_body
from service.http.headers import read_head
from service.http.multipart import read_single_file
from service.http.negotiation import choose_answer, media_type_of
from service.http.query import parse_query
from service.observability.request_record import OodOutcome, record_code
from service.scheduling.cost_model import BatchKey

if TYPE_CHECKING:
    from latentwire.encoder import EncodedImage
    from latentwire.model.card import ModelCard
    from latentwire.selection.guard import Guard, GuardedImage, OodFinding
    from latentwire.selection.ladder import Ladder

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

# Of a file, for what is not its pixels.
HEADER_BYTES = 1024


async def encode(request: Request) -> Response:
    """Encode one image file; each answer names the model in `Latentwire-Model`."""
    state = state_of(request)
    registry, settings = state.registry, state.settings
    head = read_head(request.scope)
    asked = _read_asked(
        request.scope["query_string"], head.accept, head.content_type, settings.on_ood, settings.verifies
    )
    wishes, answer_type, media_type = asked
    guard = registry.guard(wishes.model)
    ladder = registry.ladder() if wishes.of_ladder else None

    work = _Work(asked, head.content_type, guard, ladder, settings.max_image_pixels)
    # A file that is longer than the pixels, or that must be fitted, may take any time.
    batch_key = BatchKey("/encode", asked) if media_type != FORM and wishes.fit == "strict" and ladder is None else None
    quick_bytes = guard.card.image.pixels * guard.card.image.channels + HEADER_BYTES
    encoded: _Encoded = await work_on_body(request, head.content_length, state, work.encode_all, batch_key, quick_bytes)
    guarded = encoded.guarded
    record_code(encoded.image_bytes, encoded.code_bytes, _done_with(guarded))
    figures = None if answer_type == JSON else _figures(guarded)
    return Answer(encoded.content, answer_type, encoded.card.full_name, figures)


class _Asked(NamedTuple):
    """What the head of a request asks for: also the type of the answer, and that of the body."""

    wishes: EncodeWishes
    answer_type: str
    media_type: str


class _Encoded(NamedTuple):
    """What became of one request's image: bytes of its file and of its code, what that is, and the answer's body."""

    image_bytes: int
    code_bytes: int
    card: "ModelCard"
    guarded: "GuardedImage"
    content: bytes


class _Work(NamedTuple):
    """The work on bodies of requests whose heads ask for the same: what is wrong with one is told to that one only."""

    asked: _Asked
    content_type: bytes
    guard: "Guard"
    ladder: "Ladder | None"
    max_pixels: int

    def encode_all(self, bodies: Sequence[bytes]) -> list[_Encoded | Exception]:
        """Encode the image in each body."""
        images = [self._read(body) for body in bodies]
        sound = [one[1] for one in images if not isinstance(one, Exception)]
        encoded = iter(self._encode(np.stack(sound)) if sound else ())
        return [one if isinstance(one, Exception) else self._finish(one[0], *next(encoded)) for one in images]

    def _read(self, body: bytes) -> tuple[int, image.Pixels] | Exception:
        """Return the number of bytes of the file, and its pixels."""
        try:
            data = (
                read_single_file(body, self.content_type.decode("latin-1")) if self.asked.media_type == FORM else body
            )
            return len(data), image.read_image(data, self.guard.card.image, self.asked.wishes.fit, self.max_pixels)
        except (codec_errors.ImageError, errors.InvalidMultipart) as error:
            return error

    def _encode(self, pixels: image.Pixels) -> Iterable[tuple["ModelCard", "GuardedImage | Exception"]]:
        wishes = self.asked.wishes
        if self.ladder is None:
            each = self.guard.encode_each(pixels, wishes.on_ood, wishes.max_mse)
            return [(self.guard.card, one) for one in each]
        return [self._choose(self.ladder, one) for one in pixels]

    def _choose(self, ladder: "Ladder", pixels: image.Pixels) -> tuple["ModelCard", "GuardedImage"]:
        wishes = self.asked.wishes
        if wishes.target_bytes is not None:
            return ladder.best_within(
                pixels, wishes.target_bytes, lambda code: len(self._bytes_of(code)), wishes.on_ood, wishes.max_mse
            )
        return ladder.smallest_reaching(pixels, cast(float, wishes.min_psnr_db), wishes.on_ood)

    def _finish(self, image_bytes: int, card: "ModelCard", guarded: "GuardedImage | Exception") -> _Encoded | Exception:
        if isinstance(guarded, Exception):
            return guarded
        code = self._bytes_of(guarded.encoded)
        content = _to_json(card, guarded) if self.asked.answer_type == JSON else code
        return _Encoded(image_bytes, len(code), card, guarded, content)

    def _bytes_of(self, code: "EncodedImage") -> bytes:
        return code.payload if self.asked.wishes.framing == "raw" else code.bitstream


# Most requests of a client have the same head.
@lru_cache(maxsize=64)
def _read_asked(query: bytes, accept: bytes, content_type: bytes, on_ood: OnOod, sees_delivered: bool) -> _Asked:
    wishes = read_wishes(parse_query(query, PARAMETERS), on_ood, sees_delivered=sees_delivered)
    answer_type = choose_answer(accept.decode("latin-1"), OFFERED)
    if wishes.framing == "raw" and answer_type == JSON:
        raise errors.InvalidParameter(
            "framing=raw goes with 'Accept: application/octet-stream'; JSON has the full framing"
        )
    media_type = media_type_of(content_type.decode("latin-1"))
    if media_type not in TAKEN:
        raise errors.UnsupportedMediaType(
            f"/encode takes an image file, not {media_type[:64]}; name its type, "
            "for example with curl's -H 'Content-Type: image/png', or send it as a form with -F file=@image.png"
        )
    return _Asked(wishes, answer_type, media_type)


def _figures(guarded: "GuardedImage") -> dict[bytes, str]:
    """Return, as headers, what the JSON tells of the image as delivered."""
    headers = {b"latentwire-ood": _scores_in_words(guarded.ood)}
    if guarded.psnr_db is not None:
        headers[b"latentwire-psnr-db"] = f"{guarded.psnr_db:.2f}"
    if guarded.max_error is not None:
        headers[b"latentwire-max-error"] = f"{guarded.max_error:.4f}"
    return headers


def _done_with(guarded: "GuardedImage") -> OodOutcome | None:
    if guarded.ood is None:
        return None
    return "warned" if guarded.sent_as is None else "fallback"


def _scores_in_words(ood: "OodFinding | None") -> str:
    if ood is None:
        return "none"
    return ", ".join(exceeded_limit.score for exceeded_limit in ood.exceeded) or "uncodable"


def _to_json(card: "ModelCard", guarded: "GuardedImage") -> bytes:
    fields = image_fields(card, guarded)
    start = {"model": card.name, "model_id": card.model_id, "code": fields.pop("code"), "shape": card.image.as_tuple()}
    return json.dumps({**start, **fields}).encode()


def image_fields(card: "ModelCard", guarded: "GuardedImage") -> dict[str, Any]:
    """Return what JSON tells of one image, but for its model and shape."""
    encoded, ood = guarded.encoded, guarded.ood
    numbers = encoded.y.tolist()
    return {
        # The shortest decimals that give the same float32 again. An image losslessly may have no code in numbers.
        "code": [float(str(element)) for element in encoded.y] if all(map(math.isfinite, numbers)) else None,
        "bitstream": base64.b64encode(encoded.bitstream).decode(),
        "payload_bytes": len(encoded.payload),
        "bitstream_bytes": len(encoded.bitstream),
        "bpp": 8 * len(encoded.bitstream) / card.image.pixels,
        "mse": guarded.mse,
        "psnr_db": None if guarded.psnr_db == math.inf else guarded.psnr_db,
        "max_error": guarded.max_error,
        "ood": ood
        and {
            "sentence": ood.sentence,
            "scores": {one.score: {"value": one.value, "limit": one.limit} for one in ood.exceeded},
        },
        "sent_as": guarded.sent_as or "code",
    }
