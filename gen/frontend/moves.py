"""Import of what moves values, and of what works along an axis: Concat, Slice, Split, Resize, Softmax, ArgMax."""

import math
from typing import Any

import numpy as np

from ..float_graph import FloatArgMax, FloatResize, FloatSoftmax
from .builder import Builder, Operation, Unsupported, Value
from .layout import cut, join, rows
from .operators import operator
from .resizes import NoResize, resizing


def _sequence(b: Builder, op: Operation, place: int, name: str) -> list[int] | None:
    """Integers that are an input in new files and an attribute in old ones."""
    if op.input(place):
        return [int(number) for number in b.constant(op.input(place), name).reshape(-1)]
    given = op.attributes.get(name)
    return None if given is None else list(given)


@operator("Concat", unit="vector", notes="inputs share one scale (float); constants too; not along the batch",
          attributes=("axis",))
def concat(b: Builder, op: Operation) -> None:
    axis = op.attributes["axis"]
    values = [b.constants[name] if name in b.constants else b.value(name) for name in op.inputs]
    tensors = {value.tensor if isinstance(value, Value) else "" for value in values}
    if len(tensors) == 1 and len(values[0].shape) > 4:  # repeats it, for a reader that can do with that
        index = np.concatenate([value.index for value in values if isinstance(value, Value)], axis)
        b.values[op.outputs[0]] = Value(tensors.pop(), index)
        return
    join(b, op, values, axis)


@operator("Slice", unit="vector", notes="forward, with any step", attributes=("axes", "ends", "starts"))
def slice_(b: Builder, op: Operation) -> None:
    x = b.value(op.inputs[0])
    starts, ends = _sequence(b, op, 1, "starts") or [], _sequence(b, op, 2, "ends") or []
    given = _sequence(b, op, 3, "axes")
    axes = list(range(len(starts))) if given is None else [axis % len(x.shape) for axis in given]
    steps = _sequence(b, op, 4, "steps") or [1] * len(starts)
    spans = [range(size) for size in x.shape]
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        if step < 1:
            raise Unsupported(f"it goes backwards along axis {axis}", "slice forward")
        spans[axis] = spans[axis][start:end:step]
    sliced(b, op, x, spans, op.outputs[0])


def sliced(b: Builder, op: Operation, x: Value, spans: list[range], output: str) -> None:
    """The elements of `spans` along each of the file's axes."""
    index = x.index[np.ix_(*spans)]
    if not index.size:
        raise Unsupported(f"it takes nothing (the shape {list(index.shape)})", "check starts and ends")
    cut(b, x, index, op, output)


@operator("Split", unit="vector", notes="in equal or given parts", attributes=("axis", "num_outputs", "split"))
def split(b: Builder, op: Operation) -> None:
    x = b.value(op.inputs[0])
    axis = op.attributes.get("axis", 0) % len(x.shape)
    size, count = x.shape[axis], len(op.outputs)
    sizes = _sequence(b, op, 1, "split")
    if sizes is None:
        each = -(-size // count)
        sizes = [max(0, min(each, size - number * each)) for number in range(count)]
    if len(sizes) != count or sum(sizes) != size:
        raise Unsupported(f"it splits {size} into {sizes} for {count} outputs", "repair the file")
    for number, output in enumerate(op.outputs):
        spans = [range(length) for length in x.shape]
        spans[axis] = range(sum(sizes[:number]), sum(sizes[:number + 1]))
        sliced(b, op, x, spans, output)


@operator("Resize", "Upsample", unit="vector", notes="nearest and linear, of height and width", attributes=(
    "antialias", "axes", "coordinate_transformation_mode", "cubic_coeff_a", "exclude_outside", "extrapolation_value",
    "keep_aspect_ratio_policy", "mode", "nearest_mode", "scales"))
def resize(b: Builder, op: Operation) -> None:
    tensor, shape = b.image(b.value(op.inputs[0]))
    place = 1 if op.kind == "Upsample" or b.opset < 11 else 2  # a roi came in between

    def numbers(at: int) -> list[Any] | None:
        given = b.constant(op.input(at), "scales").reshape(-1).tolist() if op.input(at) else None
        return given or None

    try:
        found = resizing(op.kind, op.attributes, b.opset, shape[:2], numbers(place) or op.attributes.get("scales"),
                         numbers(3))
    except NoResize as error:
        what, _, advice = str(error).partition("; ")
        raise Unsupported(f"it {what}", advice) from None
    b.add(FloatResize(op.name, (tensor,), op.outputs[0], found.rows, found.columns, found.bits, source=op.source))


@operator("Softmax", unit="softmax", notes="along one axis; a causal mask and one of valid tokens go with it",
          attributes=("axis",))
def softmax(b: Builder, op: Operation) -> None:
    x = b.value(op.inputs[0])
    softmax_of(b, op, x)


def softmax_of(b: Builder, op: Operation, x: Value, causal: bool = False, masked: bool = False) -> None:
    """Softmax of the value, with the masks that belong to it."""
    shape, axis = x.shape, op.attributes.get("axis", -1 if b.opset >= 13 else 1) % max(1, len(x.shape))
    if (causal or masked) and axis != len(shape) - 1:
        raise Unsupported("a mask is added to what it normalises along another axis than the last", "use the last axis")
    if b.opset < 13:  # all axes from this one on
        x, axis = Value(x.tensor, x.index.reshape(math.prod(shape[:axis]), -1)), 1
    found = rows(b, x, axis)
    if causal:
        height, width, _ = b.shapes[found.tensor]
        row = found.places.reshape(shape[:-1]) // width
        if height != shape[-2] or not np.array_equal(row, np.broadcast_to(np.arange(height), row.shape)):
            raise Unsupported("a causal mask is added to rows that are not the queries", "export attention plainly")
    b.add(FloatSoftmax(op.name, (found.tensor,), op.outputs[0], causal, masked, source=op.source),
          found.index.reshape(shape))


@operator("ArgMax", unit="vector", notes="along one axis, for an output of the network",
          attributes=("axis", "keepdims", "select_last_index"))
def arg_max(b: Builder, op: Operation) -> None:
    x = b.value(op.inputs[0])
    axis = op.attributes.get("axis", 0) % len(x.shape)
    found = rows(b, x, axis)
    if not np.array_equal(found.order, np.arange(len(found.order))):
        raise Unsupported("its input lies in another order", "leave out the Transpose or Reshape before it")
    b.add(FloatArgMax(op.name, (found.tensor,), op.outputs[0], bool(op.attributes.get("select_last_index", 0)),
                      source=op.source),
          np.expand_dims(found.places, axis) if op.attributes.get("keepdims", 1) else found.places)
    b.indices.add(op.outputs[0])
