"""Operators that files have in many: recognised by their last node, from which one looks back at the file's nodes.

What lies between is imported too, or is not, as it can be; nobody reads it then, unless something else does.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..float_graph import FloatNorm, FloatPool, FloatRotary
from .builder import Builder, Operation, Unsupported, Value
from .layout import constant_tensor, placed, rows
from .masks import HUGE, additive, classify
from .moves import softmax_of

Array = NDArray[Any]
Pattern = Callable[[Builder, Operation], bool]


def matched(b: Builder, op: Operation) -> bool:
    """Imports the node as the last one of a pattern; False where it is none."""
    return any(pattern(b, op) for pattern in PATTERNS.get(op.kind, ()))


def norm_of(b: Builder, op: Operation, x: Value, gamma: Array, beta: Array, epsilon: float, rms: bool) -> None:
    """A norm along the last axis; gamma and beta by the file's order."""
    found = rows(b, x)
    size = len(found.order)
    by_channel = [np.empty(size), np.empty(size)]
    for laid, given in zip(by_channel, (gamma, beta), strict=True):
        laid[found.order] = np.broadcast_to(given.astype(np.float64).reshape(-1), (size,))
    b.add(FloatNorm(op.name, (found.tensor,), op.outputs[0], by_channel[0], by_channel[1], float(epsilon), rms,
                    source=op.source), found.index)


def _source(b: Builder, name: str) -> str:
    """The value that this one is, before Cast and Identity."""
    while (op := b.makers.get(name)) and op.kind in ("Cast", "Identity"):
        name = op.inputs[0]
    return name


def _made(b: Builder, name: str, *kinds: str) -> Operation | None:
    """The node that makes the value, if it is of one of these kinds."""
    op = b.makers.get(_source(b, name))
    return op if op is not None and op.kind in kinds else None


def _number(b: Builder, name: str) -> float | None:
    """A constant of one number."""
    values = b.constants.get(_source(b, name))
    return float(values.reshape(-1)[0]) if values is not None and values.size == 1 else None


def _with_number(b: Builder, op: Operation) -> tuple[str, float] | None:
    """The operands of a node of a value and a number."""
    for name, other in (op.inputs[:2], op.inputs[1::-1]):
        number = _number(b, other)
        if number is not None:
            return name, number
    return None


def _reduced(b: Builder, op: Operation, axis: int = -1) -> bool:
    """It reduces that axis only, of a value that is known."""
    x = b.values.get(_source(b, op.inputs[0]))
    given = b.constants.get(op.input(1)) if op.input(1) else op.attributes.get("axes")
    if x is None or given is None or not x.shape:
        return False
    return [int(each) % len(x.shape) for each in np.asarray(given).reshape(-1)] == [axis % len(x.shape)]


def _squared(b: Builder, name: str) -> str | None:
    """The value whose square this is."""
    op = _made(b, name, "Pow", "Mul")
    if op is None:
        return None
    if op.kind == "Pow":
        return op.inputs[0] if _number(b, op.inputs[1]) == 2 else None
    return op.inputs[0] if _source(b, op.inputs[0]) == _source(b, op.inputs[1]) else None


def _root(b: Builder, name: str) -> str | None:
    """The value whose square root this is."""
    op = _made(b, name, "Sqrt", "Pow")
    if op is None or (op.kind == "Pow" and _number(b, op.inputs[1]) != 0.5):
        return None
    return op.inputs[0]


def _divided(b: Builder, op: Operation) -> list[tuple[str, str]]:
    """Pairs (x, y) so that the node is x / sqrt(y)."""
    pairs = []
    if op.kind == "Div":
        pairs.append((op.inputs[0], _root(b, op.inputs[1])))
        return [(x, y) for x, y in pairs if y is not None]
    for x, factor in (op.inputs, op.inputs[::-1]):
        inverse = _made(b, factor, "Reciprocal", "Div", "Pow", "Sqrt")
        if inverse is None:
            continue
        if inverse.kind == "Pow" and _number(b, inverse.inputs[1]) == -0.5:
            pairs.append((x, inverse.inputs[0]))
        elif inverse.kind == "Sqrt" and (below := _made(b, inverse.inputs[0], "Reciprocal")):
            pairs.append((x, below.inputs[0]))
        elif inverse.kind == "Reciprocal":
            pairs.append((x, _root(b, inverse.inputs[0])))
        elif inverse.kind == "Div" and _number(b, inverse.inputs[0]) == 1:
            pairs.append((x, _root(b, inverse.inputs[1])))
    return [(x, y) for x, y in pairs if y is not None]


def _centred(b: Builder, name: str) -> str | None:
    """The value from which its mean is subtracted to make this one."""
    op = _made(b, name, "Sub")
    if op is None or op.inputs[0] in b.constants:
        return None
    mean = _made(b, op.inputs[1], "ReduceMean")
    if mean is None or not _reduced(b, mean) or _source(b, mean.inputs[0]) != _source(b, op.inputs[0]):
        return None
    return _source(b, op.inputs[0])


def norm(b: Builder, op: Operation) -> bool:
    """x / sqrt(mean(x * x) + epsilon), a layer norm where x is something less its mean. What it is multiplied with
    and what is added joins it by a pass."""
    for name, below in _divided(b, op):
        sums = _made(b, below, "Add")
        found = _with_number(b, sums) if sums else None
        mean = _made(b, found[0], "ReduceMean") if found else None
        squared = _squared(b, mean.inputs[0]) if mean and _reduced(b, mean) else None
        if found is None or squared is None:
            continue
        x, centred = _source(b, name), _centred(b, name)
        if _source(b, squared) != x and (centred is None or _centred(b, squared) != centred):
            continue
        x = centred or x
        if x not in b.values:
            continue
        norm_of(b, op, b.values[x], np.ones(1), np.zeros(1), found[1], centred is None)
        b.reads[op.outputs[0]] = (x,)
        return True
    return False


def length(b: Builder, op: Operation) -> bool:
    """x / |x|, the largest of |x| and a small number being taken: an RMS norm."""
    below, epsilon = op.inputs[1], 0.0
    while (step := _made(b, below, "Expand", "Clip", "Max", "Add")) is not None:
        if step.kind == "Expand":
            below = step.inputs[0]
            continue
        if step.kind == "Clip":
            number = step.attributes.get("min") if not step.input(1) else _number(b, step.input(1))
            found = (step.inputs[0], float(number)) if number is not None else None
        else:
            found = _with_number(b, step)
        if found is None or not 0 <= found[1] <= 1e-3:
            return False
        below, epsilon = found
    norms = _made(b, below, "ReduceL2")
    if norms is not None:
        squared: str | None = norms.inputs[0]
    else:
        norms = _made(b, _root(b, below) or "", "ReduceSum")
        squared = _squared(b, norms.inputs[0]) if norms else None
    x = _source(b, op.inputs[0])
    if norms is None or squared is None or _source(b, squared) != x or x not in b.values or not _reduced(b, norms):
        return False
    size = b.values[x].shape[-1]
    norm_of(b, op, b.values[x], np.full(1, size ** -0.5), np.zeros(1), epsilon ** 2 / size, True)
    b.reads[op.outputs[0]] = (x,)
    return True


def mean_of_valid(b: Builder, op: Operation) -> bool:
    """The sum over tokens of x * mask, by the number of tokens: the mean of those that are valid."""
    total = _made(b, op.inputs[0], "ReduceSum")
    product = _made(b, total.inputs[0], "Mul") if total else None
    if total is None or product is None:
        return False
    for name, mask in (product.inputs, product.inputs[::-1]):
        x, given = _source(b, name), b.masks.known(mask, {})
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
    name, masks = _source(b, op.inputs[0]), []
    while (step := _made(b, name, "Add", "Where")) is not None and (found := _mask(b, step)) is not None:
        name = _source(b, found[0])
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
    test = _made(b, op.inputs[0], "IsNaN")
    if test is None or test.inputs[0] != op.inputs[2] or op.inputs[2] not in b.values:
        return False
    if _number(b, op.inputs[1]) != 0:
        return False
    b.values[op.outputs[0]] = b.values[op.inputs[2]]
    b.reads[op.outputs[0]] = (op.inputs[2],)
    return True


def _part(b: Builder, name: str) -> tuple[str, range] | None:
    """Of a slice or a part of a split along the last axis: what it is taken of, and which places."""
    op = _made(b, name, "Slice", "Split")
    x = b.values.get(op.inputs[0]) if op else None
    if op is None or x is None or not x.shape:
        return None
    rank, size = len(x.shape), x.shape[-1]
    if op.kind == "Split":
        if op.attributes.get("axis", 0) % rank != rank - 1 or len(op.outputs) != 2:
            return None
        sizes = b.constants[op.inputs[1]].tolist() if op.input(1) else op.attributes.get("split") or [size // 2] * 2
        place = op.outputs.index(_source(b, name))
        return op.inputs[0], range(sum(sizes[:place]), sum(sizes[:place + 1]))
    starts, ends, axes, steps = (
        b.constants[op.input(place)].reshape(-1).tolist() if op.input(place) in b.constants else op.attributes.get(key)
        for place, key in ((1, "starts"), (2, "ends"), (3, "axes"), (4, "steps")))
    if not starts or not ends or len(starts) != 1 or (steps or [1]) != [1] or (axes or [0])[0] % rank != rank - 1:
        return None
    return op.inputs[0], range(size)[starts[0]:ends[0]]


def _turned(b: Builder, name: str) -> str | None:
    """The value x of which this is [-x2, x1], x1 and x2 being the halves of its last axis."""
    op = _made(b, name, "Concat")
    minus = _made(b, op.inputs[0], "Neg") if op and len(op.inputs) == 2 else None
    if op is None or minus is None:
        return None
    upper, lower = _part(b, minus.inputs[0]), _part(b, op.inputs[1])
    if upper is None or lower is None or _source(b, upper[0]) != _source(b, lower[0]):
        return None
    shape = b.values[upper[0]].shape
    half, odd = divmod(shape[-1], 2)
    if odd or op.attributes["axis"] % len(shape) != len(shape) - 1 or (upper[1], lower[1]) != (
            range(half, 2 * half), range(half)):
        return None
    return _source(b, upper[0])


def rotary(b: Builder, op: Operation) -> bool:
    """x * cos + [-x2, x1] * sin, the same for all heads."""
    for one, other in (op.inputs, op.inputs[::-1]):
        straight, crossed = _made(b, one, "Mul"), _made(b, other, "Mul")
        if straight is None or crossed is None:
            continue
        for turned, sin in (crossed.inputs, crossed.inputs[::-1]):
            x = _turned(b, turned)
            for name, cos in (straight.inputs, straight.inputs[::-1]):
                if x is not None and _source(b, name) == x and _rotate(b, op, x, cos, sin):
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


PATTERNS: dict[str, tuple[Pattern, ...]] = {
    "Add": (rotary,), "Div": (norm, length, mean_of_valid), "Mul": (norm,), "Softmax": (masked_softmax,),
    "Where": (not_a_number,),
}
"""By the kind of the last node."""
