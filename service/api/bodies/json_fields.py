"""The JSON of many images, entry by entry."""

import json
from typing import TYPE_CHECKING, Any

from latentwire.selection.json_fields import model_fields

if TYPE_CHECKING:
    from latentwire.model.card import ModelCard


class JsonImageList:
    """Writes `{"model", "model_id", "shape", "images": [...]}` entry by entry."""

    def __init__(self, card: "ModelCard") -> None:
        self._separator = ""
        self.header = (json.dumps(model_fields(card))[:-1] + ', "images": [').encode()
        self.trailer = b"]}"

    def add(self, entry: dict[str, Any] | str) -> bytes:
        """Return the bytes of the next entry."""
        written = self._separator + json.dumps(entry)
        self._separator = ",\n"
        return written.encode()
