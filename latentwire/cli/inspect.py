"""`latentwire inspect`: shows what bitstreams and containers hold, without decoding them.

It needs no graphs, and no model either; with the card of the model it also shows the symbols, or the parts of an image
of any size.
"""

import argparse
import json
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from latentwire.cli.chunk_stream import read_frames
from latentwire.cli.console import Console, WrongUsage, pluralize
from latentwire.cli.files import BITSTREAM_SUFFIXES, FileProblem, find_sources, read_pieces, read_whole
from latentwire.cli.models import AnyCard, Models
from latentwire.entropy.arithmetic import ArithmeticCoder
from latentwire.errors import CodeError, DamagedChunk, InvalidCode, ModelError, ModelMismatch
from latentwire.format import any_size, any_size_lossless, container, lossless
from latentwire.format.alpha import split_body
from latentwire.format.any_size_container import read_payloads
from latentwire.format.bitstream import VERSION, read_bitstream, read_damaged_bitstream
from latentwire.format.chunk_coder import ChunkCoder, read_lossless
from latentwire.format.container import Frame
from latentwire.format.container_reader import FrameReader
from latentwire.model.any_size_card import AnySizeCard

Report = dict[str, Any]

_LABEL_WIDTH = 10

_CHANNELS = {1: "grey", 2: "grey and alpha", 3: "RGB", 4: "RGB and alpha"}


class Finding(NamedTuple):
    """What a file holds, empty if that cannot be read, and what is wrong with it."""

    report: Report
    errors: list[CodeError]


def inspect(arguments: argparse.Namespace, console: Console) -> None:
    """Show all files of a command line.

    Raises:
        WrongUsage: the command line cannot be carried out.
        InvalidCard: the card of `--model` cannot be used.
    """
    raw = arguments.framing == "raw"
    if arguments.model is not None and not raw:
        raise WrongUsage("--model goes with --framing raw; in the full framing each bitstream names its model")
    models = Models(arguments.models_dir)
    card = models.card(arguments.model) if arguments.model is not None else None
    for source in find_sources(arguments.files, BITSTREAM_SUFFIXES[arguments.framing], "bitstreams", console):
        try:
            with source.open() as file:
                finding = _inspect_raw(read_whole(file), card, models) if raw else _inspect(file, models)
        except (FileProblem, OSError) as error:
            console.fail(source.name, error)
            continue
        report, errors = finding
        if arguments.json:
            console.result(json.dumps({"file": source.name, **report, "errors": [str(error) for error in errors]}))
        elif report:
            for line in [source.name, *_lines(report, arguments.models_dir)]:
                console.result(line)
        for damage in errors:
            console.fail(source.name, damage)


def _inspect(file: BinaryIO, models: Models) -> Finding:
    begin = file.read(1)
    if begin == bytes((container.MAGIC,)):
        return _inspect_container(read_pieces(file, begin), models)
    data, damage = read_whole(file, begin), None
    try:
        parsed = read_bitstream(data)
    except CodeError as error:
        damage = error
        try:
            parsed = read_damaged_bitstream(data)
        except CodeError:
            return Finding({}, [damage])
    card = _find_card(models, parsed.fingerprint)
    report = {"kind": "bitstream", "version": VERSION, "bytes": len(data), **_whose(card, parsed.fingerprint)}
    if damage is not None and not isinstance(card, AnySizeCard):
        return Finding({}, [damage])
    found = _inspect_payload(parsed.payload, card, models, report)
    return found if damage is None else Finding(found.report, [damage, *found.errors])


def _inspect_raw(payload: bytes, card: AnyCard | None, models: Models) -> Finding:
    whose = _whose(card, card.fingerprint if card else None)
    report = {"kind": "raw payload", "version": None, "bytes": len(payload), **whose}
    return _inspect_payload(payload, card, models, report)


def _inspect_payload(payload: bytes, card: AnyCard | None, models: Models, report: Report) -> Finding:
    report |= {"payload_bytes": len(payload), "holds": None, "symbols": None, "ideal_bits": None}
    if isinstance(card, AnySizeCard):
        return _inspect_any_size(payload, card, models, report)
    try:
        if lossless.is_lossless(payload):
            report["holds"] = _kind(payload[len(lossless.MARKER) :])
            if card is not None:
                lossless.read_payload(payload, card.image)
        elif card is None:
            report["holds"] = "symbols"
        else:
            coder = ArithmeticCoder(card.tables)
            symbols = coder.decode(payload)
            report |= {
                "holds": "symbols",
                "symbols": symbols.tolist(),
                "ideal_bits": float(coder.ideal_bits(symbols[None])[0]),
            }
    except CodeError as error:
        return Finding(report, [error])
    return Finding(report, [])


def _inspect_any_size(payload: bytes, card: AnySizeCard, models: Models, report: Report) -> Finding:
    errors: list[CodeError] = []
    try:
        if lossless.is_lossless(payload):
            header = any_size_lossless.read_lossless_header(payload)
            report["holds"] = _kind(payload[len(lossless.MARKER) + len(header.write()) :])
            return Finding(report | {"shape": [header.height, header.width, header.channels]}, errors)
        header, bodies, excess = any_size.read_payload(payload)
        report["holds"] = "parts"
    except CodeError as error:
        return Finding(report, [error])
    parts, areas = [], (any_size.pixels_of(part, header) for part in any_size.parts_of(header))
    for number, (area, body) in enumerate(zip(areas, bodies, strict=True)):
        alpha = None
        if header.has_alpha and body is not None:
            try:
                alpha = len(split_body(body)[0])
            except InvalidCode as error:
                errors.append(error)
        if body is None:
            errors.append(InvalidCode(f"part {number} is damaged or missing"))
        size = None if body is None else len(body)
        parts.append({**area._asdict(), "bytes": size, "alpha_bytes": alpha, "damaged": body is None})
    if excess:
        errors.append(InvalidCode("bytes follow the last part"))
    report["shape"] = [header.height, header.width, header.channels]
    try:
        report["quality"] = 100 * header.quality / models.tables(card).best_quality
    except ModelError:
        report["quality"] = None
    return Finding(report | {"quality_index": header.quality, "parts": parts}, errors)


def _inspect_container(stream: Iterable[bytes], models: Models) -> Finding:
    reader, counting = FrameReader(), _CountingStream(stream)
    errors: list[CodeError] = []
    chunks: list[Report] = []
    kinds: Counter[str] = Counter()
    card: AnyCard | None = None
    for found in read_frames(counting, reader):
        if not chunks and reader.header is not None:
            card = _find_card(models, reader.header.fingerprint)
        if isinstance(found, Frame):
            try:
                kinds += _kinds(found, card)
            except DamagedChunk as damage:
                found = damage
            else:
                chunks.append({"first": found.first, "images": found.images, "bytes": len(found.body)})
        if not isinstance(found, Frame):
            errors.append(found)
            if isinstance(found, DamagedChunk) and found.images is not None:
                chunks.append({"first": found.first, "images": found.images, "bytes": None})
    size = counting.drain()
    if (header := reader.header) is None:
        return Finding({}, errors)
    report = {
        "kind": "container",
        "version": container.VERSION,
        "bytes": size,
        **_whose(card or _find_card(models, header.fingerprint), header.fingerprint),
        "announced_images": header.announced or None,
        "images": reader.images,
        "bytes_per_image": size / reader.images if reader.images else None,
        "lossless_images": dict(sorted(kinds.items())),
        "chunks": [{**chunk, "damaged": chunk["bytes"] is None} for chunk in chunks],
        "ended": reader.ended,
    }
    return Finding(report, errors)


class _CountingStream:
    """Yields the pieces of a stream, and counts their bytes."""

    def __init__(self, stream: Iterable[bytes]) -> None:
        self._stream = iter(stream)
        self._bytes = 0

    def __iter__(self) -> Iterator[bytes]:
        for piece in self._stream:
            self._bytes += len(piece)
            yield piece

    def drain(self) -> int:
        """Read the stream to its end; return its number of bytes."""
        for _ in self:
            pass
        return self._bytes


def _kinds(frame: Frame, card: AnyCard | None) -> Counter[str]:
    """Count the lossless images in a chunk by their format; with the card, check the whole chunk."""
    if isinstance(card, AnySizeCard):
        exact = [payload for payload in read_payloads(frame) if lossless.is_lossless(payload)]
        try:
            return Counter(map(any_size_lossless.kind_of, exact))
        except (InvalidCode, LookupError) as error:
            raise frame.damaged("a lossless image is not one that a writer makes") from error
    try:
        if card is not None:
            payloads = ChunkCoder(card.tables, card.image).unpack(frame).payloads
        else:
            payloads, _ = read_lossless(frame.body, frame.images, container.MAX_CHUNK_BYTES)
        return Counter(map(_kind, payloads.values()))
    except InvalidCode as error:
        raise frame.damaged(str(error)) from error


def _kind(content: bytes) -> str:
    """Return the format of a lossless image, by its kind byte."""
    try:
        return lossless.kind_of(lossless.MARKER + content)
    except IndexError as error:
        raise InvalidCode("the bitstream is cut short: it announces a lossless image, and has none") from error
    except KeyError as error:
        raise InvalidCode(f"the bitstream holds a lossless image of the unknown kind {error}") from error


def _find_card(models: Models, fingerprint: bytes) -> AnyCard | None:
    try:
        return models.card_of(fingerprint)
    except (ModelMismatch, WrongUsage):
        return None


def _whose(card: AnyCard | None, fingerprint: bytes | None) -> Report:
    return {"fingerprint": fingerprint.hex() if fingerprint else None, "model": card.name if card else None}


def _lines(report: Report, models_dir: Path) -> list[str]:
    version = f", version {report['version']}" if report["version"] else ""
    known = report["model"] or (f"not in '{models_dir}'" if report["fingerprint"] else "unknown")
    fingerprint = f", fingerprint {report['fingerprint']}" if report["fingerprint"] else ""
    lines = {
        "kind": f"{report['kind']}{version}, {pluralize(report['bytes'], 'byte')}",
        "model": f"{known}{fingerprint}",
    }
    rows = list(lines.items())
    rows += _container_rows(report) if report["kind"] == "container" else _payload_rows(report)
    return [f"  {label:{_LABEL_WIDTH}}{text}" for label, text in rows]


def _payload_rows(report: Report) -> list[tuple[str, str]]:
    size = pluralize(report["payload_bytes"], "byte")
    if report["holds"] is None:
        return [("payload", f"{size}, damaged")]
    if "shape" in report:
        return _any_size_rows(report, size)
    if report["holds"] != "symbols":
        return [("payload", f"{size}: a lossless image ({report['holds']})")]
    if report["symbols"] is None:
        return [("payload", f"{size} of symbols, which only the card of the model can read")]
    symbols = " ".join(map(str, report["symbols"]))
    return [("payload", f"{size}, ideal length {report['ideal_bits']:.2f} bits"), ("symbols", symbols)]


def _any_size_rows(report: Report, size: str) -> list[tuple[str, str]]:
    height, width, channels = report["shape"]
    rows = [("image", f"{width:,} × {height:,} pixels, {_CHANNELS[channels]}")]
    if report["holds"] != "parts":
        return [("payload", f"{size}: a lossless image ({report['holds']})"), *rows]
    quality = "" if report["quality"] is None else f"{report['quality']:.1f}, "
    rows += [("payload", size), ("quality", f"{quality}index {report['quality_index']}")]
    for number, part in enumerate(report["parts"]):
        what = "damaged or missing" if part["damaged"] else pluralize(part["bytes"], "byte")
        alpha = "" if part["alpha_bytes"] is None else f", {part['alpha_bytes']:,} of them alpha"
        where = f"{part['width']} × {part['height']} pixels at {part['left']}, {part['top']}"
        rows.append((f"part {number}", f"{where}: {what}{alpha}"))
    return rows


def _container_rows(report: Report) -> list[tuple[str, str]]:
    each = f", {report['bytes_per_image']:.2f} bytes each" if report["images"] else ""
    kinds = "".join(f", {count:,} lossless ({kind})" for kind, count in report["lossless_images"].items())
    announced = report["announced_images"]
    rows = [("images", f"{report['images']:,}{f' of {announced:,}' if announced else ''}{each}{kinds}")]
    for number, chunk in enumerate(report["chunks"]):
        what = "damaged" if chunk["damaged"] else pluralize(chunk["bytes"], "byte")
        rows.append(
            (f"chunk {number}", f"images {chunk['first']:,} to {chunk['first'] + chunk['images'] - 1:,}, {what}")
        )
    return [*rows, ("end", "present" if report["ended"] else "missing")]
