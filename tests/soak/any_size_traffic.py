"""Good requests about images of any size, with the responses that the codec gives in this process."""

import json
from base64 import b64encode
from collections.abc import Iterator
from typing import TYPE_CHECKING, cast

import numpy as np

from latentwire.any_size.sender import AnySizeSender
from latentwire.format.any_size_container import PayloadContainerWriter
from latentwire.imaging import image
from latentwire.imaging.image import Pixels
from latentwire.imaging.reader import AnySizeReader
from latentwire.selection.any_size import encode_any_size
from latentwire.selection.assessment import GuardedImage
from tests.soak.expectations import (
    JSON,
    NPY,
    OCTETS,
    Check,
    Exchange,
    expected_of,
    fields_of,
    gives,
    gives_code,
    gives_json,
    gives_json_code,
    model_fields,
    route,
)
from tests.soak.known import Known, form, npy

if TYPE_CHECKING:
    from latentwire.any_size.decoder import AnySizeDecoder
    from latentwire.registry import ComponentSet

# Height, width and channels. The large one has four parts.
SMALL = ((1, 1, 3), (1, 400, 1), (42, 64, 3), (128, 85, 1), (192, 128, 3), (300, 200, 3))
TRANSPARENT = ((42, 64, 2), (130, 90, 4))
LARGE = (1300, 1700, 3)
QUALITIES = (0, 35.5, 100)
TARGETS_BYTES = (5, 60, 800)


def any_size_exchanges(known: Known) -> Iterator[tuple[str, Exchange]]:
    """Yield exchanges with their kinds; none if there is no model for images of any size."""
    sender = known.sender.any_size_sender(None)
    if sender is None:
        return
    decoder = cast("ComponentSet[AnySizeDecoder]", known.receiver.decoders).by_name(sender.card.name)
    pictures = [picture(*shape, seed) for seed, shape in enumerate(SMALL)]
    logos = [picture(*shape, seed) for seed, shape in enumerate(TRANSPARENT)]
    large = picture(*LARGE, 7)
    yield from _encoding(sender, pictures, logos, large)
    yield from _decoding(sender, decoder, [*pictures, *logos], large)
    yield from _batches(sender, decoder, [*pictures, *logos])


def picture(height: int, width: int, channels: int, seed: int) -> Pixels:
    """Return smooth shapes and some noise, uint8 (height, width, channels)."""
    random = np.random.default_rng(seed)
    rows, columns = np.mgrid[:height, :width]
    waves = [np.sin(random.uniform(0.01, 0.2) * rows + random.uniform(0.01, 0.2) * columns) for _ in range(channels)]
    found = 127 + 90 * np.stack(waves, -1) + random.normal(0, 4, (height, width, channels))
    pixels: Pixels = found.clip(0, 255).astype(np.uint8)
    if channels % 2 == 0:
        pixels[:, :, -1] = np.where(rows + columns < (height + width) // 2, 255, 0)
    return pixels


def _encoding(
    sender: AnySizeSender, pictures: list[Pixels], logos: list[Pixels], large: Pixels
) -> Iterator[tuple[str, Exchange]]:
    as_bitstream = {"Accept": OCTETS}
    for one in pictures:
        png = image.write_png(one)
        for quality in QUALITIES:
            told = gives_json_code(_sent(sender, png, quality=quality))
            yield "encode an image of any size", Exchange("sender", route("/encode", quality=quality), told, png)
        for target in TARGETS_BYTES:

            def work(png: bytes = png, target: int = target) -> Check:
                return _gives_bitstream(_sent(sender, png, target_bytes=target, may_scale_down=True))

            path = route("/encode", model=sender.card.name, target_bytes=target)
            exchange = Exchange("sender", path, expected_of(work), png, as_bitstream)
            yield "encode an image of any size, target_bytes", exchange
    for one in logos:
        png = image.write_png(one)
        told = gives_json_code(_sent(sender, png))
        yield "encode a transparent image", Exchange("sender", "/encode", told, png)
    png = image.write_png(large)
    whole = _gives_bitstream(_sent(sender, png, quality=50))
    yield "encode a large image", Exchange("sender", "/encode", whole, png, as_bitstream)


def _decoding(
    sender: AnySizeSender, decoder: "AnySizeDecoder", pictures: list[Pixels], large: Pixels
) -> Iterator[tuple[str, Exchange]]:
    model = {"latentwire_model": decoder.card.full_name}
    for one in pictures:
        sent = sender.encode(one, quality=60, measure=False)
        delivered = decoder.decode_raw(sent.payload)
        shown = gives(npy(delivered), NPY, **model)
        yield "decode an image of any size", Exchange("receiver", "/decode", shown, sent.bitstream, {"Accept": NPY})
        told = gives_json(
            model_fields(decoder.card, delivered.shape) | {"image": b64encode(image.write_png(delivered)).decode()}
        )
        yield "decode an image of any size", Exchange("receiver", "/decode", told, sent.bitstream, {"Accept": JSON})
    sent = sender.encode(large, quality=40, measure=False)
    shown = gives(npy(decoder.decode_raw(sent.payload)), NPY, **model)
    yield "decode a large image", Exchange("receiver", "/decode", shown, sent.bitstream, {"Accept": NPY})
    for share in (0.3, 0.6, 0.9):
        cut = sent.bitstream[: int(share * len(sent.bitstream))]

        def work(cut: bytes = cut) -> Check:
            found = decoder.decode_partly(decoder.damaged_payload_of(cut))
            missing = json.dumps([list(area) for area in found.missing])
            return gives(npy(found.pixels), NPY, **model, latentwire_missing=missing)

        path = route("/decode", partial=1)
        yield "decode what is whole", Exchange("receiver", path, expected_of(work), cut, {"Accept": NPY})


def _batches(
    sender: AnySizeSender, decoder: "AnySizeDecoder", pictures: list[Pixels]
) -> Iterator[tuple[str, Exchange]]:
    card, model = sender.card, {"latentwire_model": sender.card.full_name}
    for images in (pictures, pictures[-1:]):
        files = [image.write_png(one) for one in images]
        body, content_type = form(*files)
        typed = {"Content-Type": content_type}
        all_sent = [_sent(sender, png, quality=20) for png in files]
        container = _container(sender, all_sent)
        path = route("/encode/batch", quality=20)
        whole = gives(container, OCTETS, **model)
        yield "encode a batch of any sizes", Exchange("sender", path, whole, body, typed)
        entries = [fields_of(sent) | {"shape": list(sent.shape)} for sent in all_sent]
        nothing = {"model": card.name, "model_id": card.model_id, "shape": None}
        told = gives_json(nothing | {"images": entries})
        yield "encode a batch of any sizes", Exchange("sender", path, told, body, {**typed, "Accept": JSON})
        pngs = [b64encode(image.write_png(one)).decode() for one in decoder.decode_batch([container])]
        shown = gives_json(nothing | {"images": pngs})
        yield "decode a batch of any sizes", Exchange("receiver", "/decode/batch", shown, container)


def _sent(
    sender: AnySizeSender,
    png: bytes,
    *,
    quality: float | None = None,
    target_bytes: int | None = None,
    may_scale_down: bool = False,
) -> GuardedImage:
    read = AnySizeReader().read(png)
    return encode_any_size(sender, read, quality=quality, target_bytes=target_bytes, may_scale_down=may_scale_down)


def _gives_bitstream(sent: GuardedImage) -> Check:
    return gives_code(sent.card, sent, lambda code: code.bitstream)


def _container(sender: AnySizeSender, all_sent: list[GuardedImage]) -> bytes:
    writer = PayloadContainerWriter(sender.card.fingerprint)
    return b"".join([*(writer.add(sent.encoded.payload) for sent in all_sent), writer.finish()])
