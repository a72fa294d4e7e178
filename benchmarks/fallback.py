"""`python -m benchmarks.fallback`: what the policy `fallback` costs beside `warn`, for images that are sent as codes.

`fallback` also asks whether an image would be shorter losslessly. Each image is encoded with both policies in turns;
the table has the mean processor time of each. Larger images than those of the shipped models are random fields with the
spectrum of photographs, and their model a transform of blocks, which is much faster than a network.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from latentwire.decoder import Decoder
from latentwire.encoder import Encoder
from latentwire.errors import CodecError
from latentwire.imaging import image
from latentwire.model.card import ImageShape, UniformQuantizer
from latentwire.model.onnx_session import open_onnx
from latentwire.selection.guard import Guard
from training.data.datasets import load_dataset
from training.errors import TrainingError
from training.release.frequency_tables import count_tables
from training.release.model_dir import find_vector_models, graph_file, make_card, write_model

IMAGES, ROUNDS = 40, 5
BOUND = 1.15

# Height, width and side of a block of the models for larger images.
TRANSFORMS = ((64, 64, 8), (224, 224, 16), (480, 640, 16))

# Exponent of the amplitude of the random fields over the frequency, and their noise in levels of 0 to 255.
_DECAY, _NOISE = 1.3, 2.0


class Row(NamedTuple):
    """Mean processor time of one image, in microseconds, with each policy, and how many images were sent as codes."""

    model: str
    shape: ImageShape
    images: int
    warn_us: float
    fallback_us: float

    @property
    def ratio(self) -> float:
        """Time with `fallback` ÷ time with `warn`."""
        return self.fallback_us / self.warn_us


def measure(guard: Guard, pixels: image.Pixels, rounds: int = ROUNDS) -> Row:
    """Encode those images, uint8 (N, H, W, C), that `fallback` sends as codes; take the best of the rounds of each."""
    sent = np.stack([one for one in pixels if guard.encode(one, "fallback").sent_as is None])
    times_s = np.full((2, len(sent), rounds), np.inf)
    for round_ in range(rounds):
        for index, one in enumerate(sent):
            started = time.process_time()
            guard.encode(one, "warn")
            warned = time.process_time()
            guard.encode(one, "fallback")
            times_s[:, index, round_] = warned - started, time.process_time() - warned
    warn_us, fallback_us = 1e6 * times_s.min(axis=2).mean(axis=1)
    return Row(guard.card.name, guard.card.image, len(sent), float(warn_us), float(fallback_us))


def table(rows: Sequence[Row]) -> str:
    """Return the rows as a Markdown table."""
    lines = ["| model | images | `warn`, µs | `fallback`, µs | ratio |", "|---|---|---:|---:|---:|"]
    lines += [
        f"| {row.model} | {row.images} of {row.shape} | {row.warn_us:,.0f} | {row.fallback_us:,.0f} | {row.ratio:.3f} |"
        for row in rows
    ]
    return "\n".join(lines)


def draw_fields(count: int, shape: ImageShape) -> image.Pixels:
    """Draw random fields with the spectrum of photographs, uint8 (N, H, W, C)."""
    random = np.random.default_rng(0)
    height, width, channels = shape.as_tuple()
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width))
    amplitude = np.maximum(frequency, 1 / max(height, width))[..., None] ** -_DECAY
    phase = np.exp(2j * np.pi * random.random((count, height, width, channels)))
    fields = np.fft.ifft2(amplitude * phase, axes=(1, 2)).real
    levels = 128 + 45 * (fields - fields.mean()) / fields.std() + random.normal(0, _NOISE, fields.shape)
    pixels: image.Pixels = np.clip(np.rint(levels), 0, 255).astype(np.uint8)
    return pixels


def publish_transform(models_dir: Path, shape: ImageShape, block: int, pixels: image.Pixels) -> Path:
    """Write a model whose code has brightness and both slopes of each block, with tables for `pixels`.

    Args:
        models_dir: where the model's folder is made.
        shape: height and width are multiples of `block`.
        block: side of a block in pixels.
        pixels: uint8 (N, H, W, C).
    """
    models_dir.mkdir(parents=True, exist_ok=True)
    encoder, decoder = models_dir / "encoder.onnx", models_dir / "decoder.onnx"
    rows, columns = shape.height // block, shape.width // block
    slope = np.linspace(-1, 1, block)
    basis = np.stack([np.ones((block, block)), np.tile(slope, (block, 1)), np.tile(slope[:, None], (1, block))])
    forward = np.repeat(basis[:, None], shape.channels, axis=1)
    forward /= np.square(forward).sum(axis=(1, 2, 3), keepdims=True)
    backward = np.repeat(basis[:, None], shape.channels, axis=1)
    code_size = len(basis) * rows * columns
    x_shape, y_shape = (shape.channels, shape.height, shape.width), (code_size,)
    _write_graph(encoder, x_shape, y_shape, forward, ("Conv", "Reshape"), [-1, code_size])
    _write_graph(decoder, y_shape, x_shape, backward, ("Reshape", "ConvTranspose"), [-1, len(basis), rows, columns])
    y = open_onnx(encoder, graph_file(encoder), x_shape, y_shape).run(image.to_x(pixels))
    parameters = UniformQuantizer(low=tuple(y.mean(axis=0).tolist()), step=(0.05,) * code_size)
    # All coordinates together, as there are few images to count.
    centred = (y - y.mean(axis=0)).reshape(-1, 1)
    (one,) = count_tables(np.rint(centred / 0.05).astype(np.int64))
    name = f"blocks-{shape.width}x{shape.height}"
    card = make_card(name, encoder, decoder, shape, parameters, (one,) * code_size)
    return write_model(models_dir, card, encoder, decoder)


def main(arguments: Sequence[str]) -> int:
    """Print the table; return 1 if a ratio is over the bound, 2 if something cannot be measured."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fallback", description=__doc__)
    parser.add_argument("--images", type=int, default=IMAGES, help="number of images (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="measurements of each image (default: %(default)s)")
    parser.add_argument("--data", type=Path, help="the data folder (default: $LATENTWIRE_DATA, or data)")
    given = parser.parse_args(arguments)
    try:
        with tempfile.TemporaryDirectory() as scratch:
            cases = _cases(given.images, given.data, Path(scratch))
            rows = [measure(guard, pixels, given.rounds) for guard, pixels in cases]
    except (TrainingError, CodecError) as error:
        print(error, file=sys.stderr)
        return 2
    print(table(rows))
    return int(any(row.ratio > BOUND for row in rows))


def _cases(count: int, data: Path | None, scratch: Path) -> Iterator[tuple[Guard, image.Pixels]]:
    for folder, card in find_vector_models(Path("models").resolve()).items():
        dataset = load_dataset(card.provenance["recipe"]["dataset"], data)
        yield Guard(Encoder.open(folder), Decoder.open(folder)), dataset.test.pixels[:count]
    for height, width, block in TRANSFORMS:
        shape = ImageShape(height=height, width=width, channels=3)
        pixels = draw_fields(min(count, 10), shape)
        folder = publish_transform(scratch, shape, block, pixels)
        yield Guard(Encoder.open(folder), Decoder.open(folder)), pixels


def _write_graph(
    path: Path,
    inputs: tuple[int, ...],
    outputs: tuple[int, ...],
    weight: npt.NDArray[np.float64],
    steps: tuple[str, str],
    shape: Sequence[int],
) -> None:
    """Write a reshaping and a convolution in blocks, in the order of `steps`, as a graph."""
    block = weight.shape[-1]
    constants = [
        numpy_helper.from_array(weight.astype(np.float32), "weight"),
        numpy_helper.from_array(np.array(shape, np.int64), "shape"),
    ]
    nodes, source = [], "values"
    for target, step in zip(("between", "result"), steps, strict=True):
        if step == "Reshape":
            nodes.append(helper.make_node(step, [source, "shape"], [target]))
        else:
            nodes.append(helper.make_node(step, [source, "weight"], [target], strides=[block, block]))
        source = target
    graph = helper.make_graph(
        nodes,
        "blocks",
        [helper.make_tensor_value_info("values", TensorProto.FLOAT, ["batch", *inputs])],
        [helper.make_tensor_value_info("result", TensorProto.FLOAT, ["batch", *outputs])],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    onnx.save(model, path)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
