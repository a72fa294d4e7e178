import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.external_data_helper import set_external_data

from latentwire.errors import InvalidGraph, MissingGraph
from latentwire.model import onnx_session
from latentwire.model.card import ENCODER_FILE, ModelCard, load_card
from latentwire.model.onnx_session import OnnxModel, multiplies_bytes_exactly, open_map_graph, open_onnx
from training.release.model_dir import graph_file


@pytest.fixture
def folder(tiny_model: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_model, tmp_path / tiny_model.name))


def open_encoder(folder: Path, card: ModelCard) -> OnnxModel:
    return open_onnx(folder / ENCODER_FILE, card.encoder, (1, 8, 6), (5,))


def test_a_graph_takes_any_batch(folder: Path) -> None:
    graph = open_encoder(folder, load_card(folder))
    x = np.random.default_rng(0).random((33, 1, 8, 6), dtype=np.float32)
    y = graph.run(x)
    assert y.shape == (33, 5)
    np.testing.assert_allclose(graph.run(x[:1]), y[:1], atol=1e-6)


def test_a_missing_file_is_named(folder: Path) -> None:
    card = load_card(folder)
    (folder / ENCODER_FILE).unlink()
    with pytest.raises(MissingGraph, match=r"encoder.onnx of model 'tiny' cannot be read"):
        open_encoder(folder, card)


def test_a_truncated_file_is_refused(folder: Path) -> None:
    path = folder / ENCODER_FILE
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(InvalidGraph, match="bytes; its card says"):
        open_encoder(folder, load_card(folder))


def test_one_changed_byte_is_found(folder: Path) -> None:
    path = folder / ENCODER_FILE
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(InvalidGraph, match="SHA-256"):
        open_encoder(folder, load_card(folder))


def test_a_file_that_is_no_graph_is_refused(tmp_path: Path) -> None:
    path = tmp_path / ENCODER_FILE
    path.write_bytes(b"not a graph")
    with pytest.raises(InvalidGraph, match="not a graph"):
        open_onnx(path, graph_file(path), (1, 8, 6), (5,))


@pytest.mark.parametrize(("inputs", "outputs", "side"), [((1, 6, 8), (5,), "input"), ((1, 8, 6), (4,), "output")])
def test_a_graph_of_other_shapes_is_refused(
    folder: Path, inputs: tuple[int, ...], outputs: tuple[int, ...], side: str
) -> None:
    with pytest.raises(InvalidGraph, match=f"has the {side}"):
        open_onnx(folder / ENCODER_FILE, load_card(folder).encoder, inputs, outputs)


def with_weights_outside(location: str, *, constant: bool) -> bytes:
    """A graph whose weights onnxruntime would read from another file, or from any address in memory."""
    weights = helper.make_tensor("w", TensorProto.FLOAT, [2], bytes(8), raw=True)
    set_external_data(weights, location, offset=0, length=8)
    weights.ClearField("raw_data")
    nodes = [helper.make_node("Constant", [], ["w"], value=weights)] if constant else []
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 2]) for name in "xy")
    graph = helper.make_graph(
        [*nodes, helper.make_node("Mul", ["x", "w"], ["y"])], "g", [x], [y], [] if constant else [weights]
    )
    data: bytes = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]).SerializeToString()
    return data


@pytest.mark.parametrize("constant", [False, True])
@pytest.mark.parametrize("location", ["weights.bin", "/etc/hostname", "../weights.bin", "*/_ORT_MEM_ADDR_/*"])
def test_a_graph_with_weights_outside_itself_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, location: str, constant: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("weights.bin").write_bytes(bytes(8))
    path = tmp_path / ENCODER_FILE
    # A length of 8 may also be written in two bytes.
    data = with_weights_outside(location, constant=constant)
    for written in (data, data.replace(b"\x0a\x08location", b"\x0a\x88\x00location")):
        path.write_bytes(written)
        with pytest.raises(InvalidGraph, match="keeps weights in a file outside itself"):
            open_onnx(path, graph_file(path), (2,), (2,))


def test_a_pipe_or_a_device_is_no_graph(folder: Path) -> None:
    card = load_card(folder)
    path = folder / ENCODER_FILE
    for make in (os.mkfifo, lambda path: path.symlink_to("/dev/zero")):
        path.unlink()
        make(path)
        with pytest.raises(InvalidGraph, match="has 0 bytes; its card says"):
            open_encoder(folder, card)


def test_onnxruntime_reports_nothing_to_its_makers(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "temporary").mkdir()
    opening = (
        "import os, sys; from pathlib import Path; from latentwire.encoder import Encoder\n"
        "Encoder.open(Path(sys.argv[1]), 1)\n"
        "print(os.environ['ORT_DISABLE_TELEMETRY'], len(os.listdir('/proc/self/task')))"
    )
    environment = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    environment |= {"TMPDIR": str(tmp_path / "temporary"), "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, "-c", opening, str(folder)]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    # What reports has a thread, and keeps a file of its session.
    assert ended.stdout == "1 1\n"
    assert not list((tmp_path / "temporary").iterdir())


def test_models_of_the_same_bytes_share_their_graph(folder: Path, tmp_path: Path) -> None:
    card = load_card(folder)
    graph = open_encoder(folder, card)
    other = Path(shutil.copytree(folder, tmp_path / "other"))
    assert open_encoder(other, card) is graph
    assert open_onnx(other / ENCODER_FILE, card.encoder, (1, 8, 6), (5,), threads=2) is not graph
    with pytest.raises(InvalidGraph, match="has the input"):
        open_onnx(other / ENCODER_FILE, card.encoder, (1, 6, 8), (5,))
    (other / ENCODER_FILE).write_bytes(b"damaged")
    with pytest.raises(InvalidGraph, match="bytes; its card says"):
        open_encoder(other, card)


def test_the_probing_graph_is_one_product_of_bytes() -> None:
    shapes = {"a": (TensorProto.UINT8, ["m", "k"]), "b": (TensorProto.INT8, ["k", "n"])}
    graph = helper.make_graph(
        [helper.make_node("MatMulInteger", ["a", "b"], ["y"])],
        "g",
        [helper.make_tensor_value_info(name, *shape) for name, shape in shapes.items()],
        [helper.make_tensor_value_info("y", TensorProto.INT32, ["m", "n"])],
    )
    assert onnx.load_from_string(onnx_session._PRODUCT).graph == graph


@pytest.mark.parametrize("exact", [False, True])
def test_sums_of_products_of_bytes_are_exact(exact: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Whatever this processor is, it also has to compute as one without VNNI does.
    monkeypatch.setattr(onnx_session, "multiplies_bytes_exactly", lambda: exact and multiplies_bytes_exactly())
    nodes = [
        helper.make_node("Cast", ["values"], ["bytes"], to=TensorProto.UINT8),
        helper.make_node("Transpose", ["bytes"], ["rows"], perm=[0, 2, 3, 1]),
        helper.make_node("MatMulInteger", ["rows", "weight"], ["products"]),
        helper.make_node("Transpose", ["products"], ["maps"], perm=[0, 3, 1, 2]),
        helper.make_node("Cast", ["maps"], ["sums"], to=TensorProto.FLOAT),
    ]
    weight = np.where(np.arange(64)[:, None] % 4 < 2, 127, -127) * np.ones((64, 16), np.int8)
    inputs, outputs = (
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, channels, f"{name}_h", f"{name}_w"])]
        for name, channels in (("values", 64), ("sums", 16))
    )
    graph = helper.make_graph(nodes, "g", inputs, outputs, [numpy_helper.from_array(weight.astype(np.int8), "weight")])
    path = tmp_path / "entropy.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), path)
    opened = open_map_graph(path, graph_file(path), {"values": 64}, {"sums": 16})
    values = np.where(np.arange(64) % 4 < 2, 255, 0).astype(np.float32)[None, :, None, None] * np.ones((1, 1, 3, 5))
    sums = opened.run("sums", values=values.astype(np.float32))
    assert (sums == 32 * 255 * 127).all()
