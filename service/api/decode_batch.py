"""`POST /decode/batch`: a container of codes enters, its images leave."""

import base64
import json
from collections import deque
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Protocol, cast

import numpy as np
from starlette.requests import Request
from starlette.responses import Response

from latentwire import errors as codec_errors
from latentwire.format.container import Frame, FrameReader
from latentwire.imaging import image
from latentwire.model.card import ModelCard
from service import errors
from service.api.state import state_of
from service.api.streaming import BatchResponse, Incoming, Outgoing, check_count
from service.http.negotiation import choose_answer, media_type_of
from service.http.npy import NpyReader, npy_header
from service.http.query import read_query
from service.scheduling.admission import RunPart
from service.settings import Settings

if TYPE_CHECKING:
    from latentwire.decoder import Decoder
    from service.inference.registry import ComponentSet

OCTETS = "application/octet-stream"
NPY = "application/x-npy"
JSON = "application/json"
TAKEN = frozenset({OCTETS, NPY, ""})
OFFERED = (NPY, JSON)
PARAMETERS = frozenset({"model"})


class _Source(Protocol):
    """The codes of a body, as they come."""

    def feed(self, data: bytes) -> None:
        """Take in the bytes that come next, and check them as far as that is possible without decoding them."""

    def finish(self) -> None:
        """Check that the body has come to its end."""

    def next(self) -> image.Pixels | None:
        """Decode a few images, uint8 (N, H, W, C); None if more bytes are needed, or nothing is left."""

    @property
    def decoder(self) -> "Decoder | None":
        """Which decoder this is for, if that is known already."""

    @property
    def count(self) -> int | None:
        """How many images there are in all, if that is known already."""

    @property
    def held_bytes(self) -> int:
        """How many bytes wait to be decoded."""


class _Container:
    def __init__(self, decoders: "ComponentSet[Decoder]", wanted: str | None, settings: Settings) -> None:
        self._decoders = decoders
        self._wanted = wanted
        self._settings = settings
        self._reader = FrameReader(max_chunk_bytes=settings.max_body_bytes)
        self._frames: deque[Frame] = deque()
        self._decoding: Iterator[image.Pixels] = iter(())
        self.decoder: Decoder | None = None
        self.count: int | None = None
        self.held_bytes = 0

    def feed(self, data: bytes) -> None:
        self._reader.feed(data)
        frame = self._reader.take()
        if self.decoder is None and self._reader.header is not None:
            self._open(self._reader.header.fingerprint, self._reader.header.announced)
        while frame is not None:
            self._frames.append(frame)
            self.held_bytes += len(frame.body)
            check_count(self._reader.images, self._settings.max_batch_images)
            frame = self._reader.take()

    def finish(self) -> None:
        self._reader.finish()
        self.count = self._reader.images

    def next(self) -> image.Pixels | None:
        while (pixels := next(self._decoding, None)) is None:
            if not self._frames or self.decoder is None:
                return None
            frame = self._frames.popleft()
            self.held_bytes -= len(frame.body)
            self._decoding = self.decoder.decode_frame(frame)
        return pixels

    def _open(self, fingerprint: bytes, announced: int) -> None:
        if self._wanted is None:
            decoder = self._decoders.by_fingerprint(fingerprint)
        else:
            decoder = self._decoders.by_name(self._wanted)
            decoder.check_fingerprint(fingerprint)
        check_count(announced, self._settings.max_batch_images)
        self.decoder = decoder
        self.count = announced or None


class _Vectors:
    """Points of the code space as an array, float32 (N, code size)."""

    def __init__(self, decoder: "Decoder", settings: Settings) -> None:
        self._reader = NpyReader({"<f4": "<f4", ">f4": ">f4"}, "float32")
        self._settings = settings
        self.decoder: Decoder | None = decoder
        self._decoder = decoder
        self.count: int | None = None

    @property
    def held_bytes(self) -> int:
        return self._reader.held_bytes

    def feed(self, data: bytes) -> None:
        self._reader.feed(data)
        if self.count is None and (shape := self._reader.shape) is not None:
            card = self._decoder.card
            if len(shape) != 2 or shape[1] != card.code_size:
                raise codec_errors.InvalidVector(
                    f"the array has the shape {str(shape)[:64]}; model '{card.name}' takes (N, {card.code_size})"
                )
            check_count(shape[0], self._settings.max_batch_images)
            self.count = shape[0]

    def finish(self) -> None:
        self._reader.finish()

    def next(self) -> image.Pixels | None:
        shape = self._decoder.card.image
        rows = max(1, min(image.DECODE_BATCH_SIZE, image.MAX_BATCH_VALUES // (shape.pixels * shape.channels)))
        vectors = self._reader.take(rows)
        return None if vectors is None else self._decoder.decode_vectors(vectors.astype(np.float32))


class _ToNpy:
    def begin(self, card: ModelCard, count: int) -> bytes:
        return npy_header(np.uint8, (count, *card.image.as_tuple()))

    def add(self, pixels: image.Pixels) -> bytes:
        return pixels.tobytes()

    def finish(self) -> bytes:
        return b""

    def length(self, card: ModelCard, count: int) -> int | None:
        return len(self.begin(card, count)) + count * card.image.pixels * card.image.channels


class _ToJson:
    def __init__(self) -> None:
        self._separator = ""

    def begin(self, card: ModelCard, count: int) -> bytes:  # noqa: ARG002
        start = {"model": card.name, "model_id": card.model_id, "shape": card.image.as_tuple()}
        return (json.dumps(start)[:-1] + ', "images": [').encode()

    def add(self, pixels: image.Pixels) -> bytes:
        entries = []
        for one in pixels:
            entries.append(f'{self._separator}"{base64.b64encode(image.write_png(one)).decode()}"')
            self._separator = ",\n"
        return "".join(entries).encode()

    def finish(self) -> bytes:
        return b"]}"

    def length(self, card: ModelCard, count: int) -> int | None:  # noqa: ARG002
        return None


async def decode_batch(request: Request) -> Response:
    """Decode many codes; the answer names the model in `Latentwire-Model`."""
    state = state_of(request)
    decoders = cast("ComponentSet[Decoder]", state.registry.decoders)
    wanted = read_query(request, PARAMETERS).get("model")
    answer_type = choose_answer(",".join(request.headers.getlist("accept")), OFFERED)
    media_type = media_type_of(request.headers.get("content-type"))
    if media_type not in TAKEN:
        raise errors.UnsupportedMediaType(
            f"/decode/batch takes a container or an array, not {media_type[:64]}; send -H 'Content-Type: {OCTETS}' "
            f"with a container, or -H 'Content-Type: {NPY}' with a float32 array of codes"
        )
    source: _Source
    if media_type == NPY:
        source = _Vectors(decoders.by_name(wanted), state.settings)
    else:
        if wanted is not None:
            decoders.by_name(wanted)  # refuses an unknown name before the body is read
        source = _Container(decoders, wanted, state.settings)
    writer = _ToNpy() if answer_type == NPY else _ToJson()

    async def work(incoming: Incoming, outgoing: Outgoing, run_part: RunPart) -> None:
        # Codes are small: mostly all of them are here, and checked, before the answer begins.
        await _hold(source, incoming, state.settings.max_body_bytes)
        decoder, count = source.decoder, source.count
        if decoder is None or count is None:
            raise errors.BatchTooLarge(
                f"the container does not say how many images it has, and is longer than the "
                f"{state.settings.max_body_bytes:,} bytes that are held to count them; send it in parts"
            )
        first = await run_part(source.next)
        outgoing.media_type = answer_type
        outgoing.headers["Latentwire-Model"] = decoder.card.full_name
        outgoing.length = writer.length(decoder.card, count)
        await outgoing.write(writer.begin(decoder.card, count))
        if first is not None:
            await outgoing.write(await run_part(_written(writer, first)))
        while True:
            while (pixels := await run_part(source.next)) is not None:
                await outgoing.write(await run_part(_written(writer, pixels)))
            if (data := await incoming.next()) is None:
                break
            source.feed(data)
            if incoming.ended:
                source.finish()
        await outgoing.write(writer.finish())

    return BatchResponse(request, work)


async def _hold(source: _Source, incoming: Incoming, most_bytes: int) -> None:
    while source.held_bytes <= most_bytes:
        if (data := await incoming.next()) is None:
            return
        source.feed(data)
        if incoming.ended:
            source.finish()


def _written(writer: _ToNpy | _ToJson, pixels: image.Pixels) -> Callable[[], bytes]:
    return lambda: writer.add(pixels)
