"""A container, as it is read -> its chunks, and an error in the place of each damaged one."""

from collections.abc import Iterable, Iterator

from latentwire.errors import CodeError, DamagedChunk
from latentwire.format.container import Frame
from latentwire.format.container_reader import FrameReader


def read_frames(stream: Iterable[bytes], reader: FrameReader) -> Iterator[Frame | CodeError]:
    """Feed a container to a reader, and yield each chunk, or an error in its place.

    If the container cannot be read to its end, the last item is an error.
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
