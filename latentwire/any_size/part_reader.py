"""The body of a part -> its quantized latents."""

import numpy as np

from latentwire.any_size.entropy_model import HYPER_LIMIT, EntropyModel, Pass
from latentwire.entropy.coder_tables import Integers
from latentwire.entropy.lanes import open_reader
from latentwire.errors import InvalidCode
from latentwire.format.any_size import HYPER_STRIDE, Part, has_lanes_byte
from latentwire.model.onnx_session import Floats
from latentwire.timing import timed_stage


@timed_stage("entropy")
def read_part(entropy: EntropyModel, body: bytes, part: Part, quality: int, bits: Floats | None = None) -> Floats:
    """Return the latents of a part, float32 (latents, h, w), in quantization steps.

    Args:
        entropy: the model's.
        body: of the part.
        part: of which only the size matters.
        quality: index, 0 to 255.
        bits: float32 (h, w), to which the bits of the latents are added.

    Raises:
        InvalidCode: no encoder makes this body.
    """
    lanes = 1
    if has_lanes_byte(part):
        if not body:
            raise InvalidCode("the bitstream is cut short: a part has no body")
        lanes, body = body[0], body[1:]
    reader = open_reader(entropy.coder_tables, body, lanes)
    height, width = (-(-side // HYPER_STRIDE) for side in (part.height, part.width))
    z = reader.read(entropy.hyper_numbers(height, width)).reshape(-1, height, width)
    if (np.abs(z) > HYPER_LIMIT).any():
        raise InvalidCode("the bitstream is damaged: a value of z is out of bounds")

    def exchange(asked: Pass) -> Integers:
        symbols = np.zeros(len(asked.tables), np.int64)
        numbers = asked.coded_tables
        symbols[asked.coded] = reader.read(numbers)
        if bits is not None:
            squares = np.tile(asked.squares, len(symbols) // max(1, len(asked.squares)))[asked.coded]
            np.add.at(bits.reshape(-1), squares, entropy.coder_tables.ideal_bits(numbers, symbols[asked.coded]))
        return symbols

    walked = entropy.walk(z, quality, part.height, part.width, exchange)
    reader.finish(walked.check)
    return walked.latents
