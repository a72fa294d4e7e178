"""Containers of images of any size: the frames of every container, with whole payloads in the bodies of chunks."""

from latentwire.entropy.rans import read_varint, write_varint
from latentwire.errors import InvalidCode, UncodableImage
from latentwire.format.container import MAX_CHUNK_BYTES, Frame
from latentwire.format.container_writer import FrameWriter

# A writer closes a chunk before it has more bytes, or after so many images: damage to a chunk costs all of them.
MAX_WRITTEN_BYTES = 1 << 16
MAX_WRITTEN_IMAGES = 1 << 10


class PayloadContainerWriter:
    """Writes one container, payload by payload: `add` and `finish` return the bytes that are ready, often none."""

    def __init__(self, fingerprint: bytes, announced: int = 0) -> None:
        """Begin a container; see `FrameWriter` for the arguments."""
        self._frames = FrameWriter(fingerprint, announced)
        self._ready = [self._frames.header()]
        self._gathered: list[bytes] = []

    @property
    def images(self) -> int:
        """The number of images added so far."""
        return self._frames.images + len(self._gathered)

    def add(self, payload: bytes) -> bytes:
        """Add the payload of an image; return the bytes that are ready.

        Raises:
            UncodableImage: it has more bytes than a chunk can have.
        """
        item = write_varint(len(payload)) + payload
        if len(item) > MAX_CHUNK_BYTES:
            raise UncodableImage(
                f"the bitstream has {len(payload):,} bytes, more than the {MAX_CHUNK_BYTES:,} of a chunk; send it alone"
            )
        if sum(map(len, self._gathered)) + len(item) > MAX_WRITTEN_BYTES:
            self._flush()
        self._gathered.append(item)
        if len(self._gathered) == MAX_WRITTEN_IMAGES:
            self._flush()
        return self._take_ready()

    def finish(self) -> bytes:
        """Return the last bytes."""
        self._flush()
        self._ready.append(self._frames.end())
        return self._take_ready()

    def _flush(self) -> None:
        if self._gathered:
            self._ready.append(self._frames.chunk(len(self._gathered), b"".join(self._gathered)))
            self._gathered = []

    def _take_ready(self) -> bytes:
        ready, self._ready = b"".join(self._ready), []
        return ready


def read_payloads(frame: Frame) -> list[bytes]:
    """Return the payloads in a chunk, one for each of its images.

    Raises:
        DamagedChunk: no chunk of this many images has this body.
    """
    try:
        return _read_payloads(frame.body, frame.images)
    except InvalidCode as error:
        raise frame.damaged(str(error)) from error


def _read_payloads(body: bytes, images: int) -> list[bytes]:
    offset, payloads = 0, []
    for _ in range(images):
        length, offset = read_varint(body, offset)
        if not 1 <= length <= len(body) - offset:
            raise InvalidCode(f"a payload cannot have {length:,} bytes at offset {offset:,}")
        payloads.append(body[offset : offset + length])
        offset += length
    if offset < len(body):
        raise InvalidCode("bytes follow its last image")
    return payloads
