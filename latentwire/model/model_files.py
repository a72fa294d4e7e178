"""Files of a model -> their bytes, checked against the size and the SHA-256 in the model card."""

import hashlib
from pathlib import Path

from latentwire.errors import InvalidGraph, MissingGraph
from latentwire.model.card import GraphFile

# onnxruntime would read such a file relative to the current folder, and no SHA-256 covers it. The key `location` of its
# path is a string of 8 bytes, and so follows the last byte of that length.
_EXTERNAL_DATA = (b"\x08location", b"\x00location")


def read_file(path: Path, expected: GraphFile) -> bytes:
    """Return the bytes of the file at `path`, after checking their number and their SHA-256.

    Raises:
        MissingGraph: the file is missing or cannot be read.
        InvalidGraph: the file is not the one in the card, or keeps weights outside itself.
    """
    what = f"{path.name} of model '{path.parent.name}'"
    try:
        if (size := path.stat().st_size) != expected.bytes:
            raise InvalidGraph(f"{what} has {size} bytes; its card says {expected.bytes}")
        data = path.read_bytes()
    except OSError as error:
        raise MissingGraph(f"{what} cannot be read: {error.strerror}") from error
    if any(key in data for key in _EXTERNAL_DATA):  # a regular expression takes ten times as long
        raise InvalidGraph(f"{what} keeps weights in a file outside itself; export it with all weights inside")
    if hashlib.sha256(data).hexdigest() != expected.sha256:
        raise InvalidGraph(f"{what} does not match the SHA-256 in its card")
    return data
