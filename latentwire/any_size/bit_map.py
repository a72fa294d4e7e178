"""Where in an image the bits of its payload go."""

from contextlib import suppress

import numpy as np

from latentwire.any_size.entropy_model import EntropyModel
from latentwire.any_size.part_reader import read_part
from latentwire.errors import InvalidCode
from latentwire.format.alpha import split_body
from latentwire.format.any_size import parts_of, read_payload
from latentwire.format.lossless import is_lossless
from latentwire.model.onnx_session import Floats


def bit_map(entropy: EntropyModel, payload: bytes) -> Floats | None:
    """Return the bits of the latents of each square of 16 × 16 pixels, by the probabilities of the model.

    This takes about as long as to decode the symbols. The bits of z, which predicts the latents, and of alpha count
    nowhere. A part that is not whole has 0.

    Args:
        entropy: of the model.
        payload: of an image within the limit of pixels, which the caller checks.

    Returns:
        float32 (rows, columns); None for an image that is sent losslessly.

    Raises:
        InvalidCode: the payload has no header.
    """
    if is_lossless(payload):
        return None
    header, bodies, _ = read_payload(payload)
    bits = np.zeros((header.latent_height, header.latent_width), np.float32)
    for part, body in zip(parts_of(header), bodies, strict=True):
        with suppress(InvalidCode):
            coded = split_body(body or b"")[1] if header.has_alpha else body or b""
            found = np.zeros((part.height, part.width), np.float32)
            read_part(entropy, coded, part, header.quality, found)
            bits[part.top : part.top + part.height, part.left : part.left + part.width] = found
    return bits
