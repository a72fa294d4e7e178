"""Nodes of an ONNX graph, one after the other."""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import onnx
import onnx.helper
import onnx.numpy_helper

PIXELS = "pixels"
ZERO = 128  # what stands for 0 among integers that are stored as uint8
NCHW_TO_NHWC, NHWC_TO_NCHW = [0, 2, 3, 1], [0, 3, 1, 2]
Constant = npt.NDArray[np.generic] | np.generic


class OnnxNodes:
    """A graph that is being written; tensors have names."""

    def __init__(self) -> None:
        self._nodes: list[onnx.NodeProto] = []
        self._constants: dict[str, onnx.TensorProto] = {}

    def constant(self, name: str, values: Constant) -> str:
        """Return the name of a constant with these values: the one asked for, with a number if others have it."""
        tensor = onnx.numpy_helper.from_array(np.asarray(values), name)
        while self._constants.setdefault(tensor.name, tensor) != tensor:
            base, _, number = tensor.name.partition("#")
            tensor.name = f"{base}#{int(number or 1) + 1}"
        return tensor.name

    def node(self, kind: str, *inputs: str, **attributes: int | float | str | list[int]) -> str:
        """Add a node; return the name of its output."""
        output = f"{kind.lower()}_{len(self._nodes)}"
        node = onnx.helper.make_node(kind, inputs, [output])
        node.attribute.extend(onnx.helper.make_attribute(name, value) for name, value in attributes.items())
        self._nodes.append(node)
        return output

    def shifted(self, x: str, zero: int, size: int, stride: int = 1) -> list[str]:
        """Return for each place of a kernel, row by row, the values that meet it: bytes (1, h, w, channels) each.

        Args:
            x: bytes (1, h, w, channels), around which there are zeros.
            zero: what 0 is stored as.
            size: rows and columns of the kernel, odd.
            stride: of its steps, of which h and w are multiples.
        """
        reach = size // 2
        edge = self.constant(f"edge_{reach}", np.array([0, reach, reach, 0, 0, reach, reach, 0], np.int64))
        padded = self.node("Pad", x, edge, self.constant(f"pad_{zero}", np.uint8(zero)))
        axes, steps = (
            self.constant(name, np.array(at, np.int64)) for name, at in (("axes", [1, 2]), ("steps", [stride] * 2))
        )
        begin = [(row, column) for row in range(size) for column in range(size)]
        ends = [[at - 2 * reach or np.iinfo(np.int64).max for at in place] for place in begin]
        return [
            self.node(
                "Slice",
                padded,
                self.constant(f"begin_{place[0]}_{place[1]}", np.array(place, np.int64)),
                self.constant(f"end_{place[0]}_{place[1]}", np.array(end, np.int64)),
                *(axes, steps),
            )
            for place, end in zip(begin, ends, strict=True)
        ]

    def name_output(self, output: str, name: str) -> None:
        """Give the output of a node another name; nothing else may use it."""
        (node,) = (node for node in self._nodes if node.output[0] == output)
        node.output[0] = name

    def model(
        self, opset: int, inputs: Mapping[str, tuple[int, str]], outputs: Mapping[str, tuple[int, str]]
    ) -> onnx.ModelProto:
        """Return the model of all nodes.

        Inputs and outputs are float32 (1, channels, height, width), but for `pixels`: uint8 (1, height, width, 3).

        Args:
            opset: version of ONNX's operators.
            inputs: (channels, what names height and width before `_height` and `_width`) of each.
            outputs: the same, with `{}` for height and width: `{z}*4` is four times those of z.
        """
        graph = onnx.helper.make_graph(
            self._nodes,
            "main_graph",
            [_maps(name, channels, "{" + sides + "}") for name, (channels, sides) in inputs.items()],
            [_maps(name, channels, sides) for name, (channels, sides) in outputs.items()],
            list(self._constants.values()),
        )
        model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", opset)], ir_version=10)
        onnx.checker.check_model(model, full_check=True)
        return model


def _maps(name: str, channels: int, sides: str) -> onnx.ValueInfoProto:
    height, width = (sides.replace("{", "").replace("}", f"_{side}") for side in ("height", "width"))
    if name == PIXELS:
        return onnx.helper.make_tensor_value_info(name, onnx.TensorProto.UINT8, [1, height, width, channels])
    return onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1, channels, height, width])
