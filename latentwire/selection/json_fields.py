"""A model, and one or many encoded images -> the fields that describe them in JSON."""

import base64
import json
import math
from typing import TYPE_CHECKING, Any

from latentwire.model.any_size_card import AnySizeCard
from latentwire.model.card import ModelCard

if TYPE_CHECKING:
    # A receiver must not load this code.
    from latentwire.selection.assessment import GuardedImage, OodFinding


def model_fields(card: ModelCard | AnySizeCard, shape: tuple[int, ...] | None) -> dict[str, Any]:
    """Return the fields that name a model and the shape of its images, or of one image of any size."""
    return {"model": card.name, "model_id": card.model_id, "shape": shape}


def code_fields(guarded: "GuardedImage") -> dict[str, Any]:
    """Return the fields of one encoded image."""
    encoded, (height, width, _) = guarded.encoded, guarded.shape
    # A losslessly encoded image may have a latent vector with infinite elements, which JSON cannot express.
    has_code = guarded.any_size is None and all(map(math.isfinite, encoded.y.tolist()))
    fields = {
        # The shortest decimals that give the same float32 again.
        "code": [float(str(element)) for element in encoded.y] if has_code else None,
        "bitstream": base64.b64encode(encoded.bitstream).decode(),
        "payload_bytes": len(encoded.payload),
        "bitstream_bytes": len(encoded.bitstream),
        "bpp": 8 * len(encoded.bitstream) / (height * width),
        "mse": guarded.mse,
        "psnr_db": None if guarded.psnr_db == math.inf else guarded.psnr_db,
        "max_error": guarded.max_error,
        "ood": guarded.ood and _finding_fields(guarded.ood),
        "doubt": guarded.doubt and _finding_fields(guarded.doubt),
        "sent_as": guarded.sent_as or "code",
        "fitted": guarded.fitting and guarded.fitting.to_dict(),
    }
    return fields if guarded.any_size is None else {**fields, "quality": guarded.quality}


class JsonImageList:
    """Writes `{"model", "model_id", "shape", "images": [...]}` entry by entry."""

    def __init__(self, card: ModelCard | AnySizeCard, shape: tuple[int, ...] | None) -> None:
        """Begin a list of images of a model, of one shape, or of several if it is None."""
        self._separator = b""
        self.header = (json.dumps(model_fields(card, shape))[:-1] + ', "images": [').encode()
        self.trailer = b"]}"

    def add(self, entry: dict[str, Any]) -> bytes:
        """Return the bytes of the next entry."""
        return self._next(json.dumps(entry, ensure_ascii=False).encode())

    def add_file(self, file: bytes) -> bytes:
        """Return the bytes of the next entry, which is a file in base64."""
        return self._next(b'"' + base64.b64encode(file) + b'"')

    def _next(self, entry: bytes) -> bytes:
        entry, self._separator = self._separator + entry, b",\n"
        return entry


def _finding_fields(finding: "OodFinding") -> dict[str, Any]:
    scores = {exceeded.score: {"value": exceeded.value, "limit": exceeded.limit} for exceeded in finding.exceeded}
    return {"sentence": finding.sentence, "scores": scores}
