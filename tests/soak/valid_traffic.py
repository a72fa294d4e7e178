"""Good requests: every route, type and parameter, with the responses that the codec gives in this process.

The halves of a service and images enter; exchanges leave, by kind.
"""

from base64 import b64encode
from collections.abc import Iterator
from functools import partial
from typing import cast

import numpy as np

from latentwire.encoder import EncodedImage
from latentwire.imaging import image
from latentwire.imaging.image import Pixels
from latentwire.imaging.reader import ImageReader
from latentwire.inference_protocol.graphs import Floats, Graph, find_graph
from latentwire.inference_protocol.messages import Limits, infer
from latentwire.model.card import ModelCard
from latentwire.options import ON_OOD, VERIFY, OnOod, Verify
from latentwire.registry import Registry
from tests.soak.any_size_traffic import any_size_exchanges
from tests.soak.expectations import (
    JSON,
    NPY,
    OCTETS,
    PNG,
    Check,
    Exchange,
    Half,
    expected_of,
    fields_of,
    gives,
    gives_code,
    gives_json,
    gives_json_code,
    json_bytes,
    model_fields,
    refuses,
    route,
    succeeds,
)
from tests.soak.known import Known, container, form, noise_image, npy, or_any_size

Found = Iterator[tuple[str, Exchange]]

TARGETS_BYTES = (4, 12, 14, 18, 24, 200, 2000)
MIN_PSNRS_DB = (5, 18, 21.5, 24, 40)
# Images of each model that are sent alone; the others are for batches.
SINGLE = 12


def valid_exchanges(known: Known, *, metrics_are_hidden: bool) -> dict[str, list[Exchange]]:
    """Return the exchanges of each kind; `/metrics` is hidden behind the edge."""
    kinds: dict[str, list[Exchange]] = {}
    for name, pixels in known.images.items():
        for found in (_single_images, _ood_images, _single_codes, _inferences, _image_batches, _code_batches):
            for kind, exchange in found(known, name, pixels):
                kinds.setdefault(kind, []).append(exchange)
    for kind, exchange in (*_ladder(known), *any_size_exchanges(known), *_pages(known, metrics_are_hidden)):
        kinds.setdefault(kind, []).append(exchange)
    return kinds


def _whole(code: EncodedImage) -> bytes:
    return code.bitstream


def _raw(code: EncodedImage) -> bytes:
    return code.payload


def _single_images(known: Known, name: str, pixels: Pixels) -> Found:
    guard = known.sender.guard(name)
    card = guard.card
    for number, one in enumerate(pixels[:SINGLE]):
        sent = guard.encode(one)
        png = image.write_png(one)
        is_named = name != known.sender.default or number % 2 == 0
        best = sent if is_named else or_any_size(known, one, partial(guard.encode, one, above=known.sender.above))
        whole, told = gives_code(best.card, best, _whole), gives_json_code(best)
        model = route("/encode", model=name if is_named else None)
        bitstream = {"Accept": OCTETS}
        yield "encode, bitstream", Exchange("sender", model, whole, png, {"Content-Type": PNG, **bitstream})
        yield "encode, JSON", Exchange("sender", model, told, png, {"Content-Type": OCTETS})
        body, content_type = form(png)
        yield "encode a form", Exchange("sender", model, told, body, {"Content-Type": content_type})
        raw = gives_code(card, sent, _raw)
        path = route("/encode", model=name, framing="raw")
        yield "encode, raw", Exchange("sender", path, raw, png, {"Content-Type": PNG, **bitstream})
        for file_format, media_type in (("BMP", "image/bmp"), ("WEBP", "image/webp")):
            if file_format == "WEBP" and card.image.channels == 1:
                continue  # it has no grey
            data = image.write_file(one, file_format, **({"lossless": True} if file_format == "WEBP" else {}))
            yield (
                f"encode {file_format}",
                Exchange("sender", model, whole, data, {"Content-Type": media_type, **bitstream}),
            )
        larger = np.repeat(np.repeat(one, 2 + number % 2, axis=0), 2, axis=1)
        for fit in ("resize", "pad"):
            data = image.write_png(larger) if number % 2 else image.write_file(larger, "JPEG")
            read = ImageReader(card.image, fit).read(data)
            fitted = guard.encode(read.pixels).after(read.fitting)
            path = route("/encode", model=name, fit=fit)
            yield f"encode, {fit}", Exchange("sender", path, gives_code(card, fitted, _whole), data, bitstream)


def _ood_images(known: Known, name: str, pixels: Pixels) -> Found:
    guard = known.sender.guard(name)
    card = guard.card
    some = [noise_image(card, seed) for seed in range(2)] + list(pixels[:2])
    for one in some:
        png = image.write_png(one)
        for on_ood in ON_OOD:
            for max_mse in (None, 0.004) if guard.has_decoder else (None,):
                path = route("/encode", model=name, on_ood=on_ood, max_mse=max_mse)

                def work(one: Pixels = one, on_ood: OnOod = on_ood, max_mse: float | None = max_mse) -> Check:
                    return gives_json_code(guard.encode(one, on_ood, max_mse))

                yield "encode, guarded", Exchange("sender", path, expected_of(work), png)


def _ladder(known: Known) -> Found:
    ladder = known.sender.ladder()
    default = cast(ModelCard, known.sender.card(known.sender.default))
    for one in (*known.images[default.name][:4], noise_image(default, 3)):
        png = image.write_png(one)
        for on_ood in ON_OOD:
            for target_bytes in TARGETS_BYTES:
                path = route("/encode", target_bytes=target_bytes, on_ood=on_ood)

                def fitting(one: Pixels = one, size: int = target_bytes, on_ood: OnOod = on_ood) -> Check:
                    best = partial(ladder.best_within, one, size, lambda code: len(code.bitstream), on_ood)
                    sent = or_any_size(known, one, best, on_ood, target_bytes=size)
                    return gives_code(sent.card, sent, _whole)

                yield "encode, target_bytes", Exchange("sender", path, expected_of(fitting), png, {"Accept": OCTETS})
            for least in MIN_PSNRS_DB:
                path = route("/encode", min_psnr=least, on_ood=on_ood)

                def reaching(one: Pixels = one, least: float = least, on_ood: OnOod = on_ood) -> Check:
                    smallest = partial(ladder.smallest_reaching, one, least, on_ood)
                    return gives_json_code(or_any_size(known, one, smallest, on_ood, min_psnr_db=least))

                yield "encode, min_psnr", Exchange("sender", path, expected_of(reaching), png)


def _single_codes(known: Known, name: str, pixels: Pixels) -> Found:
    encoder, decoder, guard = known.encoder(name), known.decoder(name), known.sender.guard(name)
    card = decoder.card
    headers = {"latentwire_model": card.full_name}
    for one in (*pixels[:SINGLE], noise_image(card, 5)):
        sent = guard.encode(one)
        bitstream = sent.encoded.bitstream
        (delivered,) = decoder.decode([bitstream])
        png = image.write_png(delivered)
        shown = gives(png, PNG, **headers)
        typed = {"Content-Type": OCTETS}
        yield "decode, PNG", Exchange("receiver", "/decode", shown, bitstream, typed)
        webp = gives(image.write_webp(delivered), "image/webp", **headers)
        yield "decode, WebP", Exchange("receiver", "/decode", webp, bitstream, {"Accept": "image/webp"})
        array = gives(npy(delivered), NPY, **headers)
        yield (
            "decode, npy",
            Exchange("receiver", route("/decode", model=name), array, bitstream, {"Accept": NPY, **typed}),
        )
        told = gives_json(model_fields(card, delivered.shape) | {"image": b64encode(png).decode()})
        yield "decode, JSON", Exchange("receiver", "/decode", told, bitstream, {"Accept": JSON, **typed})
        as_json = {"Content-Type": JSON}
        content = json_bytes({"bitstream": b64encode(bitstream).decode()})
        yield "decode a payload", Exchange("receiver", "/decode", shown, content, as_json)
        content = json_bytes(model_fields(card, sent.shape) | fields_of(sent))
        yield "decode a response of /encode", Exchange("receiver", "/decode", shown, content, as_json)
        for called in (name, card.full_name):
            path = route("/decode", framing="raw", model=called)
            yield "decode, raw", Exchange("receiver", path, shown, sent.encoded.payload, typed)
    for y in encoder.y(pixels[:SINGLE]):
        vector = [float(str(number)) for number in y]
        point = gives(image.write_png(decoder.decode_vector(vector)), PNG, **headers)
        content = json_bytes({"code": vector, "model": name})
        yield "decode numbers", Exchange("receiver", "/decode", point, content, {"Content-Type": JSON})


def _inferences(known: Known, name: str, pixels: Pixels) -> Found:
    limits = Limits(len(pixels), 1 << 20)
    x = image.to_x(pixels[:3])
    halves: list[tuple[Half, Graph, Floats]] = [
        ("sender", find_graph(known.sender, f"{name}.encoder"), x),
        ("receiver", find_graph(known.receiver, f"{name}.decoder"), known.encoder(name).y_of(x)),
    ]
    for half, graph, values in halves:
        path, model = f"/v2/models/{graph.name}/infer", graph.card.full_name
        given = graph.input.metadata(len(values))
        body = json_bytes({"id": "1", "inputs": [{**given, "data": values.ravel().tolist()}]})
        answer = infer(graph, body, None, limits)
        told = gives(answer.content, JSON, latentwire_model=model)
        yield "infer, JSON", Exchange(half, path, told, body, {"Content-Type": JSON})
        given["parameters"] = {"binary_data_size": values.nbytes}
        head = json_bytes({"inputs": [given], "parameters": {"binary_data_output": True}})
        length = str(len(head))
        answer = infer(graph, head + values.tobytes(), length.encode(), limits)
        told = gives(answer.content, OCTETS, inference_header_content_length=str(answer.json_bytes))
        headers = {"Content-Type": OCTETS, "Inference-Header-Content-Length": length}
        yield "infer, binary", Exchange(half, path, told, head + values.tobytes(), headers)


def _image_batches(known: Known, name: str, pixels: Pixels) -> Found:
    encoder, guard = known.encoder(name), known.sender.guard(name)
    card = encoder.card
    path = route("/encode/batch", model=name)
    headers = {"latentwire_model": card.full_name}
    mixed = np.concatenate([pixels, noise_image(card, 7)[None], pixels[:1]])
    array = {"Content-Type": NPY}
    for images in (pixels, mixed, pixels[:1], pixels[:0]):
        whole = gives(container(known, name, images, len(images)), OCTETS, **headers)
        yield "encode a batch", Exchange("sender", path, whole, npy(images), array)
    for on_ood in ON_OOD:
        for verify in VERIFY if guard.has_decoder else VERIFY[:1]:

            def work(on_ood: OnOod = on_ood, verify: Verify = verify) -> Check:
                return gives(container(known, name, mixed, len(mixed), on_ood, verify=verify), OCTETS, **headers)

            judged = route("/encode/batch", model=name, on_ood=on_ood, verify=verify)
            yield "encode a batch, guarded", Exchange("sender", judged, expected_of(work), npy(mixed), array)
    # Another batch size may change the last digits of values that are not quantized, so these fit one run of the graph.
    few = next(image.slices(pixels, card.image))
    numbers = gives(npy(encoder.y(few).astype("<f4")), NPY, **headers)
    yield "encode a batch, npy", Exchange("sender", path, numbers, npy(few), {**array, "Accept": NPY})
    assessments = zip(few, guard.assess(few), strict=True)
    entries = [fields_of(guard.apply_policy(one, assessment, "fallback")) for one, assessment in assessments]
    told = gives_json(model_fields(card, few.shape[1:]) | {"images": entries})
    yield "encode a batch, JSON", Exchange("sender", path, told, npy(few), {**array, "Accept": JSON})
    body, content_type = form(*(image.write_png(one) for one in few))
    whole = gives(container(known, name, few, 0), OCTETS, **headers)
    yield "encode a form of images", Exchange("sender", path, whole, body, {"Content-Type": content_type})


def _code_batches(known: Known, name: str, pixels: Pixels) -> Found:
    encoder, decoder = known.encoder(name), known.decoder(name)
    card = decoder.card
    headers = {"latentwire_model": card.full_name}
    mixed = np.concatenate([pixels, noise_image(card, 7)[None], pixels[:1]])
    for images in (pixels, mixed, pixels[:1]):
        codes = container(known, name, images, len(images))
        delivered = np.concatenate(list(decoder.decode_batch([codes])))
        array = gives(npy(delivered), NPY, **headers)
        yield "decode a batch", Exchange("receiver", "/decode/batch", array, codes, {"Content-Type": OCTETS})
        files = [b64encode(image.write_png(one)).decode() for one in delivered]
        told = gives_json(model_fields(card, delivered.shape[1:]) | {"images": files})
        yield "decode a batch, JSON", Exchange("receiver", "/decode/batch", told, codes, {"Accept": JSON})
    y = encoder.y(next(image.slices(pixels, card.image)))
    array = gives(npy(decoder.decode_vectors(y)), NPY, **headers)
    path = route("/decode/batch", model=name)
    yield "decode a batch of numbers", Exchange("receiver", path, array, npy(y), {"Content-Type": NPY})


def _pages(known: Known, metrics_are_hidden: bool) -> Found:
    halves: tuple[tuple[Half, Registry], ...] = (("sender", known.sender), ("receiver", known.receiver))
    for half, registry in halves:
        cards = {name: card.model_dump(mode="json") for name, card in registry.cards.items()}
        summaries = [card.summary() for card in registry.cards.values()]
        defaults = {"default": registry.default, "default_any_size": registry.default_any_size}
        listed = gives_json({**defaults, "models": summaries})
        yield "list models", Exchange(half, "/models", listed, method="GET")
        for name, card in cards.items():
            yield "show a model", Exchange(half, f"/models/{name}", gives_json(card), method="GET")
        yield "probe", Exchange(half, "/livez", gives_json({"status": "alive"}), method="GET")
        yield (
            "probe",
            Exchange(half, "/readyz", gives_json({"status": "ready", "unavailable_models": {}}), method="GET"),
        )
        for page in ("/openapi.json", "/docs"):
            yield "open a page", Exchange(half, page, succeeds, method="GET")
        metrics = refuses("not-found") if metrics_are_hidden else succeeds
        yield "open a page", Exchange(half, "/metrics", metrics, method="GET")
