"""A run or a published model -> its encoder and decoder graph, opened side by side, with the float code between them.

It measures a network before quantization.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from latentwire.model.card import DECODER_FILE, ENCODER_FILE, GraphFile, ImageShape, load_card
from latentwire.model.onnx_session import OnnxModel, open_onnx
from training.data.datasets import Dataset
from training.release.artifacts import Source
from training.release.model_dir import graph_file
from training.release.pipeline import ensure_exported

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class GraphPair:
    """Both opened graphs of one network, for images of `shape` and codes of `code_size` numbers."""

    name: str
    shape: ImageShape
    code_size: int
    encoder: OnnxModel
    decoder: OnnxModel
    encoder_file: GraphFile
    decoder_file: GraphFile

    def reconstruct(self, x: Floats) -> Floats:
        """Return x_hat, float32 (N, C, H, W), of x in the same shape, which is in [0, 1] unless noise was added."""
        return self.decoder.run(self.encoder.run(x))


def open_pair(source: Source, dataset: Dataset | None = None) -> GraphPair:
    """Open both graphs of a model, or of a run, which are exported first if they are not up to date.

    Args:
        source: the run or the model.
        dataset: the run's data set; a model needs none.

    Raises:
        ModelError: a graph cannot be used.
        TrainingError: the run's graphs cannot be made.
        ValueError: a run comes without its data set.
    """
    if source.run is None:
        card = load_card(source.path)
        return _open(source.name, source.path, card.image, card.code_size, card.encoder, card.decoder)
    if dataset is None or source.recipe is None:
        raise ValueError(f"the graphs of {source.path} cannot be opened without its data set")
    ensure_exported(source.run, dataset)
    files = graph_file(source.run.encoder), graph_file(source.run.decoder)
    return _open(source.name, source.run.path, dataset.shape, source.recipe.code_size, *files)


def _open(
    name: str, folder: Path, shape: ImageShape, code_size: int, encoder_file: GraphFile, decoder_file: GraphFile
) -> GraphPair:
    x_shape, y_shape = (shape.channels, shape.height, shape.width), (code_size,)
    encoder = open_onnx(folder / ENCODER_FILE, encoder_file, x_shape, y_shape)
    decoder = open_onnx(folder / DECODER_FILE, decoder_file, y_shape, x_shape)
    return GraphPair(name, shape, code_size, encoder, decoder, encoder_file, decoder_file)
