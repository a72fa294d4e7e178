"""Labelled images -> a small classifier of window means, for the guard's score `class_odds`."""

import base64
import zlib
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from latentwire.imaging import image
from latentwire.model.card import ImageShape
from latentwire.model.guard_limits import Classifier, ClassifierLayer
from latentwire.selection.doubt_scores import Windows, logits, unpack
from training.data.datasets import TrainingSplit

Floats = npt.NDArray[np.float32]

HIDDEN = (128, 64)
EPOCHS = 15
BATCH = 256

# A classifier that is wrong more often says nothing about the meaning of an image.
MAX_ERROR = 0.05

# Largest change of the affine maps by which every other batch is varied, and of their shift in half widths.
_TURN, _SHIFT = 0.12, 0.08

_LEARNING_RATE, _WEIGHT_DECAY = 8e-3, 0.02

_fitted: dict[tuple[tuple[int, ...], int], Classifier | None] = {}


def fit_classifier(split: TrainingSplit, shape: ImageShape, seed: int = 0) -> Classifier | None:
    """Train a classifier on the training images; None without labels, or if it is wrong too often.

    The same images give the same classifier, which is trained once in a process.
    """
    checksum = 0
    for part in image.slices(split.validation.pixels, shape):
        checksum = zlib.crc32(part.tobytes(), checksum)
    key = (split.train.pixels.shape, checksum)
    if key not in _fitted:
        _fitted[key] = _fit(split, shape, seed)
    return _fitted[key]


def error_of(classifier: Classifier, means: Floats, labels: npt.NDArray[np.integer]) -> float:
    """Return the share of images, by their window means (N, values), whose class is not their label."""
    return float((logits(means, unpack(classifier, means.shape[1])).argmax(axis=1) != labels).mean())


def _fit(split: TrainingSplit, shape: ImageShape, seed: int) -> Classifier | None:
    classes = int(split.train.labels.max()) + 1
    if classes < 2 or not len(split.validation):
        return None
    windows = Windows(shape)
    layers = _train(split.train.pixels, split.train.labels, windows, classes, seed)
    classifier = Classifier(layers=tuple(_pack(*layer) for layer in layers), error=0)
    means = np.concatenate([windows.means(part) for part in image.slices(split.validation.pixels, shape)])
    error = error_of(classifier, means, split.validation.labels)
    return classifier.model_copy(update={"error": error}) if error <= MAX_ERROR else None


def _train(
    pixels: image.Pixels, labels: npt.NDArray[np.integer], windows: Windows, classes: int, seed: int
) -> list[tuple[Floats, Floats]]:
    """Return the weights (outputs, inputs) and biases of each layer."""
    import torch  # takes seconds to load

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    random = np.random.RandomState(seed)
    sizes = (windows.values, *HIDDEN, classes)
    linear = [torch.nn.Linear(before, after) for before, after in pairwise(sizes)]
    steps = max(1, EPOCHS * len(pixels) // BATCH)
    optimizer = torch.optim.AdamW([value for layer in linear for value in layer.parameters()], lr=1e-3)
    optimizer.param_groups[0]["weight_decay"] = _WEIGHT_DECAY
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, _LEARNING_RATE, total_steps=steps)
    order = random.permutation(len(pixels))
    for step in range(steps):
        start = step * BATCH % len(pixels)
        if start < BATCH:
            order = random.permutation(len(pixels))
        some = order[start : start + BATCH]
        batch = pixels[some]
        if step % 2:
            planes = torch.from_numpy(batch.transpose(0, 3, 1, 2).astype(np.float32))
            turned = np.eye(2) + random.uniform(-_TURN, _TURN, (2, 2))
            shifted = np.concatenate([turned, random.uniform(-_SHIFT, _SHIFT, (2, 1))], axis=1)
            maps = torch.from_numpy(shifted.astype(np.float32))[None]
            grid = torch.nn.functional.affine_grid(maps, [1, *planes.shape[1:]], align_corners=False)
            varied = torch.nn.functional.grid_sample(planes, grid.expand(len(some), -1, -1, -1), align_corners=False)
            batch = varied.numpy().transpose(0, 2, 3, 1)
        values = torch.from_numpy(windows.means(batch))
        for number, layer in enumerate(linear):
            values = layer(values)
            if number < len(linear) - 1:
                values = torch.relu(values)
        loss = torch.nn.functional.cross_entropy(values, torch.from_numpy(labels[some].astype(np.int64)))
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
    torch.set_num_threads(threads)
    return [(layer.weight.detach().numpy(), layer.bias.detach().numpy()) for layer in linear]


def _pack(weights: Floats, bias: Floats) -> ClassifierLayer:
    scale = np.maximum(np.abs(weights).max(axis=1), 1e-9) / 127
    levels = np.rint(weights / scale[:, None]).astype(np.int8)
    return ClassifierLayer(
        weights_base64=base64.b64encode(levels.tobytes()).decode(),
        scale=tuple(float(np.float32(one)) for one in scale),
        bias=tuple(float(one) for one in bias),
    )
