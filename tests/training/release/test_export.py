import shutil
import warnings
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from latentwire.imaging import image
from latentwire.model.card import ImageShape
from latentwire.model.onnx_session import open_onnx
from training.architectures import build_autoencoder
from training.data.datasets import Dataset, Images
from training.errors import ExportError, InvalidCheckpoint, InvalidRun
from training.loop.checkpoints import load_checkpoint
from training.loop.trainer import train
from training.recipe import Recipe, load_recipe
from training.release import export
from training.release.export import export_run
from training.release.graph_notes import annotate
from training.release.model_dir import graph_file
from training.runs import RunFolder, create_run


@pytest.fixture
def copy(tmp_path: Path, finished_run: RunFolder) -> RunFolder:
    """A copy of the finished run, to be written to."""
    return RunFolder(Path(shutil.copytree(finished_run.path, tmp_path / "copy")))


def test_the_graphs_compute_what_the_averaged_network_computes(
    finished_run: RunFolder, tiny: Recipe, dataset: Dataset
) -> None:
    checkpoint = load_checkpoint(finished_run.best, tiny)
    assert checkpoint.ema is not None
    model = build_autoencoder(tiny, dataset.shape)
    model.load_state_dict(checkpoint.ema_weights)
    model.eval()
    for size in (1, 2, 33, 100):
        x = image.to_x(dataset.test.pixels[:size])
        with torch.no_grad():
            y, x_hat = model.encoder(torch.from_numpy(x)).numpy(), model(torch.from_numpy(x)).numpy()
        encoder = open_onnx(finished_run.encoder, graph_file(finished_run.encoder), (1, 28, 28), (10,))
        decoder = open_onnx(finished_run.decoder, graph_file(finished_run.decoder), (10,), (1, 28, 28))
        np.testing.assert_allclose(encoder.run(x), y, atol=1e-4, rtol=0)
        np.testing.assert_allclose(decoder.run(y), x_hat, atol=1e-4, rtol=0)


def test_the_files_are_named_small_and_without_traces_of_this_machine(finished_run: RunFolder) -> None:
    assert not list(finished_run.path.glob("*.data"))
    for path, ends in ((finished_run.encoder, ("x", "y")), (finished_run.decoder, ("y", "x_hat"))):
        model = onnx.load(path)
        assert (model.graph.input[0].name, model.graph.output[0].name) == ends
        weights = sum(onnx.numpy_helper.to_array(tensor).nbytes for tensor in model.graph.initializer)
        assert path.stat().st_size < weights + 4000
        assert "BatchNormalization" not in {node.op_type for node in model.graph.node}
        content = path.read_bytes()
        for trace in ("/tmp", "site-packages", str(Path.home()), "File ", ".py", "container"):  # noqa: S108
            assert trace.encode() not in content


def test_exporting_again_gives_the_same_bytes(copy: RunFolder, dataset: Dataset) -> None:
    before = copy.encoder.read_bytes(), copy.decoder.read_bytes(), copy.export_file.read_bytes()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        export_run(copy, dataset)
    assert before == (copy.encoder.read_bytes(), copy.decoder.read_bytes(), copy.export_file.read_bytes())


def test_a_convolutional_run_exports_for_images_of_odd_sides_in_colour(tmp_path: Path) -> None:
    random, shape = np.random.default_rng(0), (10, 13, 3)

    def images(count: int) -> Images:
        return Images(random.integers(0, 256, (count, *shape), dtype=np.uint8), np.zeros(count, np.uint8))

    dataset = Dataset("noise", images(64), images(40))
    fields = {"architecture": "conv", "encoder_width": 2, "decoder_width": 2, "hidden": 8, "epochs": 1}
    recipe = load_recipe("synthetic-tiny", {**fields, "validation_images": 8, "batch_size": 16})
    run = create_run(recipe, tmp_path / "run")
    train(recipe, dataset, run)
    report = export_run(run, dataset)
    assert report["encoder"]["max_difference"] < 1e-4
    assert report["decoder"]["max_difference"] < 1e-4
    assert "BatchNormalization" not in {node.op_type for node in onnx.load(run.decoder).graph.node}


def test_graphs_that_differ_from_the_network_are_refused_and_not_written(
    copy: RunFolder, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    graphs = {path.name: path.read_bytes() for path in (copy.encoder, copy.decoder)}

    def wrong(half: export._Half) -> bytes:
        model = onnx.load_from_string(graphs[half.path.name.removeprefix(".draft-")])
        bias = max(model.graph.initializer, key=lambda tensor: len(tensor.raw_data))
        values = onnx.numpy_helper.to_array(bias) + np.float32(0.01)
        bias.CopyFrom(onnx.numpy_helper.from_array(values, bias.name))
        return bytes(model.SerializeToString())

    monkeypatch.setattr(export, "_to_onnx", wrong)
    copy.encoder.unlink()
    before = sorted(path.name for path in copy.path.iterdir())
    with pytest.raises(ExportError, match=r"^encoder\.onnx differs from the network by .* for a batch of 1; less than"):
        export_run(copy, dataset)
    assert sorted(path.name for path in copy.path.iterdir()) == before


def test_a_run_without_a_best_checkpoint_is_told(tmp_path: Path, tiny: Recipe, dataset: Dataset) -> None:
    with pytest.raises(InvalidRun, match=r"has no best\.pt"):
        export_run(create_run(tiny, tmp_path / "run"), dataset)


def test_a_checkpoint_for_other_images_is_told(copy: RunFolder, dataset: Dataset) -> None:
    wide = Dataset("wide", dataset.train, dataset.test)._replace(
        train=Images(np.zeros((4, 28, 30, 1), np.uint8), np.zeros(4, np.uint8))
    )
    with pytest.raises(InvalidCheckpoint, match="is not for images of 30 × 28 pixels, 1 channel, as wide has them"):
        export_run(copy, wide)


@pytest.mark.usefixtures("no_exporter")
@pytest.mark.parametrize(("weights", "share"), [("float16", 0.55), ("int8", 0.35)])
def test_weights_in_fewer_bits_shorten_the_files_and_barely_change_the_pictures(
    copy: RunFolder, dataset: Dataset, weights: str, share: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A network of four epochs on 512 images is less sure of its weights than one that is shipped.
    monkeypatch.setattr(export, "MAX_RMSE_CHANGE", 1e-3)
    x = image.to_x(dataset.test.pixels[:100])

    def x_hat() -> export.Floats:
        encoder = open_onnx(copy.encoder, graph_file(copy.encoder), (1, 28, 28), (10,))
        decoder = open_onnx(copy.decoder, graph_file(copy.decoder), (10,), (1, 28, 28))
        return decoder.run(encoder.run(x))

    before, bytes_before = x_hat(), copy.decoder.stat().st_size
    copy.recipe_file.write_text(copy.recipe().model_copy(update={"weights": weights}).to_toml())
    report = export_run(copy, dataset)
    assert report["weights"] == weights
    assert abs(report["rmse_change_by_weights"]) < 1e-3
    assert copy.decoder.stat().st_size < share * bytes_before
    change = float(np.sqrt(np.square(x_hat() - before).mean()))
    assert 0 < change < 3e-3


@pytest.mark.usefixtures("no_exporter")
def test_weights_that_float16_cannot_hold_are_refused(
    copy: RunFolder, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, "MAX_RMSE_CHANGE", 0.0)
    copy.recipe_file.write_text(copy.recipe().model_copy(update={"weights": "float16"}).to_toml())
    copy.decoder.unlink()
    with pytest.raises(ExportError, match=r"weights in float16 change the RMSE by .* set weights to float32"):
        export_run(copy, dataset)
    assert not copy.decoder.exists()


@pytest.mark.parametrize("half", ["encoder", "decoder"])
def test_a_graph_says_what_goes_in_and_comes_out(finished_run: RunFolder, half: str) -> None:
    model = onnx.load(finished_run.path / f"{half}.onnx")
    notes = {note.key: note.value for note in model.metadata_props}
    assert len(notes) == len(model.metadata_props)
    assert (notes["model"], notes["half"], notes["value_range"]) == ("synthetic-tiny", half, "0 to 1")
    assert (notes["channel_order"], notes["trained_on"]) == ("grey", "synthetic")
    assert notes["checkpoint_sha256"] == finished_run.best_sha256()
    assert "licence" not in notes
    (given,), (result,) = model.graph.input, model.graph.output
    assert (notes["input"], notes["output"]) == (given.doc_string, result.doc_string)
    picture = given if half == "encoder" else result
    assert picture.doc_string.startswith("float32 (batch, 1, 28, 28): batch, channels (grey), rows from the top")


def test_notes_name_a_licence_and_no_path() -> None:
    recipe = load_recipe("cifar-conv", {"dataset": "/home/me/cats", "licence": "CC-BY-4.0"})
    shape = ImageShape(height=8, width=6, channels=3)
    value = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in ("y", "x_hat")]
    model = onnx.helper.make_model(onnx.helper.make_graph([], "decoder", value[:1], value[1:]))
    for _ in range(2):  # a graph that has notes gets these in their place
        annotate(model, recipe, shape, "0" * 64)
    notes = {note.key: note.value for note in model.metadata_props}
    assert len(notes) == len(model.metadata_props) == 9
    assert (notes["licence"], notes["trained_on"]) == ("CC-BY-4.0", "cats")
    assert notes["channel_order"] == "red, green, blue"
    assert "/home/me" not in str(model)
