"""Attention in several nodes: masked scores, rotary positions, the mean of valid tokens."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..float_graph import FloatPool, FloatRotary
from .builder import Builder, Operation, Unsupported, Value
from .layout import constant_tensor, placed, rows
from .lookback import made, number_of, source
from .masks import HUGE, additive, classify
from .moves import softmax_of

Array = NDArray[Any]


def _mask(b: Builder, op: Operation) -> tuple[str, list[tuple[int, Array]], str] | None:
    """Of a node that masks scores: the scores, where they are blocked for each number of valid tokens, and the name of
    the mask; None for another node."""
    if op.kind == "Add":
        for name, mask in (op.inputs, op.inputs[::-1]):
            known = b.masks.known(mask, b.constants)
            if known is not None and b.masks.known(name, b.constants) is None and (
                    mask in b.masks.roots or any((array <= HUGE).any() for _, array in known)):
                b.reads[op.outputs[0]] = (name,)  # so that this is all that is said about it
                blocked = additive(known)
                if blocked is None:
                    raise Unsupported("what is added to the scores is neither 0 nor hugely negative everywhere",
                                      "export with a causal mask or one of valid tokens")
                return name, blocked, mask
    if op.kind == "Where":
        condition = b.masks.known(op.inputs[0], b.constants)
        for name, other, sense in ((op.inputs[1], op.inputs[2], False), (op.inputs[2], op.inputs[1], True)):
            low = b.masks.known(other, b.constants)
            if condition is not None and low and all((array <= HUGE).all() for _, array in low):
                return name, [(length, array.astype(bool) == sense) for length, array in condition], op.inputs[0]
    return None


def masked_softmax(b: Builder, op: Operation) -> bool:
    """The softmax of scores to which masks are added, or in which they choose."""
    name, masks = source(b, op.inputs[0]), []
    while (step := made(b, name, "Add", "Where")) is not None and (found := _mask(b, step)) is not None:
        name = source(b, found[0])
        masks.append((step, *found[1:]))
    if not masks or name not in b.values:
        return False
    b.reads[op.outputs[0]] = (name,)
    scores, causal, masked = b.values[name], False, False
    for step, blocked, mask in masks:
        kind = classify(blocked, scores.shape) if len(scores.shape) > 1 else None
        if kind is None:
            raise Unsupported(f"its mask ({step.name!r}) is neither causal nor one of valid tokens (ones for the first "
                              "tokens, then zeros)", "export with one of these, or without a mask")
        if mask in b.masks.roots and not b.masks.use(mask):
            raise Unsupported(f"it depends on two masks, {b.masks.used!r} and {b.masks.roots[mask]!r}", "use one mask")
        causal, masked = causal or kind[0], masked or kind[1]
    softmax_of(b, op, scores, causal, masked)
    return True


def not_a_number(b: Builder, op: Operation) -> bool:
    """Zeros in place of what is not a number, which a softmax with a mask that leaves nothing would make."""
    test = made(b, op.inputs[0], "IsNaN")
    if test is None or test.inputs[0] != op.inputs[2] or op.inputs[2] not in b.values:
        return False
    if number_of(b, op.inputs[1]) != 0:
        return False
    b.values[op.outputs[0]] = b.values[op.inputs[2]]
    b.reads[op.outputs[0]] = (op.inputs[2],)
    return True


def mean_of_valid(b: Builder, op: Operation) -> bool:
    """The sum over tokens of x * mask, by the number of tokens: the mean of those that are valid."""
    total = made(b, op.inputs[0], "ReduceSum")
    product = made(b, total.inputs[0], "Mul") if total else None
    if total is None or product is None:
        return False
    for name, mask in (product.inputs, product.inputs[::-1]):
        x, given = source(b, name), b.masks.known(mask, {})
        counts = b.masks.known(op.inputs[1], {})
        if x not in b.values or given is None or counts is None or len(b.values[x].shape) != 3:
            continue
        shape = b.values[x].shape
        axes = b.constants.get(total.input(1)) if total.input(1) else total.attributes.get("axes")
        if axes is None or [int(axis) % 3 for axis in np.asarray(axes).reshape(-1)] != [1] or shape[0] != 1:
            continue
        valid = all(np.array_equal(np.broadcast_to(array, shape), np.broadcast_to(
            np.arange(shape[1])[:, None] < length, shape)) for length, array in given)
        if not valid or not all(np.allclose(array, length) for length, array in counts) or not b.masks.use(mask):
            continue
        found = rows(b, b.values[x])
        height, width, _ = b.shapes[found.tensor]
        if width != 1 or not np.array_equal(found.places.reshape(-1), np.arange(height)):
            continue
        left = (1, 1, shape[2]) if total.attributes.get("keepdims", 1) else (1, shape[2])
        b.add(FloatPool(op.name, (found.tensor,), op.outputs[0], "average", (height, 1), masked=True,
                        source=op.source), found.order.reshape(left))
        b.reads[op.outputs[0]] = (x,)
        return True
    return False


def _part(b: Builder, name: str) -> tuple[str, range] | None:
    """Of a slice or a part of a split along the last axis: what it is taken of, and which places."""
    op = made(b, name, "Slice", "Split")
    x = b.values.get(op.inputs[0]) if op else None
    if op is None or x is None or not x.shape:
        return None
    rank, size = len(x.shape), x.shape[-1]
    if op.kind == "Split":
        if op.attributes.get("axis", 0) % rank != rank - 1 or len(op.outputs) != 2:
            return None
        sizes = b.constants[op.inputs[1]].tolist() if op.input(1) else op.attributes.get("split") or [size // 2] * 2
        place = op.outputs.index(source(b, name))
        return op.inputs[0], range(sum(sizes[:place]), sum(sizes[:place + 1]))
    starts, ends, axes, steps = (
        b.constants[op.input(place)].reshape(-1).tolist() if op.input(place) in b.constants else op.attributes.get(key)
        for place, key in ((1, "starts"), (2, "ends"), (3, "axes"), (4, "steps")))
    if not starts or not ends or len(starts) != 1 or (steps or [1]) != [1] or (axes or [0])[0] % rank != rank - 1:
        return None
    return op.inputs[0], range(size)[starts[0]:ends[0]]


def _turned(b: Builder, name: str) -> str | None:
    """The value x of which this is [-x2, x1], x1 and x2 being the halves of its last axis."""
    op = made(b, name, "Concat")
    minus = made(b, op.inputs[0], "Neg") if op and len(op.inputs) == 2 else None
    if op is None or minus is None:
        return None
    upper, lower = _part(b, minus.inputs[0]), _part(b, op.inputs[1])
    if upper is None or lower is None or source(b, upper[0]) != source(b, lower[0]):
        return None
    shape = b.values[upper[0]].shape
    half, odd = divmod(shape[-1], 2)
    if odd or op.attributes["axis"] % len(shape) != len(shape) - 1 or (upper[1], lower[1]) != (
            range(half, 2 * half), range(half)):
        return None
    return source(b, upper[0])


def rotary(b: Builder, op: Operation) -> bool:
    """x * cos + [-x2, x1] * sin, the same for all heads."""
    for one, other in (op.inputs, op.inputs[::-1]):
        straight, crossed = made(b, one, "Mul"), made(b, other, "Mul")
        if straight is None or crossed is None:
            continue
        for turned, sin in (crossed.inputs, crossed.inputs[::-1]):
            x = _turned(b, turned)
            for name, cos in (straight.inputs, straight.inputs[::-1]):
                if x is not None and source(b, name) == x and _rotate(b, op, x, cos, sin):
                    b.reads[op.outputs[0]] = tuple(each for each in (x, cos, sin) if each not in b.constants)
                    return True
    return False


def _rotate(b: Builder, op: Operation, x: str, *angles: str) -> bool:
    found = rows(b, b.values[x])
    value = Value(found.tensor, found.index)
    height, _, size = b.shapes[found.tensor]
    laid = []
    for name in angles:
        known = name in b.constants
        if not known and name not in b.values:
            return False
        each = placed(b, value, b.constants[name] if known else b.values[name].index)
        if each is None or each.shape[1] != 1 or not np.array_equal(found.order, np.arange(size)):
            return False
        laid.append(np.broadcast_to(each, (height, 1, size)))
    tensors = [constant_tensor(b, name, each) if name in b.constants else b.arranged(
        b.values[name].tensor, each, (height, 1, size)) for name, each in zip(angles, laid, strict=True)]
    b.add(FloatRotary(op.name, (found.tensor, *tensors), op.outputs[0], source=op.source), found.index)
    return True
