"""How a value lies in the graph's tensors: as rows, as part of a tensor, beside another; elements stay where they are
wherever what reads them can do with that."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..float_graph import FloatConcat, FloatConstant, FloatSlice
from ..graph import Shape
from .builder import Builder, Index, Operation, Unsupported, Value, image_index

Array = NDArray[Any]


def usual(shape: tuple[int, ...]) -> Index:
    """Index of a tensor that lies in the graph's usual order."""
    if len(shape) == 4:
        return image_index((shape[2], shape[3], shape[1]))
    return np.arange(math.prod(shape)).reshape(shape)


@dataclass(frozen=True)
class Rows:
    """A value whose elements along one of the file's axes are the channels of a tensor."""

    tensor: str
    order: Index
    """Which channel element k along the axis is"""
    places: Index
    """Which row of the tensor, counted over height and width; of the file's shape without the axis"""
    index: Index
    """Of the value in the tensor"""


def rows(b: Builder, value: Value, axis: int = -1) -> Rows:
    """The value as rows along the axis: those of the tensor, in any order, where each lies whole in it.

    Rows of a matrix that lie one after the other are the height; of another value the tensor keeps its height.
    """
    last = np.moveaxis(value.index, axis, -1) if value.shape else value.index.reshape(1)
    size = last.shape[-1]
    flat = last.reshape(-1, size)
    starts = flat.min(axis=1)
    order = flat[0] - starts[0]
    whole = np.array_equal(np.sort(order), np.arange(size)) and np.array_equal(flat, starts[:, None] + order)
    if not whole:
        shape: Shape = (len(flat), 1, size)
        if value.index.ndim == 4 and axis % 4 == 1 and len(value.index) == 1:
            shape = (value.shape[2], value.shape[3], size)
        places = np.arange(len(flat)).reshape(last.shape[:-1])
        index = np.moveaxis(np.arange(last.size).reshape(last.shape), -1, axis)
        return Rows(b.arranged(value.tensor, last, shape), np.arange(size), places, index)
    height, width, channels = b.shapes[value.tensor]
    if value.index.ndim < 4 and np.array_equal(starts, np.arange(len(flat)) * size):
        shape = (len(flat), 1, size)
    elif (width * channels) % size == 0:
        shape = (height, width * channels // size, size)
    else:
        shape = (height * width * channels // size, 1, size)
    return Rows(b.reshaped(value.tensor, shape), order, (starts // size).reshape(last.shape[:-1]), value.index)


def placed(b: Builder, x: Value, values: Array) -> Array | None:
    """What broadcasts to the file's shape of x, laid as x's tensor; axes along which it is the same have length 1.
    None where it does not fit, or x repeats elements that meet different ones."""
    try:
        full = np.broadcast_to(values, x.shape)
    except ValueError:
        return None
    laid = np.empty(math.prod(b.shapes[x.tensor]), full.dtype)
    laid[x.index.reshape(-1)] = full.reshape(-1)
    if not np.array_equal(laid[x.index], full):
        return None
    laid = laid.reshape(b.shapes[x.tensor])
    for axis in range(3):
        first = laid.take([0], axis)
        if np.array_equal(laid, np.broadcast_to(first, laid.shape)):
            laid = first
    return laid


def constant_tensor(b: Builder, name: str, values: Array) -> str:
    """A tensor [height, width, channels] of constants; `name` is the wish for its name."""
    number = 0
    while (tensor := f"{name}:constant{number or ''}") in b.shapes:
        number += 1
    node = FloatConstant(tensor, (), tensor, np.ascontiguousarray(values, np.float32), source=f"constant of {name}")
    return b.add(node, usual(values.shape)).tensor


def usual_constant(values: Array) -> Array:
    """A constant of the file as [height, width, channels]."""
    if values.ndim > 4 or (values.ndim > 2 and len(values) != 1):
        raise Unsupported(f"its constant has the shape {list(values.shape)}", "export with a batch of 1")
    columns = values.shape[-1] if values.ndim else 1
    shape = (values.size // max(1, columns), 1, columns)
    return values.reshape(shape) if values.ndim < 4 else values[0].transpose(1, 2, 0)


def operand(b: Builder, op: Operation, name: str) -> Value:
    """An operand: a computed value, or a constant as a tensor."""
    if name not in b.constants:
        return b.value(name)
    values = b.constants[name]
    return Value(constant_tensor(b, op.outputs[0], usual_constant(values)), usual(values.shape))


def cut(b: Builder, x: Value, index: Index, op: Operation, output: str = "") -> None:
    """Makes of some of x's elements, `index` of the output's shape in x's tensor, a value of their own: a slice of the
    tensor, under a shape with the same height in which they are one; x is moved to the usual order if there is none."""
    output = output or op.outputs[0]
    name = op.name if len(op.outputs) == 1 else f"{op.name}_{op.outputs.index(output)}"
    wanted, inverse = np.unique(index, return_inverse=True)
    if wanted.size == math.prod(b.shapes[x.tensor]):
        b.values[output] = Value(x.tensor, index)
        return
    for shape in _shapes(b.shapes[x.tensor]):
        box = _box(wanted, shape)
        if box is not None:
            start, step, size = box
            b.add(FloatSlice(name, (b.reshaped(x.tensor, shape),), output, start, step, size, source=op.source),
                  inverse.reshape(index.shape))
            return
    if np.array_equal(x.index, usual(x.shape)):
        raise Unsupported("it takes elements that are no slice of its input", "slice along one axis at a time")
    where = np.empty(math.prod(b.shapes[x.tensor]), np.int64)
    where[x.index.reshape(-1)] = usual(x.shape).reshape(-1)
    cut(b, Value(b.settled(x), usual(x.shape)), where[index], op, output)


def _shapes(shape: Shape) -> Iterator[Shape]:
    """The shape, and all with the same height."""
    yield shape
    height, width, channels = shape
    for wide in range(1, width * channels + 1):
        if width * channels % wide == 0:
            yield height, wide, width * channels // wide


def _box(wanted: Index, shape: Shape) -> tuple[Shape, Shape, Shape] | None:
    """Start, step and size of the slice that is these elements (in ascending order), None where none is."""
    start, step, size = [0, 0, 0], [1, 1, 1], [1, 1, 1]
    for axis, places in enumerate(np.unravel_index(wanted, shape)):
        there = np.unique(places)
        start[axis], size[axis] = int(there[0]), len(there)
        if len(there) > 1:
            step[axis] = int(there[1] - there[0])
            if (np.diff(there) != step[axis]).any():
                return None
    if math.prod(size) != wanted.size:
        return None
    return (start[0], start[1], start[2]), (step[0], step[1], step[2]), (size[0], size[1], size[2])


def core_axis(axis: int, rank: int) -> int:
    """The graph's axis for one of a file's tensor in the usual order."""
    axis %= max(1, rank)
    if rank == 4 and axis:
        return (2, 0, 1)[axis - 1]
    if axis == rank - 1 or not rank:
        return 2
    if rank < 4 and axis == rank - 2:
        return 0
    raise Unsupported(f"it works along axis {axis} of {rank}, the batch", "export with a batch of 1")


def join(b: Builder, op: Operation, values: list[Value | Array], axis: int) -> None:
    """The values (constants as arrays) one after the other along the file's axis. What lies in another order than the
    usual one is joined in that order, if it is the same for all."""
    shape = list(values[0].shape)
    axis %= max(1, len(shape))
    shape[axis] = sum(value.shape[axis] for value in values)
    computed = [value for value in values if isinstance(value, Value)]
    order = _order(max(computed, key=lambda value: value.shape[axis]))
    if all(np.array_equal(value.index, usual(value.shape)) for value in computed) or not all(
            np.array_equal(value.index.transpose(order).reshape(-1), np.arange(value.index.size))
            for value in computed):
        along, index = core_axis(axis, len(shape)), usual(tuple(shape))
        tensors = tuple(b.settled(value) if isinstance(value, Value) else constant_tensor(
            b, op.outputs[0], usual_constant(value)) for value in values)
    else:
        along, sides = _sides([value.shape for value in values], order, axis)
        tensors = tuple(b.reshaped(value.tensor, side) if isinstance(value, Value) else constant_tensor(
            b, op.outputs[0], value.transpose(order).reshape(side)) for value, side in zip(values, sides, strict=True))
        lengths = [shape[place] for place in order]
        index = np.arange(math.prod(shape)).reshape(lengths).transpose(np.argsort(order))
    b.add(FloatConcat(op.name, tensors, op.outputs[0], along, source=op.source), index)


def _order(value: Value) -> tuple[int, ...]:
    """The file's axes as they lie in the tensor, the slowest first; axes of one element come first."""
    strides = []
    for axis, length in enumerate(value.shape):
        first, second = (int(value.index.take(place, axis).flat[0]) for place in (0, min(1, length - 1)))
        strides.append(second - first if length > 1 else math.inf)
    return tuple(sorted(range(value.index.ndim), key=lambda axis: -strides[axis]))


def _sides(shapes: list[tuple[int, ...]], order: tuple[int, ...], axis: int) -> tuple[int, list[Shape]]:
    """The graph's axis, and the shape of each tensor, for joining along the file's axis what lies in that order."""
    place = order.index(axis)
    before, after = order[:place], order[place + 1:]
    first = math.prod(shapes[0][k] for k in before)
    rest = math.prod(shapes[0][k] for k in after)
    if not after:
        high = next((shapes[0][k] for k in before if shapes[0][k] > 1), 1)
        return 2, [(high, first // high, shape[axis]) for shape in shapes]
    if first == 1:
        low = shapes[0][after[-1]]
        return 0, [(shape[axis], rest // low, low) for shape in shapes]
    return 1, [(first, shape[axis], rest) for shape in shapes]
