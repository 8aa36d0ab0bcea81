"""Import of what works element by element, and of what only changes a shape."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..float_graph import FloatAdd, FloatAffine, FloatClamp
from .builder import Builder, Operation, Unsupported, Value
from .load import type_name
from .operators import operator

Array = NDArray[Any]


@operator("Relu", unit="with the layer before", notes="")
def relu(b: Builder, op: Operation) -> None:
    _clamp(b, op, 0.0, math.inf)


@operator("Clip", unit="with the layer before", notes="limits constant", attributes=("min", "max"))
def clip(b: Builder, op: Operation) -> None:
    def limit(place: int, name: str, otherwise: float) -> float:
        if op.input(place):
            return float(b.constant(op.input(place), f"{name}imum").reshape(-1)[0])
        return float(op.attributes.get(name, otherwise))

    low, high = limit(1, "min", -math.inf), limit(2, "max", math.inf)
    _clamp(b, op, min(low, high), high)


def _clamp(b: Builder, op: Operation, low: float, high: float) -> None:
    x = b.value(op.inputs[0])
    b.add(FloatClamp(op.name, (x.tensor,), op.outputs[0], low, high, source=op.source), x.index)


def _affine(b: Builder, op: Operation, x: Value, scale: Array, offset: Array) -> None:
    """x * scale + offset, which broadcast to the file's shape of x and may differ from channel to channel only."""
    try:
        fits = np.broadcast_shapes(x.shape, scale.shape, offset.shape) == x.shape
    except ValueError:
        fits = False
    if not fits:
        raise Unsupported(f"it takes {list(x.shape)} and {list(max(scale.shape, offset.shape))}",
                          "give the constant the shape of a channel")
    tensor, index = x.tensor, x.index
    if len(x.shape) < 4:
        tensor, order = b.matrix(x)
        index = (np.arange(x.index.size // len(order))[:, None] * len(order) + order).reshape(x.shape)
    height, width, channels = b.shapes[tensor]

    def by_channel(constant: Array) -> Array:
        placed: Array = np.empty(index.size, np.float64)
        placed[index.ravel()] = np.broadcast_to(constant, x.shape).ravel()
        rows: Array = placed.reshape(height * width, channels)
        if not np.array_equal(rows, np.broadcast_to(rows[0], rows.shape)):
            raise Unsupported("its constant differs from place to place", "use one value a channel")
        first: Array = rows[0]
        return first

    b.add(FloatAffine(op.name, (tensor,), op.outputs[0], by_channel(scale), by_channel(offset), source=op.source),
          index)


_ZERO, _ONE = np.zeros(()), np.ones(())


@operator("Add", unit="vector", notes="two tensors of one shape, or a constant a channel (folded)")
def add(b: Builder, op: Operation) -> None:
    first, second = op.inputs
    if first in b.constants:
        first, second = second, first
    if second in b.constants:
        _affine(b, op, b.value(first), _ONE, b.constants[second])
        return
    x, y = b.value(first), b.value(second)
    if x.shape != y.shape or not np.array_equal(x.index, y.index):
        what = f"shapes {list(x.shape)} and {list(y.shape)}" if x.shape != y.shape else "operands in another order"
        raise Unsupported(f"it adds {what}", "add tensors of equal shape")
    other = b.reshaped(y.tensor, b.shapes[x.tensor])
    b.add(FloatAdd(op.name, (x.tensor, other), op.outputs[0], source=op.source), x.index)


@operator("Sub", "Mul", "Div", unit="folded", notes="with a constant a channel")
def with_constant(b: Builder, op: Operation) -> None:
    first, second = op.inputs
    if first not in b.constants and second not in b.constants:
        raise Unsupported("both operands are computed", "only Add takes two tensors")
    if second in b.constants:
        x, c = b.value(first), b.constants[second].astype(np.float64)
        if op.kind == "Div" and not c.all():
            raise Unsupported("it divides by 0", "repair the constant")
        scale, offset = {"Sub": (_ONE, -c), "Mul": (c, _ZERO)}[op.kind] if op.kind != "Div" else (1 / c, _ZERO)
    else:
        x, c = b.value(second), b.constants[first].astype(np.float64)
        if op.kind == "Div":
            raise Unsupported("it divides by a computed value", "divide by a constant only")
        scale, offset = (-_ONE, c) if op.kind == "Sub" else (c, _ZERO)
    _affine(b, op, x, scale, offset)


@operator("BatchNormalization", unit="folded", notes="into the convolution before it, otherwise a 1x1 convolution",
          attributes=("epsilon", "momentum", "spatial", "training_mode"))
def batch_normalization(b: Builder, op: Operation) -> None:
    if op.attributes.get("training_mode") or not op.attributes.get("spatial", 1):
        raise Unsupported("it is in training mode or not spatial", "export the network for inference")
    gain, beta, mean, variance = (b.constant(name, what).astype(np.float64) for name, what in
                                  zip(op.inputs[1:], ("scale", "bias", "mean", "variance"), strict=True))
    x = b.value(op.inputs[0])
    scale = gain / np.sqrt(variance + op.attributes.get("epsilon", 1e-5))
    offset = beta - mean * scale
    shape = (-1, *(1,) * (len(x.shape) - 2))
    _affine(b, op, x, scale.reshape(shape), offset.reshape(shape))


def _alias(b: Builder, op: Operation, index: Array) -> None:
    b.values[op.outputs[0]] = Value(b.value(op.inputs[0]).tensor, index)


@operator("Identity", "Dropout", unit="none", notes="dropped", attributes=("ratio", "seed", "is_test"))
def identity(b: Builder, op: Operation) -> None:
    if op.input(2) and b.constant(op.input(2), "training mode").any():
        raise Unsupported("it is in training mode", "export the network for inference")
    _alias(b, op, b.value(op.inputs[0]).index)


@operator("Cast", unit="none", notes="to a float type", attributes=("to", "saturate", "round_mode"))
def cast(b: Builder, op: Operation) -> None:
    kind = type_name(op.attributes["to"])
    if kind not in ("FLOAT", "FLOAT16", "BFLOAT16", "DOUBLE"):
        raise Unsupported(f"it casts to {kind}", "keep to float")
    _alias(b, op, b.value(op.inputs[0]).index)


@operator("Flatten", unit="none", notes="no data is moved", attributes=("axis",))
def flatten(b: Builder, op: Operation) -> None:
    x = b.value(op.inputs[0])
    axis = op.attributes.get("axis", 1)
    axis += len(x.shape) if axis < 0 else 0
    _alias(b, op, x.index.reshape(math.prod(x.shape[:axis]), -1))


@operator("Reshape", unit="none", notes="where no data has to be moved", attributes=("allowzero",))
def reshape(b: Builder, op: Operation) -> None:
    x = b.value(op.inputs[0])
    wanted = b.constant(op.inputs[1], "shape").tolist()
    if not op.attributes.get("allowzero"):
        wanted = [x.shape[i] if size == 0 and i < len(x.shape) else size for i, size in enumerate(wanted)]
    try:
        _alias(b, op, x.index.reshape(wanted))
    except ValueError:
        raise Unsupported(f"it makes {wanted} of {list(x.shape)}", "export with a batch of 1") from None


@operator("Squeeze", "Unsqueeze", unit="none", attributes=("axes",))
def squeeze(b: Builder, op: Operation) -> None:
    x = b.value(op.inputs[0])
    given = b.constant(op.input(1), "axes").tolist() if op.input(1) else op.attributes.get("axes")
    axes = None if given is None else tuple(given)
    if op.kind == "Unsqueeze":
        _alias(b, op, np.expand_dims(x.index, axes or ()))
    else:
        _alias(b, op, np.squeeze(x.index, axes))


@operator("Transpose", unit="none", notes="where no data has to be moved", attributes=("perm",))
def transpose(b: Builder, op: Operation) -> None:
    _alias(b, op, np.transpose(b.value(op.inputs[0]).index, op.attributes.get("perm")))
