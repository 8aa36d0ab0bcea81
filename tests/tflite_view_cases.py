"""Generated networks of one operator that moves values, of the network's edges, and of several operators."""

from functools import partial

import numpy as np

from tests.tflite_build import Net
from tests.tflite_layer_cases import Random, pick, scale, zero_point


def sizes(random: Random, rank: int) -> tuple[int, ...]:
    """Batch 1 and random sizes."""
    return (1, *(pick(random, 1, 7) for _ in range(rank - 1)))


def one_kind(random: Random) -> dict:
    """A scale and zero point for input and output."""
    return {"scale": scale(random), "zero": zero_point(random)}


def reshape(name: str, random: Random) -> Net:
    net, kind = Net(), one_kind(random)
    shape = sizes(random, 4)
    x = net.input(*shape, **kind)
    if name == "RESHAPE":
        made = [(1, int(np.prod(shape))), (int(np.prod(shape)),), (shape[1], shape[2] * shape[3]),
                (1, shape[3], shape[1], shape[2])][pick(random, 0, 3)]
        net.operator(name, [x, net.constant(made)], net.output(*made, **kind), "ReshapeOptions")
    elif name == "SQUEEZE":
        made = tuple(size for size in shape if size != 1) or (1,)
        net.operator(name, [x], net.output(*made, **kind), "SqueezeOptions")
    else:
        flat, axis = (shape[1] * shape[2], shape[3]), pick(random, -3, 2)
        y = net.tensor(*flat, **kind)
        net.operator("RESHAPE", [x, net.constant(flat)], y, "ReshapeOptions")
        made = list(flat)
        made.insert(axis % 3, 1)
        net.operator(name, [y, net.constant(axis)], net.output(*made, **kind), "ExpandDimsOptions")
    return net


def computed_shape(random: Random) -> Net:
    """A RESHAPE whose shape the network computes, as for a batch that is open."""
    net, kind, shape = Net(), one_kind(random), sizes(random, 4)
    count = int(np.prod(shape))
    x = net.input(*shape, signature=(-1, *shape[1:]), **kind)
    found, batch, made = net.tensor(4, kind="INT32"), net.tensor(kind="INT32"), net.tensor(2, kind="INT32")
    net.operator("SHAPE", [x], found, "ShapeOptions", OutType=2)
    net.operator("STRIDED_SLICE", [found, net.constant([0]), net.constant([1]), net.constant([1])], batch,
                 "StridedSliceOptions", ShrinkAxisMask=1)
    net.operator("PACK", [batch, net.constant(count)], made, "PackOptions", ValuesCount=2)
    net.operator("RESHAPE", [x, made], net.output(1, count, **kind), "ReshapeOptions")
    return net


def transpose(random: Random) -> Net:
    """Of up to three axes that are not 1; of rank 4 the first stays, in others the batch may go anywhere."""
    net, kind, rank = Net(), one_kind(random), int(random.choice([2, 3, 4, 4, 4]))
    shape = (1, *(pick(random, 2, 6) if random.random() < 0.85 else 1 for _ in range(rank - 1)))
    order = random.permutation(rank).tolist() if rank < 4 else [0, *(random.permutation(3) + 1).tolist()]
    net.operator("TRANSPOSE", [net.input(*shape, **kind), net.constant(order)],
                 net.output(*(shape[axis] for axis in order), **kind), "TransposeOptions")
    return net


def concatenation(random: Random) -> Net:
    net, kind, rank = Net(), one_kind(random), pick(random, 2, 4)
    shape, axis = sizes(random, rank), pick(random, 1, rank - 1)
    parts = [(*shape[:axis], pick(random, 1, 5), *shape[axis + 1:]) for _ in range(pick(random, 1, 4))]
    made = (*shape[:axis], sum(part[axis] for part in parts), *shape[axis + 1:])
    net.operator("CONCATENATION", [net.input(*part, **kind) for part in parts], net.output(*made, **kind),
                 "ConcatenationOptions", Axis=axis - (rank if random.random() < 0.3 else 0))
    return net


def split(name: str, random: Random) -> Net:
    net, kind, rank = Net(), one_kind(random), pick(random, 2, 4)
    shape, axis, count = list(sizes(random, rank)), pick(random, 1, rank - 1), pick(random, 1, 4)
    parts = [pick(random, 1, 3)] * count if name == "SPLIT" else [pick(random, 1, 3) for _ in range(count)]
    shape[axis] = sum(parts)
    x, number = net.input(*shape, **kind), net.constant(axis)
    made = [net.output(*shape[:axis], part, *shape[axis + 1:], **kind) for part in parts]
    if name == "SPLIT":
        net.operator(name, [number, x], made, "SplitOptions", NumSplits=count)
    else:
        net.operator(name, [x, net.constant(parts), number], made, "SplitVOptions", NumSplits=count)
    return net


def slice_(random: Random) -> Net:
    net, kind, rank = Net(), one_kind(random), pick(random, 1, 4)
    shape = sizes(random, rank) if rank > 1 else (pick(random, 2, 9),)
    start = [pick(random, 0, size - 1) for size in shape]
    count = [pick(random, 1, size - first) for size, first in zip(shape, start, strict=True)]
    given = [-1 if random.random() < 0.2 and first + number == size else number
             for number, first, size in zip(count, start, shape, strict=True)]
    net.operator("SLICE", [net.input(*shape, **kind), net.constant(start), net.constant(given)],
                 net.output(*count, **kind), "SliceOptions")
    return net


def strided_slice(random: Random) -> Net:
    net, kind, rank = Net(), one_kind(random), pick(random, 1, 4)
    shape = sizes(random, rank) if rank > 1 else (pick(random, 2, 9),)
    begin, end, step, masks, taken = [], [], [], {"BeginMask": 0, "EndMask": 0, "ShrinkAxisMask": 0}, []
    for axis, size in enumerate(shape):
        first = pick(random, 0, size - 1)
        last, stride = pick(random, first + 1, size), pick(random, 1, 3)
        begin.append(first - (size if random.random() < 0.3 else 0))
        end.append(last - (size if random.random() < 0.3 and last < size else 0) + (9 if last == size else 0))
        form = random.random()
        if form < 0.2:
            masks["BeginMask"] |= 1 << axis
            first = 0
        elif form < 0.4:
            masks["EndMask"] |= 1 << axis
            last = size
        elif form < 0.55 and axis:
            masks["ShrinkAxisMask"] |= 1 << axis
            stride = 1
        step.append(stride)
        if not masks["ShrinkAxisMask"] >> axis & 1:
            taken.append(-(-(last - first) // stride))
    net.operator("STRIDED_SLICE", [net.input(*shape, **kind), *(net.constant(v) for v in (begin, end, step))],
                 net.output(*taken, **kind), "StridedSliceOptions", **masks)
    return net


def pad(name: str, random: Random) -> Net:
    net, kind, rank = Net(), one_kind(random), pick(random, 2, 4)
    shape = sizes(random, rank)
    pads = [[0, 0]] + [[pick(random, 0, 3), pick(random, 0, 3)] if random.random() < 0.7 else [0, 0]
                       for _ in range(rank - 1)]
    given = [net.input(*shape, **kind), net.constant(pads)]
    if name == "PADV2":
        given.append(net.constant([pick(random, -128, 127)], "INT8", **kind))
    made = [size + sum(pads[axis]) for axis, size in enumerate(shape)]
    net.operator(name, given, net.output(*made, **kind), f"{name.capitalize().replace('v', 'V')}Options")
    return net


def arg_max(random: Random) -> Net:
    net, rank = Net(), pick(random, 2, 4)
    shape, wide = sizes(random, rank), random.random() < 0.4
    y = net.output(*shape[:-1], kind="INT64" if wide else "INT32")
    net.operator("ARG_MAX", [net.input(*shape, **one_kind(random)), net.constant(-1 if rank == 3 else rank - 1)], y,
                 "ArgMaxOptions", OutputType=4 if wide else 2)
    return net


def edges(before: str, after: str, random: Random) -> Net:
    """A RELU between QUANTIZE from the type `before` and to `after` (FLOAT32: DEQUANTIZE)."""
    net, shape = Net(), (1, 4, 5, 3)
    kind = {} if before == "FLOAT32" else {"scale": scale(random), "zero": pick(random, 0, 255)}
    x = net.input(*shape, kind=before, **kind)
    first = net.tensor(*shape, scale=scale(random, 0.02), zero=zero_point(random))
    if before == "UINT8" and random.random() < 0.5:  # the same numbers, 128 lower
        first = net.tensor(*shape, scale=kind["scale"], zero=kind["zero"] - 128)
    second = net.tensor(*shape, scale=scale(random, 0.02), zero=zero_point(random))
    net.operator("QUANTIZE", [x], first)
    net.operator("RELU", [first], second)
    if after == "FLOAT32":
        net.operator("DEQUANTIZE", [second], net.output(*shape, kind=after))
    else:
        y = net.output(*shape, kind=after, scale=scale(random), zero=pick(random, 0, 255))
        net.operator("QUANTIZE", [second], y)
    return net


CASES = {
    **{partial(reshape, name): 5 for name in ("RESHAPE", "SQUEEZE", "EXPAND_DIMS")},
    computed_shape: 2, transpose: 20, concatenation: 10,
    partial(split, "SPLIT"): 6, partial(split, "SPLIT_V"): 4, slice_: 8, strided_slice: 16, partial(pad, "PAD"): 14,
    partial(pad, "PADV2"): 10, arg_max: 8,
    **{partial(edges, before, after): 3 for before in ("FLOAT32", "UINT8") for after in ("FLOAT32", "UINT8")},
}
"""How many of each."""
