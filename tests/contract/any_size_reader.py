"""A second reader of images of any size, written from `docs/FORMAT.md` alone: plain Python, and no code of the library.

It is slow. Its graphs are computed by `onnx`'s reference evaluator, which shares nothing with onnxruntime.
"""

import binascii
import io
import json
import math
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx.reference import ReferenceEvaluator
from PIL import Image


class Damaged(ValueError):
    """What the document calls damaged."""


class AnySizeReader:
    tables: Any

    def __init__(self, folder: Path) -> None:
        self.tables = json.loads((folder / "tables.json").read_text())
        self.entropy, self.decoder = (
            ReferenceEvaluator(onnx.load(folder / f"{name}.onnx")) for name in ("entropy", "decoder")
        )
        self.latents, self.levels = len(self.tables["log_gain"][0]), len(self.tables["gain_offsets"])

    def read(self, payload: bytes) -> Any:
        """Return the pixels, uint8 (height, width, 1, 3, or these and 1)."""
        if payload.startswith(b"\xff\xff"):
            return lossless(payload[2:])
        length, height, width, quality, colours = header(payload)
        h, w = math.ceil(height / 16), math.ceil(width / 16)
        rectangles = [(rows, columns) for rows in cuts(h) for columns in cuts(w)]
        whole = np.zeros((1, self.latents, h, w), np.float32)
        alpha = np.zeros((height, width), np.uint8)
        for (rows, columns), body in zip(rectangles, bodies(payload, length, len(rectangles)), strict=True):
            if colours > 1:
                length, start = varint(body, 0)
                top, left = 16 * rows[0], 16 * columns[0]
                sides = min(16 * rows[1], height) - top, min(16 * columns[1], width) - left
                alpha[top : top + sides[0], left : left + sides[1]] = plane(body[start : start + length], *sides)
                body = body[start + length :]
            part = self.part(body, quality, rows[1] - rows[0], columns[1] - columns[0])
            whole[0, :, rows[0] : rows[1], columns[0] : columns[1]] = part
        (output,) = self.decoder.run(None, {"latents": whole})
        shown = np.asarray(output)[0, :height, :width]
        if colours % 2 == 0:
            shown = np.rint(shown.mean(2, keepdims=True)).astype(np.uint8)
        if colours < 2:
            return shown
        shown[alpha == 0] = 0
        return np.dstack([shown, alpha])

    def part(self, body: bytes, quality: int, height: int, width: int) -> Any:
        lanes = 1
        if height * width > 64:
            lanes, body = body[0], body[1:]
        coder = Lanes(body, lanes)
        z_height, z_width, channels = math.ceil(height / 4), math.ceil(width / 4), len(self.tables["hyper_tables"])
        z_tables = [table for table in self.tables["hyper_tables"] for _ in range(z_height * z_width)]
        z = np.array(coder.group(z_tables), np.float32).reshape(1, channels, z_height, z_width)

        level = min(quality // 32, self.levels - 2)
        share, offsets = quality - 32 * level, self.tables["gain_offsets"]
        offset = [
            ((32 - share) * a + share * b + 4096) // 8192
            for a, b in zip(offsets[level], offsets[level + 1], strict=True)
        ]
        gain, inverse = (
            [
                math.exp(((32 - share) * a + share * b) / 32)
                for a, b in zip(self.tables[name][level], self.tables[name][level + 1], strict=True)
            ]
            for name in ("log_gain", "log_inverse")
        )
        both = self.run("means_and_scales", z=z)[:, :height, :width]
        means = both[: self.latents]
        quarters = np.clip(both[self.latents :] + np.array(offset)[:, None, None], 0, 255)

        symbols = np.zeros((self.latents, height, width), np.int64)
        corrections = np.zeros((self.latents, height, width))
        used = bytearray()
        first, every = self.tables["first_group"], self.latents
        groups = [(0, first, 0, 0), (0, first, 1, 1), (first, every, 0, 2), (first, every, 1, 3)]
        for start, end, odd, number in groups:
            steps, changed = quarters[start:end], np.zeros((end - start, height, width))
            if number:
                near = squashed(symbols[:first])
                if number == 3:
                    near = np.concatenate([near, squashed(symbols[first:])])
                scales = quarters[:first] if number == 1 else quarters
                inputs = {f"symbols_{number}": near[None], f"scales_{number}": scales[None]}
                given = self.run(f"corrections_{number}", **inputs)
                changed, steps = given[: end - start], np.clip(steps + given[end - start :], 0, 255)
            places = [
                (channel, row, column)
                for channel in range(start, end)
                for row in range(height)
                for column in range(width)
                if (row + column) % 2 == odd
            ]
            numbers = [min(63, (int(steps[c - start, row, column]) + 2) // 4) for c, row, column in places]
            used += bytes(numbers)
            coded = [
                (place, self.tables["scale_tables"][table])
                for place, table in zip(places, numbers, strict=True)
                if table >= self.tables["skip_below"]
            ]
            for place, symbol in zip([p for p, _ in coded], coder.group([t for _, t in coded]), strict=True):
                symbols[place] = symbol
            for channel, row, column in places:
                corrections[channel, row, column] = changed[channel - start, row, column]
        coder.end(binascii.crc_hqx(bytes(used), 0xFFFF))
        gains, inverses = np.array(gain)[:, None, None], np.array(inverse)[:, None, None]
        return (symbols + means / 32 * gains + corrections / 32) * inverses

    def run(self, output: str, **inputs: Any) -> Any:
        every = {
            value.name: np.zeros((1, value.type.tensor_type.shape.dim[1].dim_value, 1, 1), np.float32)
            for value in self.entropy.proto_.graph.input
        }
        given = {name: np.asarray(values, np.float32) for name, values in inputs.items()}
        (result,) = self.entropy.run([output], {**every, **given})
        return np.asarray(result)[0]


class Lanes:
    def __init__(self, body: bytes, lanes: int) -> None:
        if lanes == 0 or (lanes > 1 and lanes % 2):
            raise Damaged("lanes")
        length = 5 if len(body) % 2 else 4
        self.lanes, self.left, self.is_first = lanes, 0, False
        # S, and then the lanes.
        self.states = [int.from_bytes(body[:length], "big")]
        if len(body) < 4 or (length == 5 and self.states[0] < 2**32):
            raise Damaged("state")
        self.words = [int.from_bytes(body[at : at + 2], "big") for at in range(length, len(body), 2)]
        if lanes > 1:
            self.begin()

    def begin(self) -> None:
        if self.states[0] < 2**24:
            raise Damaged("state")
        upper, lower = (self.bits(0, 15) for _ in range(2))
        lengths = [self.bits(0, 4) for _ in range(self.lanes)]
        a, b, c = ([self.bits(0, count) for count in counts] for counts in (lengths, *[[12] * self.lanes] * 2))
        if self.states[0] < 2**24:
            raise Damaged("state")
        self.states += [
            2 ** (24 + length) + 2**24 * a[lane] + 2**12 * b[lane] + c[lane] for lane, length in enumerate(lengths)
        ]
        self.left = 2**15 * upper + lower
        if not self.left:
            self.rest()

    def rest(self) -> None:
        if self.words or any(state >= 2**25 for state in self.states[1:]):
            raise Damaged("lanes")
        hidden = b"".join((state - 2**24).to_bytes(3, "big") for state in self.states[1:])
        self.words = [int.from_bytes(hidden[at : at + 2], "big") for at in range(0, len(hidden), 2)]
        self.is_first = True

    def step(self, at: int, start: int, frequency: int) -> None:
        x = self.states[at]
        x = frequency * (x // 65536) + x % 65536 - start
        takes = x < 2**24 and (at > 0 or bool(self.words))
        if takes:
            if not self.words:
                raise Damaged("words")
            x = 65536 * x + self.words.pop(0)
        self.states[at] = x
        if at == 0 and self.is_first and not takes:
            raise Damaged("the first symbol after the lanes")
        self.is_first = self.is_first and at > 0

    def places(self, count: int) -> Iterator[tuple[int, int]]:
        """Yield each symbol of a group, in the order in which they are read, and which state it comes from."""
        for number in range(count):
            symbol = number if self.lanes == 1 else count - 1 - number
            if self.left:
                yield symbol, 1 + number % self.lanes
                self.left -= 1
                if not self.left:
                    self.rest()
            else:
                yield symbol, 0

    def bits(self, at: int, count: int) -> int:
        size: int = 2 ** (16 - count)
        value = self.states[at] % 65536 // size
        self.step(at, value * size, size)
        return value

    def group(self, tables: list[Any]) -> list[int]:
        symbols = [0] * len(tables)
        escapes: list[int] = []
        for number, at in self.places(len(tables)):
            table, start = tables[number], 0
            slot = self.states[at] % 65536
            frequencies, entry = [*table["frequencies"], table["escape"]], 0
            while slot >= start + frequencies[entry]:
                start += frequencies[entry]
                entry += 1
            self.step(at, start, frequencies[entry])
            symbols[number] = table["first"] + entry
            if entry == len(table["frequencies"]):
                escapes.append(number)
        if escapes:
            escapes.sort()
            lengths = self.uniform([4] * len(escapes))
            for number, length, rest in zip(escapes, lengths, self.uniform(lengths), strict=True):
                distance = 2**length + rest - 1
                last = tables[number]["first"] + len(tables[number]["frequencies"]) - 1
                above, below = last + 1 + distance // 2, tables[number]["first"] - 1 - distance // 2
                symbols[number] = below if distance % 2 else above
        return symbols

    def uniform(self, bits: list[int]) -> list[int]:
        values = [0] * len(bits)
        for number, at in self.places(len(bits)):
            values[number] = self.bits(at, bits[number])
        return values

    def end(self, check: int) -> None:
        if self.words or self.left or self.states[0] != 2**16 + check:
            raise Damaged("check")


def header(payload: bytes) -> tuple[int, int, int, int, int]:
    """Return its length, height, width, quality index and kind of channels."""
    size_class = payload[0] >> 4 & 3
    length, bits = 3 + size_class, 6 + 4 * size_class
    number = int.from_bytes(payload[:length], "big")
    width, number = number % 2**bits + 1, number >> bits
    height, number = number % 2**bits + 1, number >> bits
    quality, colours = number % 256, number >> 10
    if max(height, width) > 65535 or (size_class and max(height, width) <= 2 ** (bits - 4)):
        raise Damaged("header")
    return length, height, width, quality, colours


def lossless(payload: bytes) -> Any:
    length, height, width, quality, colours = header(payload)
    if quality:
        raise Damaged("quality of a lossless image")
    kind, content, channels = payload[length], payload[length + 1 :], (1, 3, 2, 4)[colours]
    if kind == 0:
        return np.frombuffer(content, np.uint8).reshape(height, width, channels)
    with Image.open(io.BytesIO(content), formats=["PNG", "WEBP"][kind - 1 : kind]) as file:
        if kind == 1:
            return np.asarray(file).reshape(height, width, channels)
        taken = {1: [0], 2: [0, 3], 3: [0, 1, 2], 4: [0, 1, 2, 3]}[channels]
        return np.asarray(file.convert("RGBA"))[:, :, taken]


def cuts(n: int) -> list[tuple[int, int]]:
    c, m = math.ceil(n / 64), math.ceil(n / 4)
    return [(4 * (i * m // c), min(n, 4 * ((i + 1) * m // c))) for i in range(c)]


def bodies(payload: bytes, at: int, count: int) -> list[bytes]:
    if count == 1:
        return [payload[at:]]
    lengths = []
    for _ in range(count):
        length, at = varint(payload, at)
        lengths.append(length)
    if payload[at : at + 4] != zlib.crc32(payload[:at]).to_bytes(4, "big"):
        raise Damaged("head")
    at += 4
    head, found = payload[:at], []
    for number, length in enumerate(lengths):
        body = payload[at : at + length]
        at += length + 4
        if payload[at - 4 : at] != zlib.crc32(head + number.to_bytes(4, "big") + body).to_bytes(4, "big"):
            raise Damaged("part")
        found.append(body)
    if at != len(payload):
        raise Damaged("end")
    return found


def container(data: bytes) -> list[bytes]:
    """Return the payloads in a container."""
    heads, at, payloads = b"", 0, []

    def head(length: int) -> bytes:
        nonlocal heads, at
        found = data[at : at + length]
        heads += found
        if data[at + length : at + length + 4] != zlib.crc32(heads).to_bytes(4, "big"):
            raise Damaged("head")
        at += length + 4
        return found

    head(10)
    while data[at] == 1:
        chunk = head(7)
        images, length = int.from_bytes(chunk[1:3], "big"), int.from_bytes(chunk[3:7], "big")
        body = data[at : at + length]
        if data[at + length : at + length + 4] != zlib.crc32(heads + body).to_bytes(4, "big"):
            raise Damaged("body")
        at, start = at + length + 4, 0
        for _ in range(images):
            size, start = varint(body, start)
            payloads.append(body[start : start + size])
            start += size
        if start != length:
            raise Damaged("body")
    if int.from_bytes(head(5)[1:], "big") != len(payloads) or at != len(data):
        raise Damaged("end")
    return payloads


def varint(data: bytes, at: int) -> tuple[int, int]:
    value, shift = 0, 0
    while data[at] >= 128:
        value, shift, at = value + (data[at] - 128 << shift), shift + 7, at + 1
    return value + (data[at] << shift), at + 1


def plane(data: bytes, height: int, width: int) -> Any:
    picture = b"\x2f" + (width - 1 + (height - 1) * 2**14).to_bytes(4, "little") + data
    chunk = b"WEBPVP8L" + len(picture).to_bytes(4, "little") + picture + bytes(len(picture) % 2)
    with Image.open(io.BytesIO(b"RIFF" + len(chunk).to_bytes(4, "little") + chunk)) as file:
        colours = np.asarray(file)
    if colours.shape != (height, width, 3) or colours[:, :, 0].any() or colours[:, :, 2].any():
        raise Damaged("alpha")
    return colours[:, :, 1]


def squashed(symbols: Any) -> Any:
    sizes = np.minimum(127, np.rint(16 * np.log2(1 + np.abs(symbols))))
    return np.concatenate([np.sign(symbols) * sizes, sizes])
