"""Operators of a QDQ file that move values: Concat, Slice, Split, Resize."""

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import onnx

from systolith.gen.frontend.qdq_linear import output_scale
from systolith.gen.frontend.qdq_nodes import attributes_of, image, label_of, settled, usual
from systolith.gen.frontend.qdq_values import (
    Function,
    Pending,
    Refused,
    Value,
    View,
    core_shape,
    positions,
    real_values,
)
from systolith.gen.frontend.qdq_views import integers
from systolith.gen.frontend.resizes import NoResize, resizing
from systolith.gen.graph import Concat, Node, Rescale, Resize, Shape, Slice, Tensor
from systolith.rtl.isa import EVEN, SINGLE
from systolith.sim.golden.rescale import quantise_scale

if TYPE_CHECKING:
    from systolith.gen.frontend.onnx_qdq import Importer

INT32 = (-2 ** 31, 2 ** 31 - 1)
WIDE = 22
"""Fractional bits of an interpolated value that is rescaled: 8 + WIDE fit in int32."""


def core_axis(axis: int, rank: int) -> int:
    """The core's axis for one of a file's tensor."""
    if not -rank <= axis < rank:
        raise Refused(f"has the axis {axis} on a tensor of {rank} dimensions; check the file with onnx.checker")
    axis %= rank
    if rank == 4 and axis:
        return (2, 0, 1)[axis - 1]
    if rank < 4 and axis - rank + 3 > 0:
        return axis - rank + 3
    raise Refused(f"works along axis {axis} of {rank}, the batch; export the network with batch 1")


def moved(importer: "Importer", source: Tensor, output: str, shape: tuple[int, ...], node: Callable[[str, str], Node],
          ) -> View:
    """A new tensor of the same type, made by `node` of the node's and the tensor's name; `shape` is the file's."""
    target = importer.like(source, output, core_shape(shape))
    importer.nodes.append(node(importer.node_name(target.name), target.name))
    return View(target.name, positions(shape), real=True)


def concat(importer: "Importer", node: onnx.NodeProto, values: list[Value]) -> Value:
    """Each input is rounded to the output's scale: a rescale where it has another."""
    wheres = [value.where for value in values if isinstance(value, View | Pending | Function)]
    if len(wheres) != len(values):
        raise Refused("joins a constant or an input of the network; quantise the input, add the constant on the host")
    axis = int(attributes_of(node)["axis"]) % wheres[0].ndim
    along = core_axis(axis, wheres[0].ndim)
    shape = list(wheres[0].shape)
    shape[axis] = sum(where.shape[axis] for where in wheres)
    made = core_shape(tuple(shape))

    def make(name: str, target: Tensor, low: int, high: int) -> Node:
        parts = []
        for number, value in enumerate(values):
            part = replace(target, name=importer.unique(f"{target.name}_part_{number}", importer.tensors))
            view = importer.rounded(value, part)
            parts.append(settled(importer, view).name)
        clamped = (low, high) != (-128, 127)
        if len(parts) > 1 and not clamped:
            return Concat(name, tuple(parts), target.name, along, source=label_of(node))
        joined = parts[0]
        if len(parts) > 1:
            joined = importer.like(target, f"{target.name}_joined", made).name
            importer.nodes.append(Concat(importer.node_name(joined), tuple(parts), joined, along,
                                         source=label_of(node)))
        return Rescale(name, (joined,), target.name, *quantise_scale(1.0), low=low, high=high, source=label_of(node))

    return Pending(make, label_of(node), node.output[0], made, positions(tuple(shape)))


def slice_(importer: "Importer", node: onnx.NodeProto, values: list[Value]) -> Value:
    view = usual(importer, values[0])
    rank = view.where.ndim
    starts, ends = (integers(node, values, place, name) for place, name in ((1, "starts"), (2, "ends")))
    axes = integers(node, values, 3, "axes")
    if starts is None or ends is None:
        raise Refused("has no starts or ends; check the file with onnx.checker")
    axes = list(range(len(starts))) if axes is None else [axis % rank for axis in axes]
    steps = integers(node, values, 4, "steps") or [1] * len(starts)
    if not len(starts) == len(ends) == len(axes) == len(steps):
        raise Refused("has starts, ends, axes and steps of different lengths; check the file with onnx.checker")
    spans = [range(size) for size in view.where.shape]
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        if step < 1:
            raise Refused(f"goes backwards along axis {axis} (step {step}); only forward slices are supported")
        spans[axis] = spans[axis][start:end:step]
    return sliced(importer, view, spans, label_of(node), node.output[0])


def sliced(importer: "Importer", view: View, spans: list[range], label: str, output: str) -> View:
    """The elements of `spans` along each of the file's axes, of a view in the usual order."""
    source, rank = importer.tensors[view.tensor], view.where.ndim
    shape = tuple(len(span) for span in spans)
    if not all(shape):
        raise Refused(f"takes nothing (the shape {list(shape)}); check its starts and ends")
    if shape == view.where.shape:
        return view
    start, step = [0, 0, 0], [1, 1, 1]
    for axis, span in enumerate(spans):
        if len(span) != view.where.shape[axis]:
            at = core_axis(axis, rank)
            start[at], step[at] = span.start, span.step
    return moved(importer, source, output, shape, lambda name, target: Slice(
        name, (source.name,), target, (start[0], start[1], start[2]), (step[0], step[1], step[2]), source=label))


def split(importer: "Importer", node: onnx.NodeProto, values: list[Value]) -> list[Value]:
    """A slice for each output."""
    view = usual(importer, values[0])
    given = attributes_of(node)
    axis = int(given.get("axis", 0)) % view.where.ndim
    size, count = view.where.shape[axis], len(node.output)
    sizes = integers(node, values, 1, "split")
    if sizes is None:
        each = -(-size // count)
        sizes = [max(0, min(each, size - number * each)) for number in range(count)]
    if len(sizes) != count or sum(sizes) != size:
        raise Refused(f"splits {size} into {sizes} for {count} outputs; check the file with onnx.checker")
    made: list[Value] = []
    for number, output in enumerate(node.output):
        spans = [range(length) for length in view.where.shape]
        spans[axis] = range(sum(sizes[:number]), sum(sizes[:number + 1]))
        made.append(sliced(importer, view, spans, label_of(node), output))
    return made


def resize(importer: "Importer", node: onnx.NodeProto, values: list[Value]) -> Value:
    """Resize and Upsample of an image."""
    source, given = image(importer, values[0]), attributes_of(node)
    place = 1 if node.op_type == "Upsample" or importer.opset < 11 else 2  # a roi came in between
    scales = _numbers(node, values, place) if place < len(values) else given.get("scales")
    sizes = _numbers(node, values, 3)
    try:
        found = resizing(node.op_type, given, importer.opset, source.shape[:2],
                         [float(number) for number in scales] if scales else None,
                         [int(number) for number in sizes] if sizes else None)
    except NoResize as error:
        raise Refused(str(error)) from None
    shape: Shape = (len(found.rows), len(found.columns), source.shape[2])
    file_shape, label = (1, shape[2], *shape[:2]), label_of(node)
    if found.bits == 0:
        return moved(importer, source, node.output[0], file_shape, lambda name, target: Resize(
            name, (source.name,), target, found.rows, found.columns, source=label))

    def make(name: str, target: Tensor, low: int, high: int) -> Node:
        if target.scale == source.scale:
            return Resize(name, (source.name,), target.name, found.rows, found.columns, found.bits, EVEN, low, high,
                          source=label)
        # one rounding in the end: what is interpolated stays in finer steps until then
        finer = min(2 * found.bits, WIDE)
        wide = importer.like(replace(source, dtype="int32", zero_point=0, scale=source.scale / 2 ** finer),
                             f"{target.name}_fine", target.shape)
        importer.nodes.append(Resize(importer.node_name(wide.name), (source.name,), wide.name, found.rows,
                                     found.columns, found.bits, SINGLE, *INT32, shift=-finer, source=label))
        return Rescale(name, (wide.name,), target.name, *quantise_scale(output_scale(wide.scale, target)),
                       rounding=EVEN, low=low, high=high, source=label)

    return Pending(make, label, node.output[0], shape, positions(file_shape))


def _numbers(node: onnx.NodeProto, values: list[Value], place: int) -> list[float] | None:
    """A constant input; None where it is left out."""
    if place >= len(values) or not node.input[place]:
        return None
    numbers = real_values(values[place])
    if numbers is None:
        raise Refused("has scales or sizes that are not constants; export the network with fixed shapes")
    return [float(number) for number in numbers.reshape(-1)]
