"""Autoencoders for codes of one to a few numbers: each number is a position on a path through pictures.

A network with so short a code has to fold the whole space of images onto a line or a plane, which it learns badly:
neighbours on the line have nothing in common. A codebook needs no folding. K-means finds its pictures, which are put in
an order in which neighbours are alike, and joined by straight lines; the code is the place on this path that is nearest
to the image. A further number is a place on a second path, through the residuals of the first one.

x (N, C, H, W) ─ flatten ─┬─ nearest place on path 1 ─────────────── y[0]
                          └─(−)─ nearest place on path 2 ─────────── y[1]  …

y (N, code size) ─ the picture at each place ─ sum ─ clamp to [0, 1] ─ x_hat

Gersho and Gray 1992, "Vector Quantization and Signal Compression", call the stages residual vector quantization; the
path is a polygonal line as in Kégl et al. 2000, "Learning and design of principal curves".
"""

import sys
from collections.abc import Iterator
from typing import cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from latentwire.model.card import ImageShape
from training.architectures.autoencoder import Autoencoder
from training.recipe import Codebook

_CLUSTERING_PASSES = 8
_CLUSTERING_BATCH = 4096
_ORDERING_SWEEPS = 40

Doubles = npt.NDArray[np.float64]


class Path(nn.Module):
    """A line through pictures (entries, values). A place on it is 0 at the first, 1 at the last, and linear between."""

    def __init__(self, entries: int, values: int) -> None:
        super().__init__()
        self.pictures = nn.Parameter(torch.rand(entries, values))

    def nearest(self, values: Tensor) -> Tensor:
        """Return the places (N) whose pictures have the least squared distance to values (N, V)."""
        pictures = self.pictures
        products = values @ pictures.t()
        squares = pictures.square().sum(1)
        neighbours = (pictures[:-1] * pictures[1:]).sum(1)
        lengths = squares[1:] + squares[:-1] - 2 * neighbours
        along = products[:, 1:] - products[:, :-1] - (neighbours - squares[:-1])
        share = (along / lengths.clamp(min=1e-9)).clamp(0, 1)
        rest = 1 - share
        distance = (
            rest * rest * squares[:-1]
            + 2 * share * rest * neighbours
            + share * share * squares[1:]
            - 2 * (rest * products[:, :-1] + share * products[:, 1:])
        )
        segment = distance.argmin(1, keepdim=True)
        return (segment + share.gather(1, segment)).squeeze(1) / (len(pictures) - 1)

    def at(self, places: Tensor) -> Tensor:
        """Return the pictures (N, V) at places (N); a place beyond an end is at that end."""
        last = len(self.pictures) - 1
        steps = places.clamp(0, 1) * last
        before = steps.floor().clamp(max=last - 1)
        share = (steps - before).unsqueeze(1)
        index = before.long()
        return (1 - share) * self.pictures[index] + share * self.pictures[index + 1]


class Paths(nn.ModuleList):
    """The paths of all numbers of a code, in their order."""

    def __iter__(self) -> Iterator[Path]:
        """Go through the paths."""
        return cast(Iterator[Path], super().__iter__())


class CodebookEncoder(nn.Module):
    """x (N, C, H, W) -> y (N, code size), by search, one path after the other."""

    def __init__(self, paths: Paths) -> None:
        super().__init__()
        self.paths = paths

    def forward(self, x: Tensor) -> Tensor:
        """Return the places, float32 (N, code size)."""
        left = x.flatten(1).float()
        places = []
        for path in self.paths:
            places.append(path.nearest(left))
            left = left - path.at(places[-1])
        return torch.stack(places, 1)


class CodebookDecoder(nn.Module):
    """y (N, code size) -> x_hat (N, C, H, W)."""

    def __init__(self, paths: Paths, shape: ImageShape) -> None:
        super().__init__()
        self.paths = paths
        height, width, channels = shape.as_tuple()
        self.unflatten = nn.Unflatten(1, (channels, height, width))

    def forward(self, y: Tensor) -> Tensor:
        """Return the sum of the pictures at the places, in [0, 1]."""
        pictures = torch.stack([path.at(y[:, i]) for i, path in enumerate(self.paths)]).sum(0)
        return cast(Tensor, self.unflatten(pictures.clamp(0, 1)))


class CodebookAutoencoder(Autoencoder):
    """An autoencoder that starts from the training images instead of from random weights.

    Training then moves the pictures. The places are held still in each step: where they are nearest already, moving
    them a little changes nothing.
    """

    encoder: CodebookEncoder
    start_images = sys.maxsize

    def __init__(self, paths: Paths, shape: ImageShape, seed: int) -> None:
        super().__init__(CodebookEncoder(paths), CodebookDecoder(paths, shape))
        self.seed = seed

    def forward(self, x: Tensor) -> Tensor:
        """Return x_hat, float32 (N, C, H, W), of x, float32 (N, C, H, W) in [0, 1]."""
        with torch.no_grad():
            y = self.encoder(x)
        x_hat: Tensor = self.decoder(y)
        return x_hat

    @torch.no_grad()
    def start_from(self, x: Tensor) -> None:
        """Set the pictures from training images, float32 (N, C, H, W): k-means of the residuals of earlier paths."""
        from sklearn.cluster import MiniBatchKMeans  # takes a second to load, and only this step needs it

        left = x.flatten(1).float().cpu().clone()
        for path in self.encoder.paths:
            clustering = MiniBatchKMeans(
                len(path.pictures),
                init="random",
                n_init=1,
                max_iter=_CLUSTERING_PASSES,
                max_no_improvement=None,
                batch_size=_CLUSTERING_BATCH,
                random_state=self.seed,
            ).fit(left.numpy())
            centres = clustering.cluster_centers_
            path.pictures.copy_(torch.from_numpy(centres[shortest_path(centres)]))
            device = path.pictures.device
            for part in torch.split(left, _CLUSTERING_BATCH):
                part -= path.at(path.nearest(part.to(device))).cpu()


def shortest_path(points: npt.NDArray[np.floating]) -> npt.NDArray[np.int64]:
    """Return an order of points (N, V) in which the path through all of them is short.

    From each point to the nearest that remains, then 2-opt (Croes 1958): parts of the path are reversed as long as that
    shortens it.
    """
    wide = points.astype(np.float64)
    squares = np.square(wide).sum(axis=1)
    distance = np.sqrt(np.maximum(squares[:, None] + squares - 2 * wide @ wide.T, 0))
    order, left = [0], np.ones(len(points), bool)
    left[0] = False
    while left.any():
        following = int(np.where(left, distance[order[-1]], np.inf).argmin())
        order.append(following)
        left[following] = False
    path = np.array(order)
    for _ in range(_ORDERING_SWEEPS):
        if not _reverse_parts(path, distance):
            break
    return path


def _reverse_parts(path: npt.NDArray[np.int64], distance: Doubles) -> bool:
    """Reverse parts of the path in place; return whether any reversal shortened it."""
    reversed_any = False
    for i in range(len(path) - 3):
        before, first = path[i], path[i + 1]
        last, after = path[i + 2 : -1], path[i + 3 :]
        gain = distance[before, first] + distance[last, after] - distance[before, last] - distance[first, after]
        best = int(gain.argmax())
        if gain[best] > 1e-9:
            end = i + 2 + best
            path[i + 1 : end + 1] = path[i + 1 : end + 1][::-1].copy()
            reversed_any = True
    return reversed_any


def build_codebook(architecture: Codebook, shape: ImageShape, seed: int) -> CodebookAutoencoder:
    """Build an autoencoder of `code_size` paths of `entries` pictures each; `seed` is that of k-means."""
    values = shape.pixels * shape.channels
    paths = Paths(Path(architecture.entries, values) for _ in range(architecture.code_size))
    return CodebookAutoencoder(paths, shape, seed)
