"""Import of what moves values, and of what works along an axis: Concat, Slice, Split, Resize, Softmax, ArgMax."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..float_graph import FloatArgMax, FloatConcat, FloatResize, FloatSlice, FloatSoftmax
from ..graph import Shape
from .builder import Builder, Operation, Unsupported, Value, image_index
from .operators import operator
from .resizes import NoResize, resizing


def core_axis(axis: int, rank: int) -> int:
    """The graph's axis for one of a file's tensor."""
    axis %= max(1, rank)
    if rank == 4 and axis:
        return (2, 0, 1)[axis - 1]
    if axis == rank - 1 or not rank:
        return 2
    if rank < 4 and axis == rank - 2:
        return 0
    raise Unsupported(f"it works along axis {axis} of {rank}, the batch", "export with a batch of 1")


def usual(shape: tuple[int, ...]) -> NDArray[np.int64]:
    """Index of a tensor that lies in the graph's usual order."""
    if len(shape) == 4:
        return image_index((shape[2], shape[3], shape[1]))
    return np.arange(int(np.prod(shape))).reshape(shape)


def _sequence(b: Builder, op: Operation, place: int, name: str) -> list[int] | None:
    """Integers that are an input in new files and an attribute in old ones."""
    if op.input(place):
        return [int(number) for number in b.constant(op.input(place), name).reshape(-1)]
    given = op.attributes.get(name)
    return None if given is None else list(given)


@operator("Concat", unit="vector", notes="inputs share one scale (float); not along the batch", attributes=("axis",))
def concat(b: Builder, op: Operation) -> None:
    values = [b.value(name) for name in op.inputs]
    shape = list(values[0].shape)
    axis = op.attributes["axis"] % len(shape)
    shape[axis] = sum(value.shape[axis] for value in values)
    node = FloatConcat(op.name, tuple(b.settled(value) for value in values), op.outputs[0],
                       core_axis(axis, len(shape)), source=op.source)
    b.add(node, usual(tuple(shape)))


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
    sliced(b, x, spans, op.name, op.outputs[0], op.source)


def sliced(b: Builder, x: Value, spans: list[range], name: str, output: str, source: str) -> None:
    """The elements of `spans` along each of the file's axes."""
    shape = tuple(len(span) for span in spans)
    if not all(shape):
        raise Unsupported(f"it takes nothing (the shape {list(shape)})", "check starts and ends")
    tensor = b.settled(x)
    start, step, size = [0, 0, 0], [1, 1, 1], list(b.shapes[tensor])
    for axis, span in enumerate(spans):
        if len(span) != x.shape[axis]:
            at = core_axis(axis, len(shape))
            start[at], step[at], size[at] = span.start, span.step, len(span)
    b.add(FloatSlice(name, (tensor,), output, (start[0], start[1], start[2]), (step[0], step[1], step[2]),
                     (size[0], size[1], size[2]), source=source), usual(shape))


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
        sliced(b, x, spans, f"{op.name}_{number}", output, op.source)


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


def _along(b: Builder, x: Value, axis: int) -> tuple[str, NDArray[np.int64]]:
    """The value with that axis as the channels, and the index of what has its shape then."""
    index = x.index
    last = np.moveaxis(index, axis, -1)
    shape: Shape = (last.size // last.shape[-1], 1, last.shape[-1])
    if index.ndim == 4 and axis == 1 and len(index) == 1:
        shape = (x.shape[2], x.shape[3], x.shape[1])
    placed = np.moveaxis(np.arange(last.size).reshape(last.shape), -1, axis)
    return b.arranged(x.tensor, last, shape), placed


@operator("Softmax", unit="softmax", notes="along one axis", attributes=("axis",))
def softmax(b: Builder, op: Operation) -> None:
    x = b.value(op.inputs[0])
    if b.opset < 13:  # all axes from this one on
        axis = op.attributes.get("axis", 1) % len(x.shape)
        flat = Value(x.tensor, x.index.reshape(int(np.prod(x.shape[:axis])), -1))
        tensor, placed = _along(b, flat, 1)
    else:
        tensor, placed = _along(b, x, op.attributes.get("axis", -1) % len(x.shape))
    b.add(FloatSoftmax(op.name, (tensor,), op.outputs[0], source=op.source), placed.reshape(x.shape))


@operator("ArgMax", unit="vector", notes="along one axis, for an output of the network",
          attributes=("axis", "keepdims", "select_last_index"))
def arg_max(b: Builder, op: Operation) -> None:
    x = b.value(op.inputs[0])
    axis = op.attributes.get("axis", 0) % len(x.shape)
    tensor, _ = _along(b, x, axis)
    kept = [length for place, length in enumerate(x.shape) if place != axis]
    index = np.arange(int(np.prod(kept))).reshape(kept)
    b.add(FloatArgMax(op.name, (tensor,), op.outputs[0], bool(op.attributes.get("select_last_index", 0)),
                      source=op.source), np.expand_dims(index, axis) if op.attributes.get("keepdims", 1) else index)
    b.indices.add(op.outputs[0])
