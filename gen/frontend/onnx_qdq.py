"""ONNX QDQ networks, as ONNX Runtime's static quantiser writes them, to the core graph.

An operator between DequantizeLinear and QuantizeLinear becomes one core node: its real result is rounded once, by the
QuantizeLinear; a Relu or Clip in between becomes its clamp. uint8 tensors become int8 with the zero point moved by 128.
What is not supported is listed in one UserError.
"""

from collections.abc import Container
from dataclasses import replace

import numpy as np
import onnx
from onnx import numpy_helper

from systolith.gen.errors import UserError
from systolith.gen.frontend.load import opset
from systolith.gen.frontend.qdq_ends import finished, inferred_shapes
from systolith.gen.frontend.qdq_nodes import rescaled, settled
from systolith.gen.frontend.qdq_operators import ADVICE, OPERATORS
from systolith.gen.frontend.qdq_scales import activation_scale, quantise_constant, read_scales, step
from systolith.gen.frontend.qdq_tables import looked_up, tabulated
from systolith.gen.frontend.qdq_values import (
    Constant,
    Function,
    Input,
    Pending,
    Quantised,
    Reals,
    Refused,
    Scales,
    Table,
    Unknown,
    Value,
    View,
    core_shape,
    positions,
)
from systolith.gen.graph import Graph, Node, Reshape, Shape, Tensor

UNSUPPORTED = "is not supported in a quantised network; leave it to the host, or export the network without it"


def import_qdq(model: onnx.ModelProto, name: str) -> Graph:
    """The core graph of a QDQ network.

    Tensors keep the names that the file gives them before their QuantizeLinear; inputs and outputs keep theirs.
    Raises UserError with all that is not supported, a line each.
    """
    return Importer(model, name).run()


class Importer:
    """Walks the nodes of one file in order; `values` says what each name stands for."""

    def __init__(self, model: onnx.ModelProto, name: str) -> None:
        self.model, self.name = model, name
        self.opset = opset(model)
        self.values: dict[str, Value] = {}
        self.tensors: dict[str, Tensor] = {}
        self.nodes: list[Node] = []
        self.inputs: list[str] = []
        self.layouts: dict[str, tuple[int, ...]] = {}
        self.problems: list[str] = []
        self.stand_ins: set[str] = set()
        self.functions: dict[str, tuple[str, Reals]] = {}
        """Of tensors that tables make: the tensor that the table reads, and what its 256 integers become."""
        self.arranged: dict[tuple[str, Shape, bytes], str] = {}
        """Tensors by the tensor that they hold in another order, their shape and the order."""
        self.shapes = inferred_shapes(model)

    def run(self) -> Graph:
        graph = self.model.graph
        self.values[""] = Unknown()
        for tensor in graph.initializer:
            self.values[tensor.name] = Constant(numpy_helper.to_array(tensor))
        for value in graph.input:
            if value.name not in self.values:
                self._input(value)
        for node in graph.node:
            self._node(node)
        outputs = [self._output(value.name) for value in graph.output]
        if self.problems:
            raise UserError(f"{self.name} has {len(self.problems)} things that cannot be imported:\n  "
                            + "\n  ".join(self.problems))
        return self._finish([output for output in outputs if output is not None])

    def _input(self, value: onnx.ValueInfoProto) -> None:
        dims = value.type.tensor_type.shape.dim
        shape = []
        for axis, dim in enumerate(dims):
            if not dim.HasField("dim_value") and axis:
                self.problems.append(f"input {value.name!r}: dimension {axis} ({dim.dim_param or 'unnamed'}) has no "
                                     "size; export the network with a fixed shape")
            shape.append(dim.dim_value if dim.HasField("dim_value") else 1)
        if len(shape) > 1 and shape[0] != 1 and len(shape) != 2:
            self.problems.append(f"input {value.name!r}: the batch is {shape[0]}; export the network with batch 1")
            shape[0] = 1
        dtype = onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type).name
        self.values[value.name] = Input(value.name, tuple(shape), dtype)

    def _node(self, node: onnx.NodeProto) -> None:
        """Sets the values that the node makes; one that cannot be imported is noted, and reading goes on behind it."""
        label = f"{node.op_type} {node.name or node.output[0]!r}"
        inputs = [self.values.get(name, Unknown()) for name in node.input]
        made: Value | list[Value] = Unknown()
        try:
            if node.op_type == "QuantizeLinear":
                made = self._quantise(node, inputs)
            elif node.op_type == "DequantizeLinear":
                made = self._dequantise(node, inputs)
            elif node.op_type in OPERATORS:
                known = [given for name, given in zip(node.input, inputs, strict=True) if name]
                if not any(isinstance(given, Unknown) for given in known):
                    made = OPERATORS[node.op_type](self, node, inputs)
            else:
                raise Refused(ADVICE.get(node.op_type, UNSUPPORTED))
        except Refused as refused:
            self.problems.append(f"{label}: {refused}")
            made = self._stand_in(node)
        except (IndexError, KeyError, ValueError) as error:
            self.problems.append(f"{label}: cannot be read ({error}); check the file with onnx.checker")
        values = made if isinstance(made, list) else [made]
        self.values.update({name: Unknown() for name in node.output})
        self.values.update(zip(node.output, values, strict=False))

    def _stand_in(self, node: onnx.NodeProto) -> Value:
        """A value of the shape that ONNX gives a refused node, so that those behind it are checked too."""
        name = node.output[0]
        shape = self.shapes.get(name)
        if shape is None or len(shape) > 4 or (len(shape) > 2 and shape[0] != 1):
            return Unknown()
        tensor = self.unique(f"{name} (not imported)", self.tensors)
        self.tensors[tensor] = Tensor(tensor, core_shape(shape))
        self.stand_ins.add(tensor)
        return View(tensor, positions(shape), real=node.op_type != "QuantizeLinear")

    # Scales

    def _dequantise(self, node: onnx.NodeProto, inputs: list[Value]) -> Value:
        if isinstance(inputs[0], Unknown):
            return Unknown()
        scales = read_scales(node, inputs)
        match inputs[0]:
            case Constant(values):
                return Quantised(values.astype(np.int64), scales)
            case Input() as entry:
                if entry.dtype != scales.dtype:
                    raise Refused(f"reads the {entry.dtype} input {entry.name!r} as {scales.dtype}")
                return self._enter(entry, scales)
            case View(tensor, where, real=False):
                source = self.tensors[tensor]
                if source.dtype != "int8":
                    raise Refused("reads indices, which have no scale; take them as an output")
                if tensor not in self.stand_ins and (source.scale, source.zero_point) != activation_scale(scales):
                    raise Refused("has another scale or zero point than the QuantizeLinear before it")
                return View(tensor, where, real=True)
            case Table() as table:
                return looked_up(self, table, node.output[0], scales)
        raise Refused("reads real numbers; it belongs behind a QuantizeLinear")

    def _quantise(self, node: onnx.NodeProto, inputs: list[Value]) -> Value:
        if isinstance(inputs[0], Unknown):
            return Unknown()
        scales = read_scales(node, inputs)
        match inputs[0]:
            case Constant(values):
                return quantise_constant(values, scales)
            case Input() as entry:
                if entry.dtype != "float32":
                    raise Refused(f"reads the {entry.dtype} input {entry.name!r}; only float32 is quantised")
                return replace(self._enter(entry, scales), real=False, dtype=scales.dtype)
            case Quantised() as constant:
                return self._quantise(node, [Constant(constant.real.astype(np.float32)), *inputs[1:]])
        scale, zero_point = activation_scale(scales)
        taken = {*self.tensors, *(value.name for value in self.model.graph.output)}
        target = Tensor(self.unique(node.input[0], taken), (0, 0, 0), "int8", scale, zero_point)
        return replace(self.rounded(inputs[0], target), dtype=scales.dtype)

    def _enter(self, entry: Input, scales: Scales) -> View:
        """The graph input, whose scale is known now."""
        scale, zero_point = activation_scale(scales)
        view, known = View(entry.name, positions(entry.shape), real=True), self.tensors.get(entry.name)
        if known is not None:
            if (known.scale, known.zero_point) != (scale, zero_point):
                raise Refused(f"gives the input {entry.name!r} a second scale; quantise an input once")
            return view
        self.tensors[entry.name] = Tensor(entry.name, core_shape(entry.shape), "int8", scale, zero_point)
        self.inputs.append(entry.name)
        self.layouts[entry.name] = entry.shape
        return view

    # Core nodes

    def rounded(self, value: Value, target: Tensor) -> View:
        """What a QuantizeLinear makes: the pending operator's node, a rescale, a reshape, or the tensor as it is."""
        if isinstance(value, View) and value.real:
            source = self.tensors[value.tensor]
            if (source.scale, source.zero_point) == (target.scale, target.zero_point):
                if self._shape(value.where.shape, source.shape) == source.shape:
                    return replace(value, real=False)
                return replace(self.reshaped(value, target.name), real=False)
            value = rescaled(self, value, target.name)
        if isinstance(value, Function):
            value = tabulated(self, value)
        if not isinstance(value, Pending):
            raise Refused("reads integers; a DequantizeLinear belongs before it")
        low, high = (step(bound, target) for bound in (value.low, value.high))
        shape = self._shape(value.where.shape, value.shape)
        direct = shape == value.shape
        name = target.name if direct else self.unique(value.output, {*self.tensors, target.name})
        output = self.tensors[name] = replace(target, name=name, shape=value.shape)
        self.nodes.append(value.make(self.node_name(value.name), output, low, high))
        view = View(output.name, value.where, real=False)
        return view if direct else self.reshaped(view, target.name)

    @staticmethod
    def _shape(shape: tuple[int, ...], otherwise: Shape) -> Shape:
        """The core shape of a file's tensor; one that the core has none for stays as it lies."""
        try:
            return core_shape(shape)
        except Refused:
            return otherwise

    def reshaped(self, view: View, name: str) -> View:
        """The view's tensor under its file's shape: a Reshape node."""
        source = self.tensors[view.tensor]
        target = replace(source, name=self.unique(name, self.tensors), shape=core_shape(view.where.shape))
        self.tensors[target.name] = target
        self.nodes.append(Reshape(self.node_name(target.name), (view.tensor,), target.name, source=name))
        if view.tensor in self.functions:
            self.functions[target.name] = self.functions[view.tensor]
        return replace(view, tensor=target.name)

    def like(self, source: Tensor, name: str, shape: Shape) -> Tensor:
        """A new tensor of the same type."""
        taken = {*self.tensors, *(value.name for value in self.model.graph.output)}
        target = replace(source, name=self.unique(name, taken), shape=shape)
        self.tensors[target.name] = target
        return target

    def node_name(self, name: str) -> str:
        """The name, or one like it that no node has."""
        return self.unique(name, {node.name for node in self.nodes})

    @staticmethod
    def unique(name: str, taken: Container[str]) -> str:
        """The name, with a number behind it where it is taken."""
        number, candidate = 1, name
        while candidate in taken:
            number, candidate = number + 1, f"{name}_{number + 1}"
        return candidate

    def _output(self, name: str) -> str | None:
        """The core tensor of a graph output."""
        value = self.values.get(name)
        if isinstance(value, Unknown):
            return None
        if not isinstance(value, View):
            what = "is an input or a constant; only what the network computes can be an output"
            if isinstance(value, Pending | Function):
                what = "is not quantised; put a QuantizeLinear and a DequantizeLinear before it"
            self.problems.append(f"output {name!r}: {what}")
            return None
        self.layouts[name] = value.where.shape
        try:
            return settled(self, value).name
        except Refused as refused:
            self.problems.append(f"output {name!r}: {refused}")
            return None

    def _finish(self, found: list[str]) -> Graph:
        """The graph. An input, or a tensor that is an output already, becomes an output through a Reshape."""
        outputs: dict[str, str] = {}
        for tensor, value in zip(found, self.model.graph.output, strict=True):
            if tensor in self.inputs or tensor in outputs.values():
                view = View(tensor, positions(self.layouts[value.name]), real=False)
                tensor = self.reshaped(view, value.name).tensor
            outputs[value.name] = tensor
        return finished(self.name, self.inputs, outputs, self.tensors, self.nodes, self.layouts)
