"""The core graph as an ONNX QDQ model, so that anybody can run the quantised network in ONNX Runtime.

Every tensor gets a QuantizeLinear and a DequantizeLinear with its scale and zero point. The operator between works on
real numbers, so its result is the core graph's but for float32's rounding: 1 step in at most 0.1 % of the values.
Not shown by the file: rounding modes (ONNX rounds ties to even), and multipliers that are not made of the scales.
"""

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from .errors import UserError
from .graph import ArgMax, Graph, Node, Pool2D, Rescale, Reshape, Tensor
from .qdq_nodes import WRITERS, arg_max, image_layout

Layout = tuple[int, ...]
OPSET, IR_VERSION = 17, 8
OPSET_DILATED_AVERAGE, IR_VERSION_DILATED_AVERAGE = 19, 9


def write_qdq(graph: Graph) -> onnx.ModelProto:
    """The network as a QDQ model with float inputs and outputs in the user's layouts (images NCHW).

    Raises UserError where a tensor is not int8 or has no scale.
    """
    return QdqWriter(graph).model()


def write_operators(graph: Graph) -> tuple[onnx.ModelProto, dict[str, Layout]]:
    """The network cut apart: each operator reads int8 inputs `<tensor>_given` and makes `<tensor>_quantised`, int8.

    Also gives the layout that each tensor has in the model.
    """
    writer = QdqWriter(graph, cut=True)
    return writer.model(), writer.layouts


class QdqWriter:
    """Writes one graph; `cut` leaves the operators apart."""

    def __init__(self, graph: Graph, *, cut: bool = False) -> None:
        self.graph, self.cut = graph, cut
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: dict[str, onnx.TensorProto] = {}
        self.inputs: dict[str, onnx.ValueInfoProto] = {}
        self.outputs: list[onnx.ValueInfoProto] = []
        self.layouts: dict[str, Layout] = {}
        self.real: dict[str, str] = {}
        self.whole: dict[str, str] = {}
        """What the file calls a tensor's integers."""
        self.taken = set(graph.tensors)
        self.node_names: set[str] = set()

    def model(self) -> onnx.ModelProto:
        """The checked model."""
        for name in self.graph.inputs:
            self._input(name)
        for node in self.graph.nodes:
            self._node(node)
        if not self.cut:
            for name in self.graph.outputs:
                self._output(name)
        dilated = any(isinstance(node, Pool2D) and node.mode == "average" and node.dilations != (1, 1)
                      for node in self.graph.nodes)
        graph = helper.make_graph(self.nodes, self.graph.name or "network", list(self.inputs.values()), self.outputs,
                                  list(self.initializers.values()))
        model = helper.make_model(
            graph, producer_name="systolith", ir_version=IR_VERSION_DILATED_AVERAGE if dilated else IR_VERSION,
            opset_imports=[helper.make_opsetid("", OPSET_DILATED_AVERAGE if dilated else OPSET)])
        onnx.checker.check_model(model, full_check=True)
        return model

    # Tensors

    def _input(self, name: str) -> None:
        tensor = self.graph.tensors[name]
        self.layouts[name] = self.graph.input_layouts.get(name, image_layout(tensor))
        if not self.cut:
            self.inputs[name] = helper.make_tensor_value_info(name, TensorProto.FLOAT, self.layouts[name])
            self.real[name] = self._dequantise(tensor, self._quantise(tensor, name))

    def _output(self, name: str) -> None:
        layout = self.graph.output_layouts.get(name, self.layouts[name])
        if self.graph.tensors[name].dtype == "int32" and layout == self.layouts[name]:
            self.outputs.append(helper.make_tensor_value_info(name, TensorProto.INT64, layout))
            return
        real = self.read(name, layout)
        if self.nodes[-1].output[0] == real:
            # Nobody else reads it yet: the node itself makes the output.
            self.nodes[-1].output[0] = self.real[name] = name
        else:
            self.add("Identity", [real], name)
        self.outputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, layout))

    def scales(self, tensor: Tensor) -> list[str]:
        if tensor.dtype != "int8":
            raise UserError(f"tensor {tensor.name!r} is {tensor.dtype}; only int8 networks can be written as QDQ")
        if not np.float32(tensor.scale) > 0:
            raise UserError(f"tensor {tensor.name!r} has scale {tensor.scale}; a QDQ file needs a scale above 0")
        return [self.constant(f"{tensor.name}_scale", np.float32(tensor.scale)),
                self.constant(f"{tensor.name}_zero_point", np.int8(tensor.zero_point))]

    def _quantise(self, tensor: Tensor, real: str) -> str:
        name = f"{tensor.name}_quantised"
        self.whole[tensor.name] = self.add("QuantizeLinear", [real, *self.scales(tensor)], name)
        return name

    def _dequantise(self, tensor: Tensor, integers: str) -> str:
        name = self.unique(f"{tensor.name}_dequantised")
        return self.add("DequantizeLinear", [integers, *self.scales(tensor)], name)

    def integers(self, name: str) -> str:
        """The tensor's integers in its own layout."""
        if self.cut and name not in self.inputs:
            tensor, given = self.graph.tensors[name], f"{name}_given"
            kind = TensorProto.INT8 if tensor.dtype == "int8" else TensorProto.INT64
            self.inputs[name] = helper.make_tensor_value_info(given, kind, self.layouts[name])
            self.whole[name] = given
            self.real[name] = self._dequantise(tensor, given) if tensor.dtype == "int8" else given
        return self.whole[name]

    def read(self, name: str, layout: Layout) -> str:
        """The tensor's real values in a layout."""
        self.integers(name)
        return self._as(self.real[name], name, self.layouts[name], layout)

    def _as(self, real: str, name: str, layout: Layout, wanted: Layout) -> str:
        """The same elements, in the core's order, under another layout."""
        if layout == wanted:
            return real
        if _mixed(layout):
            real = self.add("Transpose", [real], self.unique(f"{name}_nhwc"), perm=[0, 2, 3, 1])
        rows = (1, *wanted[2:], wanted[1]) if _mixed(wanted) else wanted
        shape = self.constant(self.unique(f"{name}_shape"), np.array(rows, np.int64))
        real = self.add("Reshape", [real, shape], self.unique(f"{name}_reshaped"))
        if _mixed(wanted):
            real = self.add("Transpose", [real], self.unique(f"{name}_nchw"), perm=[0, 3, 1, 2])
        return real

    # Nodes

    def _node(self, node: Node) -> None:
        target = self.graph.tensors[node.output]
        if isinstance(node, ArgMax):
            result = self._index(target)
            self.layouts[target.name] = arg_max(self, node, result)
            self._show_index(target, result)
            return
        low, high = getattr(node, "low", -128), getattr(node, "high", 127)
        clamped = (low, high) != (-128, 127)
        plain = self.unique(f"{target.name}_raw") if target.name in self.graph.outputs else target.name
        result = self.unique(f"{target.name}_unclamped") if clamped else plain
        if type(node) in WRITERS:
            result, self.layouts[target.name] = WRITERS[type(node)](self, node, result)
        elif isinstance(node, Reshape):
            result = self._index(target) if target.dtype != "int8" else result
            result, self.layouts[target.name] = self._reshape(node, target, result)
        else:
            result, self.layouts[target.name] = self._image_operator(node, target, result)
        if clamped:
            result = self._clamp(result, target, low, high, plain)
        if target.dtype != "int8":
            self._show_index(target, result)
            return
        integers = self._quantise(target, result)
        if self.cut:
            self.outputs.append(helper.make_tensor_value_info(integers, TensorProto.INT8, self.layouts[target.name]))
        else:
            self.real[target.name] = self._dequantise(target, integers)

    def _index(self, target: Tensor) -> str:
        """The name under which a tensor of indices is made, which has no scale."""
        name = f"{target.name}_quantised" if self.cut else target.name
        self.real[target.name] = self.whole[target.name] = name
        return name

    def _show_index(self, target: Tensor, made: str) -> None:
        if self.cut:
            self.outputs.append(helper.make_tensor_value_info(made, TensorProto.INT64, self.layouts[target.name]))

    def _image_operator(self, node: Node, target: Tensor, result: str) -> tuple[str, Layout]:
        """Pools and Rescale."""
        source = self.graph.tensors[node.inputs[0]]
        if isinstance(node, Rescale) and not any(node.padding):
            layout = self.layouts[source.name]
            # The Identity keeps the tensor's name in the file.
            return self.add("Identity", [self.read(source.name, layout)], result, node), layout
        x = self.read(source.name, image_layout(source))
        if isinstance(node, Rescale):
            top, left, bottom, right = node.padding
            pads = np.array([0, 0, top, left, 0, 0, bottom, right], np.int64)
            self.add("Pad", [x, self.constant(self.unique(f"{node.name}_pads"), pads)], result, node)
        elif isinstance(node, Pool2D):
            self._pool(node, source, x, result)
        else:
            raise UserError(f"{node.operator} {node.name!r} cannot be written as QDQ")
        return result, image_layout(target)

    def _pool(self, node: Pool2D, source: Tensor, x: str, result: str) -> None:
        whole = node.kernel == source.shape[:2] and not any(node.padding) and node.dilations == (1, 1)
        if node.mode == "average" and whole:
            self.add("GlobalAveragePool", [x], result, node)
            return
        window: dict[str, Any] = {
            "kernel_shape": list(node.kernel), "strides": list(node.strides), "pads": list(node.padding)}
        if node.dilations != (1, 1):
            window["dilations"] = list(node.dilations)
        if node.mode == "average":
            window["count_include_pad"] = int(not node.exclude_padding)
        self.add("MaxPool" if node.mode == "max" else "AveragePool", [x], result, node, **window)

    def _reshape(self, node: Node, target: Tensor, result: str) -> tuple[str, Layout]:
        source = node.inputs[0]
        layout = self.graph.output_layouts.get(target.name)
        if layout is None:
            layout = (1, target.shape[2]) if target.shape[:2] == (1, 1) else image_layout(target)
        real = self.read(source, self.layouts[source])
        changed = self._as(real, target.name, self.layouts[source], layout)
        if changed != real:
            self.nodes[-1].output[0] = result
            return result, layout
        return self.add("Identity", [real], result, node), layout

    def _clamp(self, real: str, target: Tensor, low: int, high: int, result: str) -> str:
        if low == target.zero_point and high == 127:
            return self.add("Relu", [real], result)
        bounds = ["", ""]
        for index, (bound, limit) in enumerate(((low, -128), (high, 127))):
            if bound != limit:
                name = self.unique(f"{target.name}_{('low', 'high')[index]}")
                bounds[index] = self.constant(name, np.float32((bound - target.zero_point) * target.scale))
        return self.add("Clip", [real, *bounds], result)

    # The file

    def add(self, operator: str, inputs: list[str], output: str, node: Node | None = None, **attributes: Any) -> str:
        while inputs[-1] == "":
            inputs = inputs[:-1]
        self.taken.add(output)
        name = self._free(node.name if node else output, self.node_names)
        self.node_names.add(name)
        self.nodes.append(helper.make_node(operator, inputs, [output], name, **attributes))
        return output

    def constant(self, name: str, values: NDArray[Any] | np.generic) -> str:
        self.initializers.setdefault(name, numpy_helper.from_array(np.asarray(values), name))
        self.taken.add(name)
        return name

    def unique(self, name: str) -> str:
        """A name for a value, taken from now on."""
        free = self._free(name, self.taken)
        self.taken.add(free)
        return free

    @staticmethod
    def _free(name: str, taken: set[str]) -> str:
        number, candidate = 1, name
        while candidate in taken:
            number, candidate = number + 1, f"{name}_{number + 1}"
        return candidate


def _mixed(layout: Layout) -> bool:
    """An image whose elements the core keeps in another order than ONNX."""
    return len(layout) == 4 and layout[1] > 1 and layout[2] * layout[3] > 1
