"""Import of what works element by element."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..float_graph import FloatAdd, FloatAffine, FloatClamp, FloatFunction, FloatMul, FloatNode
from .builder import Builder, Function, Operation, Unsupported, Value
from .functions import BINARY, FUNCTIONS
from .layout import constant_tensor, operand, placed, rows, usual
from .masks import HUGE
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
    if _made_by_function(b, x):
        _function(b, op, x, lambda v: np.clip(v, v.dtype.type(low), v.dtype.type(high)))
        return
    b.add(FloatClamp(op.name, (x.tensor,), op.outputs[0], low, high, source=op.source), x.index)
    _note(b, op, x, lambda v: np.clip(v, v.dtype.type(low), v.dtype.type(high)))


def _made_by_function(b: Builder, x: Value) -> bool:
    """A table makes the value: what follows joins it."""
    return any(isinstance(node, FloatFunction) and node.output == x.tensor for node in b.nodes)


def _root(b: Builder, x: Value) -> tuple[str, Function]:
    """The tensor of which the value is a function, and that function."""
    return b.functions.get(x.tensor, (x.tensor, lambda v: v))


def _note(b: Builder, op: Operation, x: Value, function: Function) -> None:
    """Remembers that the output is a function of what `x` is one of."""
    root, before = _root(b, x)
    b.functions[op.outputs[0]] = root, lambda v: function(before(v))


def _function(b: Builder, op: Operation, x: Value, function: Function) -> None:
    """A function of the value, joined with what made it."""
    root, before = _root(b, x)
    b.functions[op.outputs[0]] = made = root, lambda v: function(before(v))
    b.add(FloatFunction(op.name, (root,), op.outputs[0], made[1], source=op.source), x.index)


@operator(*FUNCTIONS, unit="vector", notes="by table; chains of them, and x * f(x), become one", attributes=(
    "alpha", "approximate", "beta", "gamma"))
def function(b: Builder, op: Operation) -> None:
    _function(b, op, b.value(op.inputs[0]), lambda v: FUNCTIONS[op.kind](v, op.attributes))


def _affine(b: Builder, op: Operation, x: Value, scale: Array, offset: Array) -> None:
    """x * scale + offset, which broadcast to each other's shapes: an affine map where they differ from channel to
    channel only, otherwise a product with a tensor of constants, or a sum."""
    try:
        shape = np.broadcast_shapes(x.shape, scale.shape, offset.shape)
    except ValueError:
        raise Unsupported(f"it takes {list(x.shape)} and {list(max(scale.shape, offset.shape))}",
                          "give the constant the shape of a channel") from None
    if not math.prod(shape):
        raise Unsupported(f"its output would be empty ({list(shape)})", "repair the file")
    x = Value(x.tensor, np.broadcast_to(x.index, shape))
    if _by_channel(b, op, x, scale, offset):
        return
    if len(shape) < 4 and x.index.size == math.prod(b.shapes[x.tensor]):
        found = rows(b, x)
        if _by_channel(b, op, Value(found.tensor, found.index), scale, offset):
            return
    if offset.size > 1 and (offset <= HUGE).any() and ((offset <= HUGE) | (offset == 0)).all():
        raise Unsupported("it adds a mask to what no softmax reads", "mask the scores right before the softmax")
    if np.all(scale == -1) and (laid := placed(b, x, offset)) is not None:
        b.add(FloatAdd(op.name, (constant_tensor(b, op.outputs[0], laid), x.tensor), op.outputs[0], minus=True,
                       source=op.source), x.index)
        return
    for constant, neutral, kind in ((scale, 1, FloatMul), (offset, 0, FloatAdd)):
        if np.all(constant == neutral):
            continue
        laid = placed(b, x, constant)
        if laid is None:  # x is repeated
            other = operand(b, op, op.inputs[0] if op.inputs[0] in b.constants else op.inputs[1])
            return _binary(b, op, x, other)
        last = kind is FloatAdd or np.all(offset == 0)
        output = op.outputs[0] if last else f"{op.outputs[0]}:product"
        b.add(kind(output, (x.tensor, constant_tensor(b, op.outputs[0], laid)), output, source=op.source), x.index)
        x = b.values[output]


def _by_channel(b: Builder, op: Operation, x: Value, *maps: Array) -> bool:
    """Adds the affine map whose scale and offset differ from channel to channel of x's tensor only; False where they
    differ within one."""
    laid = [placed(b, x, constant) for constant in maps]
    if any(each is None or each.shape[:2] != (1, 1) for each in laid):
        return False
    channels = b.shapes[x.tensor][2]
    scale, offset = (np.broadcast_to(each.astype(np.float64).reshape(-1), (channels,)).copy() for each in laid
                     if each is not None)
    b.add(FloatAffine(op.name, (x.tensor,), op.outputs[0], scale, offset, source=op.source), x.index)
    return True


_ZERO, _ONE = np.zeros(()), np.ones(())


@operator("Add", "Sub", "Mul", unit="vector", notes="tensors of one shape or with axes of 1; of constants, one a "
          "channel (folded) or a tensor")
def binary(b: Builder, op: Operation) -> None:
    if any(name in b.constants for name in op.inputs):
        _with_constant(b, op)
        return
    x, y = b.value(op.inputs[0]), b.value(op.inputs[1])
    if _of_one_value(b, op, x, y):
        return
    _binary(b, op, x, y)


def _binary(b: Builder, op: Operation, x: Value, y: Value) -> None:
    """Of two tensors: in the order in which one of them lies if the other lies so too, otherwise in the usual one."""
    try:
        shape = np.broadcast_shapes(x.shape, y.shape)
    except ValueError:
        raise Unsupported(f"it takes shapes {list(x.shape)} and {list(y.shape)}", "repair the file") from None
    first, second = (Value(value.tensor, value.index.reshape((1,) * (len(shape) - len(value.shape)) + value.shape))
                     for value in (x, y))
    for here, there, swapped in ((first, second, False), (second, first, True)):
        beside = _beside(b, here, there)
        if beside is not None:
            inputs = (beside, here.tensor) if swapped else (here.tensor, beside)
            b.add(_node(op, inputs), here.index)
            return
    b.add(_node(op, (b.settled(_once(first)), b.settled(_once(second)))), usual(shape))


def _beside(b: Builder, x: Value, y: Value) -> str | None:
    """The tensor of y as x's lies, None where it does not lie so; axes along which it is repeated have length 1."""
    laid = placed(b, x, y.index)
    if laid is None or not np.array_equal(laid.reshape(-1), np.arange(math.prod(b.shapes[y.tensor]))):
        return None
    return b.reshaped(y.tensor, (laid.shape[0], laid.shape[1], laid.shape[2]))


def _once(x: Value) -> Value:
    """The value without repetitions along an axis: what is read repeats it again."""
    index = x.index
    for axis in range(index.ndim):
        first = index.take([0], axis)
        if np.array_equal(index, np.broadcast_to(first, index.shape)):
            index = first
    return Value(x.tensor, index)


def _node(op: Operation, inputs: tuple[str, str]) -> FloatNode:
    if op.kind == "Mul":
        return FloatMul(op.name, inputs, op.outputs[0], source=op.source)
    return FloatAdd(op.name, inputs, op.outputs[0], minus=op.kind == "Sub", source=op.source)


def _of_one_value(b: Builder, op: Operation, x: Value, y: Value) -> bool:
    """Makes x * sigmoid(x) and the like one function; False where the operands depend on different values."""
    (first, f), (second, g) = _root(b, x), _root(b, y)
    functions = sum(value.tensor in b.functions for value in (x, y))
    if first != second or not functions or not np.array_equal(x.index, y.index):
        return False
    function = BINARY[op.kind]
    b.functions[op.outputs[0]] = first, lambda v: function(f(v), g(v))
    b.add(FloatFunction(op.name, (first,), op.outputs[0], b.functions[op.outputs[0]][1], source=op.source), x.index)
    return True


def _with_constant(b: Builder, op: Operation) -> None:
    """A constant that is one number joins a table; otherwise it is a value a channel."""
    swapped = op.inputs[0] in b.constants
    name, constant = op.inputs[::-1] if swapped else op.inputs
    x, c = b.value(name), b.constants[constant].astype(np.float64)
    number = c.reshape(())[()] if c.size == 1 else None
    apply = BINARY[op.kind]

    def function(v: Array) -> Array:
        full = np.full_like(v, number)
        return apply(full, v) if swapped else apply(v, full)

    if number is not None and (_made_by_function(b, x) or op.kind not in ("Add", "Sub", "Mul", "Div") or (
            swapped and op.kind == "Div")):
        rank = max(c.ndim - len(x.shape), 0)
        _function(b, op, Value(x.tensor, x.index.reshape((1,) * rank + x.shape)), function)
        return
    if op.kind not in ("Add", "Sub", "Mul", "Div") or (swapped and op.kind == "Div"):
        raise Unsupported(f"its constant has the shape {list(c.shape)}", "use one number")
    if op.kind == "Div" and not c.all():
        raise Unsupported("it divides by 0", "repair the constant")
    scale, offset = {"Add": (_ONE, c), "Sub": (-_ONE, c) if swapped else (_ONE, -c), "Mul": (c, _ZERO),
                     "Div": (1 / np.where(c, c, 1), _ZERO)}[op.kind]
    _affine(b, op, x, scale, offset)
    if number is not None and np.array_equal(b.values[op.outputs[0]].index, x.index):
        _note(b, op, x, function)


@operator("Div", "Pow", "PRelu", "Min", "Max", unit="folded, or by table", notes="with a constant")
def with_constant(b: Builder, op: Operation) -> None:
    if len(op.inputs) == 2 and any(name in b.constants for name in op.inputs):
        _with_constant(b, op)
    elif len(op.inputs) != 2 or not _of_one_value(b, op, b.value(op.inputs[0]), b.value(op.inputs[1])):
        raise Unsupported("both operands are computed", "only Add, Sub and Mul take two tensors")


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
