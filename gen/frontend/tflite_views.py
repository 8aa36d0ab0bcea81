"""Operators of a .tflite file that move values without changing them, and ARG_MAX."""

from typing import TYPE_CHECKING, Any

from systolith.gen.frontend.qdq_values import Refused
from systolith.gen.frontend.tflite_file import Operator
from systolith.gen.graph import ArgMax, Concat, Shape, Slice, Tensor, Transpose

if TYPE_CHECKING:
    from systolith.gen.frontend.tflite_import import Importer

KINDS = ("INT8", "UINT8")


def reshape(importer: "Importer", operator: Operator) -> None:
    """RESHAPE, SQUEEZE and EXPAND_DIMS: the core's order is the file's, so nothing moves."""
    importer.same(operator, importer.source(operator, kinds=KINDS))


def axis_of(axis: int, rank: int) -> int:
    """A file axis as a core axis."""
    if not -rank <= axis < rank:
        raise Refused(f"has the axis {axis} on a tensor of rank {rank}")
    found = axis % rank - (rank - 3)
    if found < 0:
        raise Refused(f"works along axis {axis}, the batch of a tensor of rank {rank}; convert it with batch 1")
    return found


def padded(values: list[int], fill: int) -> list[int]:
    """One number for each core axis, of one for each file axis."""
    return ([fill] * 3 + values)[-3:]


def transpose(importer: "Importer", operator: Operator) -> None:
    """Axes of size 1 lie anywhere; the others must be at most three."""
    x = importer.source(operator)
    shape = importer.read(operator, 0).shape
    order = importer.constant(operator, 1, "axes").reshape(-1).tolist()
    if sorted(order) != list(range(len(shape))):
        raise Refused(f"has the permutation {order} for a tensor of rank {len(shape)}")
    moved = [axis for axis in order if shape[axis] != 1]
    kept = sorted(moved)
    if moved == kept:
        importer.same(operator, x)
        return
    sizes = padded([shape[axis] for axis in kept], 1)
    permutation = [axis for axis in range(3 - len(kept))] + [kept.index(axis) + 3 - len(kept) for axis in moved]
    compact: Shape = (sizes[0], sizes[1], sizes[2])
    if x.shape != compact:
        x = importer.same_integers(operator, x, importer.between(x, f"for {operator.index}", shape=compact))
    made: Shape = (sizes[permutation[0]], sizes[permutation[1]], sizes[permutation[2]])
    _moved(importer, operator, x, made, lambda name, y: Transpose(
        name, (x.name,), y.name, (permutation[0], permutation[1], permutation[2])))


def _moved(importer: "Importer", operator: Operator, x: Tensor, made: Shape, node: Any, which: int = 0) -> None:
    """Adds the node that makes the shape `made`, and a Reshape where the file has another."""
    output = importer.output(operator, which)
    y = output if output.shape == made else importer.between(output, "with its axes", shape=made)
    importer.add(node(importer.name(operator), y))
    if y is not output:
        importer.same_integers(operator, y, output)


def sliced(importer: "Importer", operator: Operator, x: Tensor, start: list[int], size: list[int], step: list[int],
           which: int = 0) -> None:
    """`size` elements from `start` on along each file axis, `step` apart."""
    if any(start[:-3]) or any(count != 1 for count in size[:-3]):
        raise Refused("takes a part of the batch; convert the network with batch 1")
    start, size, step = padded(start, 0), padded(size, 1), padded(step, 1)
    for axis in range(3):
        if size[axis] < 1 or step[axis] < 1 or start[axis] < 0 or (
                start[axis] + (size[axis] - 1) * step[axis] >= x.shape[axis]):
            raise Refused(f"takes {size[axis]} elements from {start[axis]} on, {step[axis]} apart, of an axis of "
                          f"{x.shape[axis]}; only forward, within the tensor, and at least one")
    made: Shape = (size[0], size[1], size[2])
    if made == x.shape:
        importer.same(operator, x, which)
        return
    _moved(importer, operator, x, made, lambda name, y: Slice(
        name, (x.name,), y.name, (start[0], start[1], start[2]), (step[0], step[1], step[2])), which)


def slice_(importer: "Importer", operator: Operator) -> None:
    x = importer.source(operator)
    shape = importer.read(operator, 0).shape
    start = importer.constant(operator, 1, "begins").reshape(-1).tolist()
    size = importer.constant(operator, 2, "sizes").reshape(-1).tolist()
    if len(start) != len(shape) or len(size) != len(shape):
        raise Refused(f"has {len(start)} begins and {len(size)} sizes for a tensor of rank {len(shape)}")
    size = [whole - first if count == -1 else count for whole, first, count in zip(shape, start, size, strict=True)]
    sliced(importer, operator, x, start, size, [1] * len(shape))


def strided_slice(importer: "Importer", operator: Operator) -> None:
    x = importer.source(operator)
    shape = importer.read(operator, 0).shape
    begin, end, step = (importer.constant(operator, which, what).reshape(-1).tolist()
                        for which, what in ((1, "begins"), (2, "ends"), (3, "strides")))
    if operator.option("NewAxisMask") or operator.option("EllipsisMask"):
        raise Refused("has a new axis or an ellipsis; convert the network with the slice written out")
    if not len(begin) == len(end) == len(step) <= len(shape):
        raise Refused(f"has {len(begin)} begins, {len(end)} ends and {len(step)} strides for rank {len(shape)}")
    starts, sizes, steps = [0] * len(shape), list(shape), [1] * len(shape)
    for axis, (first, last, stride) in enumerate(zip(begin, end, step, strict=True)):
        if stride < 1:
            raise Refused(f"goes backwards along axis {axis} (stride {stride}); only forward slices are supported")
        whole, bit = shape[axis], 1 << axis
        first = 0 if operator.option("BeginMask") & bit else min(max(first + (whole if first < 0 else 0), 0), whole)
        if operator.option("ShrinkAxisMask") & bit:
            last = first + 1
        elif operator.option("EndMask") & bit:
            last = whole
        else:
            last = last + (first if operator.option("Offset") else 0)
            last = min(max(last + (whole if last < 0 else 0), 0), whole)
        starts[axis], sizes[axis], steps[axis] = first, -(-(last - first) // stride), stride
    sliced(importer, operator, x, starts, sizes, steps)


def split(importer: "Importer", operator: Operator) -> None:
    """SPLIT in equal parts, SPLIT_V in given ones: a slice for each output."""
    even = operator.name == "SPLIT"
    which = 1 if even else 0
    x = importer.source(operator, which)
    shape = list(importer.read(operator, which).shape)
    axis = int(importer.constant(operator, 0 if even else 2, "axes").reshape(()))
    at = axis_of(axis, len(shape)) + len(shape) - 3
    if even:
        count = len(operator.outputs)
        if count == 0 or shape[at] % count:
            raise Refused(f"splits {shape[at]} into {count} parts, which are not equal")
        sizes = [shape[at] // count] * count
    else:
        sizes = importer.constant(operator, 1, "sizes").reshape(-1).tolist()
        sizes = [shape[at] - sum(sizes) - 1 if size == -1 else size for size in sizes]
        if len(sizes) != len(operator.outputs) or sum(sizes) != shape[at]:
            raise Refused(f"splits {shape[at]} into the sizes {sizes} for {len(operator.outputs)} outputs")
    for number, size in enumerate(sizes):
        start = [0] * len(shape)
        start[at] = sum(sizes[:number])
        sliced(importer, operator, x, start, [size if k == at else whole for k, whole in enumerate(shape)],
               [1] * len(shape), number)


def concatenation(importer: "Importer", operator: Operator) -> None:
    """Inputs one after the other; all must have the output's scale, as the reference kernel asks too."""
    rank = len(importer.read(operator, 0).shape)
    axis = axis_of(operator.option("Axis"), rank)
    if operator.option("FusedActivationFunction"):
        raise Refused("has a fused activation; the reference kernel has none either")
    inputs = [importer.source(operator, which) for which in range(len(operator.inputs))]
    target = importer.typed(importer.file.tensors[operator.outputs[0]])
    for x in inputs:
        if (x.scale, x.zero_point) != (target.scale, target.zero_point):
            raise Refused(f"reads {x.name!r} with another scale or zero point than its output's, which the reference "
                          "kernel refuses; convert the network again, which puts a QUANTIZE between")
    if len(inputs) == 1:
        importer.same(operator, inputs[0])
        return
    importer.add(Concat(importer.name(operator), tuple(x.name for x in inputs), importer.output(operator).name, axis))


def arg_max(importer: "Importer", operator: Operator) -> None:
    """Along the last axis, the first of the largest; the index as int32."""
    x = importer.source(operator)
    rank = len(importer.read(operator, 0).shape)
    axis = int(importer.constant(operator, 1, "axes").reshape(()))
    if axis_of(axis, rank) != 2:
        raise Refused(f"takes the largest along axis {axis}; only the last axis is supported")
    made: Shape = (x.shape[0], x.shape[1], 1)
    if importer.file.tensors[operator.outputs[0]].type not in ("INT32", "INT64"):
        raise Refused("makes another type than INT32 or INT64")
    _moved(importer, operator, x, made, lambda name, y: ArgMax(name, (x.name,), y.name))


