"""A second reader of images of any size, written from `docs/FORMAT.md` alone: plain Python, and no code of the library.

It is slow. Its graphs are computed by `onnx`'s reference evaluator, which shares nothing with onnxruntime.
"""

import binascii
import io
import json
import math
import zlib
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
        if lanes == 1:
            length = 5 if len(body) % 2 else 4
            self.states = [int.from_bytes(body[:length], "big")]
            if length == 5 and self.states[0] < 2**32:
                raise Damaged("state")
        else:
            length = 5 * lanes
            self.states = [int.from_bytes(body[5 * lane : 5 * lane + 5], "big") for lane in range(lanes)]
        self.words = [int.from_bytes(body[at : at + 2], "big") for at in range(length, len(body), 2)]

    def step(self, lane: int, start: int, frequency: int) -> None:
        x = self.states[lane]
        x = frequency * (x // 65536) + x % 65536 - start
        if x < 2**24 and (len(self.states) > 1 or self.words):
            if not self.words:
                raise Damaged("words")
            x = 65536 * x + self.words.pop(0)
        self.states[lane] = x

    def group(self, tables: list[Any]) -> list[int]:
        symbols: list[int] = []
        escapes: list[int] = []
        for number, table in enumerate(tables):
            lane, start = number % len(self.states), 0
            slot = self.states[lane] % 65536
            frequencies, entry = [*table["frequencies"], table["escape"]], 0
            while slot >= start + frequencies[entry]:
                start += frequencies[entry]
                entry += 1
            frequency = frequencies[entry]
            self.step(lane, start, frequency)
            symbols.append(table["first"] + entry)
            if entry == len(table["frequencies"]):
                escapes.append(number)
        if escapes:
            lengths = self.uniform([4] * len(escapes))
            for number, length, rest in zip(escapes, lengths, self.uniform(lengths), strict=True):
                distance = 2**length + rest - 1
                last = tables[number]["first"] + len(tables[number]["frequencies"]) - 1
                above, below = last + 1 + distance // 2, tables[number]["first"] - 1 - distance // 2
                symbols[number] = below if distance % 2 else above
        return symbols

    def uniform(self, bits: list[int]) -> list[int]:
        values = []
        for number, count in enumerate(bits):
            lane, size = number % len(self.states), 2 ** (16 - count)
            values.append(self.states[lane] % 65536 // size)
            self.step(lane, values[-1] * size, size)
        return values

    def end(self, check: int) -> None:
        expected = (2**16 if len(self.states) == 1 else 2**24) + check
        if self.words or any(state != expected for state in self.states):
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
