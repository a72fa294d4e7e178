"""Hostile requests in valid HTTP: damaged, lying, oversized and misaddressed ones, made anew each time.

The correct response is what the library says about the same bytes in this process, or what docs/API.md describes.
"""

import io
from base64 import b64encode
from collections.abc import Callable
from functools import partial
from random import Random

import numpy as np
from PIL import Image

from latentwire.format.bitstream import read_bitstream, write_bitstream
from latentwire.format.container_reader import FrameReader
from latentwire.format.container_writer import FrameWriter
from latentwire.imaging import image
from latentwire.imaging.reader import AnySizeReader, ImageReader
from latentwire.options import FITS, Fit
from latentwire.selection.any_size import encode_any_size
from service.settings import Settings
from tests.contract.hostile_codes import FOLDER
from tests.service.hostile import BAD_IMAGES, png_that_claims
from tests.soak.expectations import (
    JSON,
    NPY,
    OCTETS,
    PNG,
    Check,
    Exchange,
    Half,
    expected_of,
    gives,
    gives_code,
    gives_json_code,
    json_bytes,
    refuses,
    route,
)
from tests.soak.hostile_bodies import VECTOR_CODES, bad_array, bad_form, bad_json
from tests.soak.known import Known, container, form, npy

Make = Callable[[Random], Exchange]

POSTED: dict[str, Half] = {
    "/encode": "sender",
    "/decode": "receiver",
    "/encode/batch": "sender",
    "/decode/batch": "receiver",
}
# The refusals of a damaged container: the damage itself, or what follows from it.
CONTAINER_CODES = ("damaged-chunk", "invalid-code", "unsupported-version", "model-mismatch", "batch-too-large")


def damaged(data: bytes, random: Random) -> bytes:
    """Return `data` cut, with a flipped bit, appended to, with a piece missing or replaced, or random bytes instead."""
    at = random.randrange(len(data) + 1)
    some = random.randbytes(random.randint(1, 12))
    return random.choice(
        [
            data[:at],
            data[:at] + bytes(byte ^ 1 << random.randrange(8) for byte in data[at : at + 1]) + data[at + 1 :],
            data + some,
            data[:at] + data[random.randrange(len(data) + 1) :],
            data[:at] + some + data[at + len(some) :],
            random.randbytes(random.randint(0, 200)),
        ]
    )


class Hostile:
    """Makes hostile requests; `kinds` lists them."""

    def __init__(self, known: Known) -> None:
        """Take the models and images; the service has the default limits."""
        self._known = known
        self._names = sorted(known.images)
        self._files = sorted(FOLDER.iterdir())
        self._too_many = bytes(Settings.model_fields["max_body_bytes"].default + 1)

    def kinds(self) -> dict[str, Make]:
        """Return what makes a request of each kind."""
        return {
            "damaged code": self._damaged_code,
            "damaged raw code": self._damaged_raw_code,
            "payload in a sound frame": self._any_payload,
            "damaged container": self._damaged_container,
            "hostile file": self._hostile_file,
            "damaged image": self._damaged_image,
            "bad image": self._bad_image,
            "image that claims to be large": self._bomb,
            "bad JSON": partial(bad_json, self._known),
            "bad array": partial(bad_array, self._known),
            "bad form": partial(bad_form, self._known),
            "wrong type": self._wrong_type,
            "wrong path": self._wrong_path,
            "wrong parameter": self._wrong_parameter,
            "body over the limit": self._too_long,
            **({"other half's route": self._wrong_half} if self._known.sender is not self._known.receiver else {}),
        }

    def _damaged_code(self, random: Random) -> Exchange:
        name = random.choice(self._names)
        data = damaged(self._known.encoder(name).encode(self._one(name, random)[None])[0].bitstream, random)
        return self._decoding(data)

    def _decoding(self, data: bytes) -> Exchange:
        def work() -> Check:
            decoder = self._known.decoder_of(read_bitstream(data).fingerprint)
            (pixels,) = decoder.decode([data])
            return gives(image.write_png(pixels), PNG, latentwire_model=decoder.card.full_name)

        return Exchange("receiver", "/decode", expected_of(work), data, {"Content-Type": OCTETS})

    def _damaged_raw_code(self, random: Random) -> Exchange:
        name = random.choice(self._names)
        data = damaged(self._known.encoder(name).encode(self._one(name, random)[None])[0].payload, random)
        return self._decoding_raw(name, data)

    def _decoding_raw(self, name: str, data: bytes) -> Exchange:
        decoder = self._known.decoder(name)

        def work() -> Check:
            return gives(image.write_png(decoder.decode_raw([data])[0]), PNG)

        path = route("/decode", framing="raw", model=name)
        return Exchange("receiver", path, expected_of(work), data, {"Content-Type": OCTETS})

    def _any_payload(self, random: Random) -> Exchange:
        decoder = self._known.decoder(random.choice(self._names))
        payload = random.randbytes(random.randint(1, 40))
        bitstream = write_bitstream(payload, decoder.card.fingerprint)
        if random.random() < 0.5:
            return self._decoding(bitstream)

        def work() -> Check:
            return gives(image.write_png(decoder.decode([bitstream])[0]), PNG)

        content = json_bytes({"bitstream": b64encode(bitstream).decode()})
        return Exchange("receiver", "/decode", expected_of(work), content, {"Content-Type": JSON})

    def _damaged_container(self, random: Random) -> Exchange:
        name = random.choice(self._names)
        pixels = self._known.images[name][: random.randint(1, 20)]
        whole = container(self._known, name, pixels, len(pixels))
        if random.random() < 0.5:
            data = damaged(whole, random)
        else:
            # With checksums that are right.
            reader = FrameReader()
            reader.feed(whole)
            frame = reader.take()
            writer = FrameWriter(self._known.encoder(name).card.fingerprint)
            body = damaged(frame.body if frame else b"", random)
            data = writer.header() + writer.chunk(len(pixels), body) + writer.end()
        decoder = self._known.decoder(name)

        def work() -> Check:
            delivered = np.concatenate([decoder.decode([])[:0], *decoder.decode_batch([data])])
            return gives(npy(delivered), NPY)

        try:
            check = expected_of(work)
        except MemoryError:
            raise AssertionError("the codec took too much memory for a damaged container") from None
        return Exchange("receiver", "/decode/batch", check, data, {"Content-Type": OCTETS})

    def _hostile_file(self, random: Random) -> Exchange:
        path = random.choice(self._files)
        data = path.read_bytes()
        kind = path.name.partition("-")[0]
        if kind == "card":
            return Exchange("receiver", "/decode", refuses(*VECTOR_CODES), data, {"Content-Type": JSON})
        if kind == "container":
            return Exchange("receiver", "/decode/batch", refuses(*CONTAINER_CODES), data)
        return self._decoding(data) if kind == "code" else self._decoding_raw(random.choice(self._names), data)

    def _damaged_image(self, random: Random) -> Exchange:
        name = random.choice(self._names)
        pixels = self._one(name, random)
        whole = image.write_png(pixels) if random.random() < 0.5 else image.write_file(pixels, "BMP")
        data = damaged(whole, random)
        guard = self._known.sender.guard(name)

        def work() -> Check:
            sent = guard.encode(image.read_image(data, guard.card.image))
            return gives_code(guard.card, sent, lambda code: code.bitstream)

        headers = {"Content-Type": PNG, "Accept": OCTETS}
        return Exchange("sender", route("/encode", model=name), expected_of(work), data, headers)

    def _bad_image(self, random: Random) -> Exchange:
        data, _, code = random.choice(list(BAD_IMAGES.values()))
        model = random.choice([None, self._known.sender.default])
        sender = self._known.sender.any_size_sender(model)
        check = refuses(code)
        if sender is not None and code == "image-mismatch":
            # A vector model refuses it.
            check = expected_of(lambda: gives_json_code(encode_any_size(sender, AnySizeReader().read(data))))
        path = route("/encode", model=model)
        if random.random() < 0.5:
            return Exchange("sender", path, check, data)
        body, content_type = form(data)
        return Exchange("sender", path, check, body, {"Content-Type": content_type})

    def _bomb(self, random: Random) -> Exchange:
        fit: Fit = random.choice(FITS)
        if random.random() < 0.7:
            side = random.choice([7072, 20_000, 2**31 - 1])
            path = route("/encode", fit=fit)
            return Exchange("sender", path, refuses("image-too-large"), png_that_claims(side, side))
        # Just within the limit: all of it must be unpacked. A model for images of any size would take minutes.
        buffer = io.BytesIO()
        Image.new("L", (7071, 7071), 200).save(buffer, "PNG")
        data, guard = buffer.getvalue(), self._known.sender.guard(None)

        def work() -> Check:
            read = ImageReader(guard.card.image, fit).read(data)
            return gives_code(guard.card, guard.encode(read.pixels).after(read.fitting), lambda code: code.bitstream)

        path = route("/encode", fit=fit, model=guard.card.name)
        return Exchange("sender", path, expected_of(work), data, {"Accept": OCTETS})

    def _wrong_type(self, random: Random) -> Exchange:
        path, half = random.choice(list(POSTED.items()))
        if random.random() < 0.5:
            content_type = random.choice(["text/plain", "application/xml", "text/html", "x" * 300, "/"])
            return Exchange(half, path, refuses("unsupported-media-type"), b"x", {"Content-Type": content_type})
        accept = random.choice(["text/html", "image/png;q=0, text/*", "application/", "," * 3000, "video/mp4"])
        return Exchange(half, path, refuses("not-acceptable"), b"x", {"Accept": accept, "Content-Type": _takes(path)})

    def _wrong_path(self, random: Random) -> Exchange:
        path, half = random.choice(list(POSTED.items()))
        if random.random() < 0.3:
            method = random.choice(["GET", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "SEARCH"])
            return Exchange(half, path, refuses("method-not-allowed"), b"", method=method)
        wrong = random.choice(
            ["/nope", f"{path}/x", f"/{path[1:].upper()}", f"{path}/..%2f..%2fetc%2fpasswd", "/model", "/.git/config"]
        )
        # nginx refuses a path that leads out of the root.
        return Exchange(half, wrong, refuses("not-found", "invalid-request"), b"x" * random.randint(0, 100))

    def _wrong_half(self, random: Random) -> Exchange:
        path, half = random.choice(list(POSTED.items()))
        other: Half = "sender" if half == "receiver" else "receiver"
        return Exchange(other, path, refuses("wrong-role"), b"x" * random.randint(0, 1000))

    def _wrong_parameter(self, random: Random) -> Exchange:
        path, half = random.choice(list(POSTED.items()))
        headers = {"Content-Type": _takes(path)}
        query, code = random.choice(
            [
                ("model=no-such-model", "unknown-model"),
                (f"model={self._names[0]}%00", "unknown-model"),
                ("model=../../etc/passwd", "unknown-model"),
                ("model=" + "x" * 5000, "unknown-model"),
                (f"model={self._names[0]}&model={self._names[0]}", "invalid-parameter"),
                ("api_key=secret", "invalid-parameter"),
                ("&".join(f"p{number}=1" for number in range(20)), "invalid-parameter"),
                ("%ff=%ff", "invalid-parameter"),
                (f"{random.choice(['fit', 'framing', 'on_ood'])}=nonsense", "invalid-parameter"),
                (f"target_bytes={random.choice(['0', '-1', '1e3', 'x', '9' * 30])}", "invalid-parameter"),
                (f"max_mse={random.choice(['2', 'nan', 'inf', '-0', ''])}", "invalid-parameter"),
            ]
        )
        return Exchange(half, f"{path}?{query}", refuses(code), b"x", headers)

    def _too_long(self, random: Random) -> Exchange:
        path: str = random.choice(["/encode", "/decode"])
        content_type = random.choice([OCTETS, JSON if path == "/decode" else "multipart/form-data; boundary=b"])
        return Exchange(POSTED[path], path, refuses("body-too-large"), self._too_many, {"Content-Type": content_type})

    def _one(self, name: str, random: Random) -> image.Pixels:
        pixels: image.Pixels = random.choice(self._known.images[name])
        return pixels


def _takes(path: str) -> str:
    return NPY if path == "/encode/batch" else OCTETS
