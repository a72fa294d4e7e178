"""A container, as it is read -> its chunks, and in their places what is wrong with those that are damaged.

Knows no model.
"""

from collections.abc import Iterable, Iterator

from latentwire.errors import CodeError, DamagedChunk
from latentwire.format.container import Frame, FrameReader


def read_frames(stream: Iterable[bytes], reader: FrameReader) -> Iterator[Frame | CodeError]:
    """Feed a container to a reader; yield each chunk, or the error in its place.

    All that can be read comes. If it is not all that there was, the last is an error.
    """
    try:
        for piece in stream:
            reader.feed(piece)
            while (found := _take(reader)) is not None:
                yield found
        reader.finish()
    except CodeError as error:
        yield error


def _take(reader: FrameReader) -> Frame | DamagedChunk | None:
    try:
        return reader.take()
    except DamagedChunk as error:
        if error.images is None:
            raise
        return error
