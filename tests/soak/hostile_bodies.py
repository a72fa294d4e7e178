"""Hostile JSON, arrays and forms."""

import io
from random import Random
from typing import cast

import numpy as np

from latentwire.format.code_json import MAX_CODE_ELEMENTS, MAX_COMMAS, MAX_LISTS_AND_OBJECTS
from latentwire.imaging import image
from latentwire.model.card import ModelCard
from tests.soak.expectations import JSON, NPY, PNG, Exchange, json_bytes, refuses, route
from tests.soak.known import Known, form, npy

VECTOR_CODES = ("invalid-code", "invalid-json", "invalid-vector")


def bad_json(known: Known, random: Random) -> Exchange:
    """Return a request with JSON of a code that is none."""
    card = cast(ModelCard, known.receiver.card(random.choice(sorted(known.images))))
    numbers = [0.5] * card.code_size
    # Bitstreams of images of any size may be long, so where there are such models a long list is read, too.
    is_read = any(each.kind == "any-size" for each in known.receiver.cards.values())
    content, codes = random.choice(
        [
            (b"", ("invalid-json",)),
            (b"[" * 50_000, ("invalid-json",)),
            (b'{"code":' + b"[" * MAX_LISTS_AND_OBJECTS, ("invalid-json",)),
            (b'{"code": [NaN]}', ("invalid-json",)),
            (b'{"code": [1], "code": [2]}', ("invalid-json",)),
            (b'{"code": [' + b"9" * 5000 + b"]}", ("invalid-json",)),
            (b'\xff\xfe{"code": []}', ("invalid-json",)),
            (b"[1, 2]", ("invalid-json",)),
            (b'{"code": [1e400]}', ("invalid-code",)),
            (json_bytes({"code": ["1"]}), ("invalid-code",)),
            (json_bytes({"code": [True] * card.code_size}), ("invalid-code",)),
            (
                json_bytes({"code": [0] * MAX_CODE_ELEMENTS}),
                ("invalid-vector" if is_read else "body-too-large",),
            ),
            (
                json_bytes({"code": [0] * (MAX_CODE_ELEMENTS + 1)}),
                ("invalid-code" if is_read else "body-too-large",),
            ),
            (
                json_bytes({"code": [0] * (MAX_COMMAS + 2)}),
                ("invalid-json" if is_read else "body-too-large",),
            ),
            (json_bytes({}), ("invalid-code",)),
            (json_bytes({"bitstream": "%%%"}), ("invalid-code",)),
            (json_bytes({"bitstream": ""}), ("invalid-code",)),
            (json_bytes({"code": [*numbers, 1], "model": card.name}), ("invalid-vector",)),
            (json_bytes({"code": [], "model": card.name}), ("invalid-vector",)),
            (json_bytes({"code": [1e39] * card.code_size, "model": card.name}), ("invalid-vector",)),
            (json_bytes({"code": numbers, "model": "no-such-model"}), ("unknown-model",)),
            (json_bytes({"code": numbers, "model": "../" + card.name}), ("unknown-model",)),
            (json_bytes({"code": numbers, "model": card.name, "model_id": "0" * 64}), ("model-mismatch",)),
            (random.randbytes(200), VECTOR_CODES),
        ]
    )
    return Exchange("receiver", "/decode", refuses(*codes), content, {"Content-Type": JSON})


def bad_array(known: Known, random: Random) -> Exchange:
    """Return a request with an array that is none, or not of the model's images."""
    name = random.choice(sorted(known.images))
    pixels = known.images[name][:3]
    whole = npy(pixels)
    height, width, channels = pixels.shape[1:]
    objects = io.BytesIO()
    np.save(objects, np.array([{}, print], dtype=object), allow_pickle=True)
    data, code = random.choice(
        [
            (b"", "invalid-array"),
            (random.randbytes(300), "invalid-array"),
            (whole[: random.randrange(len(whole))], "invalid-array"),
            (whole + b"\0", "invalid-array"),
            (objects.getvalue(), "invalid-array"),
            (npy(pixels.astype(np.float64)), "invalid-array"),
            (npy(pixels.astype(np.int8)), "invalid-array"),
            (npy(np.asfortranarray(np.repeat(pixels, 2, axis=0))), "invalid-array"),
            (npy(pixels[0, 0]), "invalid-array"),
            (npy(pixels[:, :-1]), "image-mismatch"),
            (_array_that_claims((10**9, height, width, channels)), "batch-too-large"),
            (_array_that_claims((1, 10**6, 10**6, channels)), "image-too-large"),
        ]
    )
    return Exchange("sender", route("/encode/batch", model=name), refuses(code), data, {"Content-Type": NPY})


def bad_form(known: Known, random: Random) -> Exchange:
    """Return a request with a form without exactly one image."""
    body, content_type = form(image.write_png(random.choice(known.images[sorted(known.images)[0]])))
    data, declared, code = random.choice(
        [
            (body[: random.randrange(len(body) - 4)], content_type, "invalid-multipart"),
            (b"", content_type, "invalid-multipart"),
            (random.randbytes(300), content_type, "invalid-multipart"),
            (body, "multipart/form-data", "invalid-multipart"),
            (body, "multipart/form-data; boundary=" + "b" * 71, "invalid-multipart"),
            (
                body.replace(b"filename", b"other").replace(PNG.encode(), b"text/plain"),
                content_type,
                "invalid-multipart",
            ),
            (*form(b"", b""), "invalid-multipart"),
            (*form(*[b""] * 500), "invalid-multipart"),
            (*form(b"not an image"), "invalid-image"),
        ]
    )
    return Exchange("sender", "/encode", refuses(code), data, {"Content-Type": declared})


def _array_that_claims(shape: tuple[int, ...]) -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"descr": "|u1", "fortran_order": False, "shape": shape})
    return buffer.getvalue()
