"""Import of the layers: convolutions, matrix products, pools, pads."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..float_graph import FloatConv, FloatDepthwise, FloatMatMul, FloatPad, FloatPool, FloatTransposedConv
from .builder import Builder, Operation, Unsupported, Value
from .layout import constant_tensor, rows
from .operators import operator
from .reductions import reduction
from .windows import Window, transposed_padding, window

Array = NDArray[Any]


def _bias(b: Builder, name: str, count: int) -> Array:
    if not name:
        return np.zeros(count, np.float32)
    given = b.constant(name, "bias").astype(np.float32)
    if given.size not in (1, count) or (given.ndim and given.shape[-1] != given.size):
        raise Unsupported(f"its bias has the shape {list(given.shape)}, not [{count}]", "use one bias an output")
    return np.broadcast_to(given.reshape(-1), (count,)).copy()


@operator("Conv", unit="array", notes="2-D; a group a channel is depthwise, other groups become dense weights; weights "
          "and bias constant", attributes=("auto_pad", "dilations", "group", "kernel_shape", "pads", "strides"))
def conv(b: Builder, op: Operation) -> None:
    tensor, shape = b.image(b.value(op.inputs[0]))
    weights = b.constant(op.inputs[1], "weights").astype(np.float32)
    groups = op.attributes.get("group", 1)
    outputs, inputs, height, width = weights.shape
    if inputs * groups != shape[2] or outputs % groups:
        raise Unsupported(f"weights {list(weights.shape)} in {groups} groups do not fit {shape[2]} channels",
                          "repair the file")
    view, bias, source = window(op, shape, (height, width)), _bias(b, op.input(2), outputs), op.source
    if groups == shape[2] and groups > 1:
        b.add(FloatDepthwise(op.name, (tensor,), op.outputs[0], weights[:, 0], bias, view.strides, view.dilations,
                             view.padding, source=source))
        return
    dense = np.zeros((outputs, height, width, shape[2]), np.float32)
    step = outputs // groups
    for group in range(groups):
        rows = slice(group * step, (group + 1) * step)
        dense[rows, ..., group * inputs:(group + 1) * inputs] = weights[rows].transpose(0, 2, 3, 1)
    if groups > 1:
        source = f"{op.name} (Conv, {groups} groups as dense weights: {groups} times the products)"
        b.warnings.append(f"{op.name}: a convolution of {groups} groups runs with dense weights, {groups} times the "
                          "products that it needs")
    b.add(FloatConv(op.name, (tensor,), op.outputs[0], dense, bias, view.strides, view.dilations, view.padding,
                    source=source))


@operator("ConvTranspose", unit="array", notes="2-D; one group; weights and bias constant", attributes=(
    "auto_pad", "dilations", "group", "kernel_shape", "output_padding", "output_shape", "pads", "strides"))
def conv_transpose(b: Builder, op: Operation) -> None:
    tensor, shape = b.image(b.value(op.inputs[0]))
    weights = b.constant(op.inputs[1], "weights").astype(np.float32)
    if op.attributes.get("group", 1) != 1:
        raise Unsupported(f"it has {op.attributes['group']} groups", "use one group, or resize and convolve instead")
    inputs, outputs, height, width = weights.shape
    if inputs != shape[2]:
        raise Unsupported(f"weights {list(weights.shape)} do not fit {shape[2]} channels", "repair the file")
    dy, dx = op.attributes.get("dilations") or (1, 1)
    spread = np.zeros((outputs, (height - 1) * dy + 1, (width - 1) * dx + 1, inputs), np.float32)
    spread[:, ::dy, ::dx] = weights.transpose(1, 2, 3, 0)
    sy, sx = op.attributes.get("strides") or (1, 1)
    padding = transposed_padding(op.attributes, shape[:2], spread.shape[1:3], (sy, sx))
    b.add(FloatTransposedConv(op.name, (tensor,), op.outputs[0], spread, _bias(b, op.input(2), outputs), (sy, sx),
                              padding, source=op.source))


def _linear(b: Builder, op: Operation, weights: Array, bias: Array) -> None:
    """[..., K] times [K, N]: a 1x1 convolution on one row of the map."""
    x = b.value(op.inputs[0])
    if weights.ndim != 2 or not x.shape or weights.shape[0] != x.shape[-1]:
        raise Unsupported(f"its operands have the shapes {list(x.shape)} and {list(weights.shape)}",
                          "multiply [rows, K] by a constant [K, N]")
    found = rows(b, x)
    # the graph's row holds element k of the file's row at place order[k]
    placed = np.empty_like(weights)
    placed[found.order] = weights
    outputs = weights.shape[1]
    b.add(FloatConv(op.name, (found.tensor,), op.outputs[0], np.ascontiguousarray(placed.T)[:, None, None, :], bias,
                    source=op.source), found.places[..., None] * outputs + np.arange(outputs))


def _matrices(b: Builder, op: Operation, name: str) -> Value:
    """An operand of a product: a computed value, or constants [..., rows, columns] as a tensor [rows, ..., columns]."""
    values = b.constants.get(name)
    if values is None or values.ndim < 2:
        return b.value(name)
    count, (height, columns) = math.prod(values.shape[:-2]), values.shape[-2:]
    tensor = constant_tensor(b, op.outputs[0], values.reshape(count, height, columns).transpose(1, 0, 2))
    index = np.arange(values.size).reshape(height, count, columns).transpose(1, 0, 2)
    return Value(tensor, index.reshape(values.shape))


def _product(b: Builder, op: Operation, x: Value, y: Value, scale: float) -> None:
    """[..., M, K] times [..., K, N], both computed: the axes before are the heads, of which some may share a second
    operand."""
    batch = np.broadcast_shapes(x.shape[:-2], y.shape[:-2])
    height, inner, columns, heads = x.shape[-2], x.shape[-1], y.shape[-1], math.prod(batch)
    first = np.broadcast_to(x.index, (*batch, height, inner)).reshape(heads, height, inner)
    second = np.broadcast_to(y.index, (*batch, inner, columns)).reshape(heads, inner, columns)
    for groups in (count for count in range(1, heads + 1) if heads % count == 0):
        each = second.reshape(groups, heads // groups, inner, columns)
        if np.array_equal(each, np.broadcast_to(each[:, :1], each.shape)):
            break
    second = each[:, 0]
    a = b.arranged(x.tensor, first.transpose(1, 0, 2), (height, heads, inner))
    straight = second.transpose(1, 0, 2)
    # as it lies, a single column in its row; where it must be moved, so that what is fast stays so
    lies = np.array_equal(straight.reshape(-1), np.arange(straight.size)) and not (
        b.shapes[y.tensor][0] == columns == 1 < inner)
    transposed = not lies and (inner == 1 or bool(second[0, 1, 0] - second[0, 0, 0] == 1))
    if transposed:
        other = b.arranged(y.tensor, second.transpose(2, 0, 1), (columns, groups, inner))
    else:
        other = b.arranged(y.tensor, straight, (inner, groups, columns))
    b.add(FloatMatMul(op.name, (a, other), op.outputs[0], transposed, scale, source=op.source),
          np.arange(height * heads * columns).reshape(height, heads, columns).transpose(1, 0, 2).reshape(
              *batch, height, columns))


@operator("Gemm", unit="array", notes="bias constant, and none where both operands are computed; not transA",
          attributes=("alpha", "beta", "transA", "transB"))
def gemm(b: Builder, op: Operation) -> None:
    if op.attributes.get("transA"):
        raise Unsupported("transA is set", "transpose the first operand when exporting")
    alpha = op.attributes.get("alpha", 1.0)
    if op.inputs[1] not in b.constants:
        if op.input(2) and b.constant(op.input(2), "bias").any():
            raise Unsupported("both operands are computed and it has a bias", "use MatMul and Add")
        x, y = b.value(op.inputs[0]), b.value(op.inputs[1])
        _product(b, op, x, Value(y.tensor, y.index.T) if op.attributes.get("transB") else y, alpha)
        return
    weights = b.constant(op.inputs[1], "second operand").astype(np.float32) * alpha
    weights = weights.T if op.attributes.get("transB") else weights
    bias = _bias(b, op.input(2), weights.shape[1]) * op.attributes.get("beta", 1.0)
    _linear(b, op, weights.astype(np.float32), bias.astype(np.float32))


@operator("MatMul", unit="array", notes="by a constant; of two computed operands a head at a time, with shared ones")
def matmul(b: Builder, op: Operation) -> None:
    weights = b.constants.get(op.inputs[1])
    if weights is None or math.prod(weights.shape[:-2]) > 1:
        x, y = _matrices(b, op, op.inputs[0]), _matrices(b, op, op.inputs[1])
        if min(len(x.shape), len(y.shape)) < 2:
            raise Unsupported(f"its operands have the shapes {list(x.shape)} and {list(y.shape)}", "multiply matrices")
        _product(b, op, x, y, 1.0)
        return
    weights = weights[(0,) * (weights.ndim - 2)].astype(np.float32)
    _linear(b, op, weights, np.zeros(weights.shape[-1], np.float32))


_POOL = ("auto_pad", "ceil_mode", "dilations", "kernel_shape", "pads", "strides")


def _pool(b: Builder, op: Operation, mode: str, view: Window, tensor: str, exclude: bool) -> None:
    b.add(FloatPool(op.name, (tensor,), op.outputs[0], mode, view.kernel, view.strides, view.dilations, view.padding,
                    exclude, source=op.source))


@operator("MaxPool", unit="vector", notes="2-D; without Indices", attributes=(*_POOL, "storage_order"))
def max_pool(b: Builder, op: Operation) -> None:
    if len(op.outputs) > 1 and op.outputs[1]:
        raise Unsupported("its output Indices is used", "leave Indices out")
    tensor, shape = b.image(b.value(op.inputs[0]))
    _pool(b, op, "max", window(op, shape), tensor, False)


@operator("AveragePool", unit="vector", notes="2-D; padding counted or not",
          attributes=(*_POOL, "count_include_pad"))
def average_pool(b: Builder, op: Operation) -> None:
    tensor, shape = b.image(b.value(op.inputs[0]))
    view = window(op, shape)
    include = bool(op.attributes.get("count_include_pad", 0))
    if include and view.extended:
        raise Unsupported("ceil_mode adds windows that end outside the padding which count_include_pad counts",
                          "clear ceil_mode or count_include_pad")
    _pool(b, op, "average", view, tensor, not include and any(view.padding))


@operator("GlobalAveragePool", "GlobalMaxPool", unit="vector", notes="2-D")
def global_pool(b: Builder, op: Operation) -> None:
    tensor, (height, width, _) = b.image(b.value(op.inputs[0]))
    view = Window((height, width), (1, 1), (1, 1), (0, 0, 0, 0))
    _pool(b, op, "average" if op.kind == "GlobalAveragePool" else "max", view, tensor, False)


@operator("ReduceMean", "ReduceMax", unit="vector", notes="over one or two axes, the batch excepted",
          attributes=("axes", "keepdims", "noop_with_empty_axes"))
def reduce(b: Builder, op: Operation) -> None:
    given = b.constant(op.input(1), "axes").tolist() if op.input(1) else op.attributes.get("axes") or []
    x = b.value(op.inputs[0])
    found = reduction(x.shape, given, tall=True)
    if found is None:
        raise Unsupported(f"it reduces axes {given} of {list(x.shape)}", "reduce one or two axes, not the batch")
    tensor = b.arranged(x.tensor, x.index.transpose(found.order), found.shape)
    b.add(FloatPool(op.name, (tensor,), op.outputs[0], "max" if op.kind == "ReduceMax" else "average", found.kernel,
                    source=op.source), found.places(bool(op.attributes.get("keepdims", 1))))


@operator("Pad", unit="vector", notes="constant 0, height and width; free where a window operator takes it",
          attributes=("mode", "pads", "value"))
def pad(b: Builder, op: Operation) -> None:
    mode = op.attributes.get("mode", "constant")
    if mode != "constant":
        raise Unsupported(f"its mode is {mode}", "pad with a constant")
    tensor, _ = b.image(b.value(op.inputs[0]))
    given = b.constant(op.input(1), "pads").tolist() if op.input(1) else list(op.attributes.get("pads", []))
    axes = [axis % 4 for axis in b.constant(op.input(3), "axes").tolist()] if op.input(3) else [0, 1, 2, 3]
    value = float(b.constant(op.input(2), "value").reshape(-1)[0]) if op.input(2) else op.attributes.get("value", 0.0)
    before, after = dict(zip(axes, given, strict=False)), dict(zip(axes, given[len(axes):], strict=False))
    elsewhere = any(before.get(axis, 0) or after.get(axis, 0) for axis in (0, 1))
    if len(given) != 2 * len(axes) or elsewhere or min(given) < 0:
        raise Unsupported(f"its pads are {given}", "pad height and width, by 0 or more")
    if value not in (0, -math.inf):
        raise Unsupported(f"it pads with {value:g}", "pad with 0, or a MaxPool with -inf")
    border = (before.get(2, 0), before.get(3, 0), after.get(2, 0), after.get(3, 0))
    b.add(FloatPad(op.name, (tensor,), op.outputs[0], border, float(value), source=op.source))
