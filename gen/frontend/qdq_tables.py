"""Functions of one value of a QDQ file, as tables: activations, and whole chains of operators between a
DequantizeLinear and a QuantizeLinear, or through pairs of them, as long as they depend on one integer."""

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import onnx
from numpy.typing import NDArray

from systolith.gen.frontend.functions import BINARY, FUNCTIONS
from systolith.gen.frontend.qdq_nodes import attributes_of, label_of, stored
from systolith.gen.frontend.qdq_values import (
    Constant,
    Function,
    Input,
    Pending,
    Quantised,
    Refused,
    Scales,
    Table,
    Unknown,
    Value,
    View,
)
from systolith.gen.graph import Lookup, Node, Tensor
from systolith.gen.tables import real_of, rounded_table
from systolith.sim.golden.rescale import ScaleError

if TYPE_CHECKING:
    from systolith.gen.frontend.onnx_qdq import Importer


def quantised_table(values: NDArray[np.floating], target: Tensor) -> NDArray[np.int8]:
    """What a QuantizeLinear makes of real numbers."""
    try:
        return rounded_table(values, target)
    except ScaleError as error:
        raise Refused(f"{error}; keep its input where it is defined") from None


def function_of(importer: "Importer", value: Value) -> Function:
    """The value as a function of stored integers: of those of the tensor before, where a table made it."""
    if isinstance(value, Function):
        return value
    view = stored(value)
    if view.tensor in importer.functions:
        tensor, values = importer.functions[view.tensor]
        return Function(tensor, view.where, values, view.tensor, view.tensor)
    return Function(view.tensor, view.where, real_of(importer.tensors[view.tensor]), view.tensor, view.tensor)


def unary(importer: "Importer", node: onnx.NodeProto, values: list[Value]) -> Value:
    """An activation, or another function of one number."""
    function, given = function_of(importer, values[0]), attributes_of(node)
    with np.errstate(all="ignore"):
        made = FUNCTIONS[node.op_type](function.values, given).astype(np.float32)
    return replace(function, values=made, name=label_of(node), output=node.output[0])


def scalar_of(value: Value) -> np.float32 | None:
    """A constant that is one number."""
    if isinstance(value, Quantised) and value.integers.size == 1:
        return np.float32(value.real.reshape(()))
    if isinstance(value, Constant) and value.values.size == 1:
        return np.float32(value.values.reshape(()))
    return None


def together(importer: "Importer", node: onnx.NodeProto, values: list[Value]) -> Function | None:
    """An operator of two numbers as a function of one: the other is a constant, or depends on the same integers."""
    if any(isinstance(value, Pending | Input | Unknown) for value in values):
        return None
    scalars = [scalar_of(value) for value in values]
    if all(scalar is None for scalar in scalars):
        if any(isinstance(value, Constant | Quantised) for value in values):
            return None
        a, b = (function_of(importer, value) for value in values)
        if a.tensor != b.tensor or not np.array_equal(a.where, b.where):
            return None
        numbers = [a.values, b.values]
        first = a
    else:
        which = 0 if scalars[0] is None else 1
        other, constant = scalars[1 - which], values[1 - which]
        first = function_of(importer, values[which])
        assert other is not None and isinstance(constant, Constant | Quantised)
        rank = constant.values.ndim if isinstance(constant, Constant) else constant.integers.ndim
        if rank > first.where.ndim:
            first = replace(first, where=first.where.reshape((1,) * (rank - first.where.ndim) + first.where.shape))
        full = np.full(256, other, np.float32)
        numbers = [first.values, full] if which == 0 else [full, first.values]
    with np.errstate(all="ignore"):
        made = BINARY[node.op_type](*numbers).astype(np.float32)
    return replace(first, values=made, name=label_of(node), output=node.output[0])


def tabulated(importer: "Importer", function: Function) -> Pending:
    """The function as a Lookup whose rounding comes with the next QuantizeLinear."""
    def make(name: str, target: Tensor, low: int, high: int) -> Node:
        table = quantised_table(function.values, target)
        importer.functions[target.name] = function.tensor, real_of(target)[table.astype(np.int64) + 128]
        return Lookup(name, (function.tensor,), target.name, table, source=function.name)

    return Pending(make, function.name, function.output, importer.tensors[function.tensor].shape, function.where)


def looked_up(importer: "Importer", table: Table, name: str, scales: Scales) -> View:
    """A table of integers, which Gather takes from a constant: a Lookup, its output's scale being known now."""
    from systolith.gen.frontend.qdq_scales import activation_scale

    scale, zero_point = activation_scale(scales)
    source = importer.tensors[table.view.tensor]
    target = importer.like(replace(source, scale=scale, zero_point=zero_point), name, source.shape)
    importer.nodes.append(Lookup(importer.node_name(table.name), (source.name,), target.name, table.integers,
                                 source=table.name))
    return replace(table.view, tensor=target.name, real=True)
