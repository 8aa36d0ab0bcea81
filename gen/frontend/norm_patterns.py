"""Norms in several nodes: layer norm, RMS norm, a vector of length 1."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..float_graph import FloatNorm
from .builder import Builder, Operation, Value
from .layout import rows
from .lookback import made, number_of, reduces, root_of, source, square_of, with_number

Array = NDArray[Any]


def norm_of(b: Builder, op: Operation, x: Value, gamma: Array, beta: Array, epsilon: float, rms: bool) -> None:
    """A norm along the last axis; gamma and beta by the file's order."""
    found = rows(b, x)
    size = len(found.order)
    by_channel = [np.empty(size), np.empty(size)]
    for laid, given in zip(by_channel, (gamma, beta), strict=True):
        laid[found.order] = np.broadcast_to(given.astype(np.float64).reshape(-1), (size,))
    b.add(FloatNorm(op.name, (found.tensor,), op.outputs[0], by_channel[0], by_channel[1], float(epsilon), rms,
                    source=op.source), found.index)


def _divided(b: Builder, op: Operation) -> list[tuple[str, str]]:
    """Pairs (x, y) so that the node is x / sqrt(y)."""
    pairs = []
    if op.kind == "Div":
        pairs.append((op.inputs[0], root_of(b, op.inputs[1])))
        return [(x, y) for x, y in pairs if y is not None]
    for x, factor in (op.inputs, op.inputs[::-1]):
        inverse = made(b, factor, "Reciprocal", "Div", "Pow", "Sqrt")
        if inverse is None:
            continue
        if inverse.kind == "Pow" and number_of(b, inverse.inputs[1]) == -0.5:
            pairs.append((x, inverse.inputs[0]))
        elif inverse.kind == "Sqrt" and (below := made(b, inverse.inputs[0], "Reciprocal")):
            pairs.append((x, below.inputs[0]))
        elif inverse.kind == "Reciprocal":
            pairs.append((x, root_of(b, inverse.inputs[0])))
        elif inverse.kind == "Div" and number_of(b, inverse.inputs[0]) == 1:
            pairs.append((x, root_of(b, inverse.inputs[1])))
    return [(x, y) for x, y in pairs if y is not None]


def _centred(b: Builder, name: str) -> str | None:
    """The value from which its mean is subtracted to make this one."""
    op = made(b, name, "Sub")
    if op is None or op.inputs[0] in b.constants:
        return None
    mean = made(b, op.inputs[1], "ReduceMean")
    if mean is None or not reduces(b, mean) or source(b, mean.inputs[0]) != source(b, op.inputs[0]):
        return None
    return source(b, op.inputs[0])


def norm(b: Builder, op: Operation) -> bool:
    """x / sqrt(mean(x * x) + epsilon), a layer norm where x is something less its mean. What it is multiplied with
    and what is added joins it by a pass."""
    for name, below in _divided(b, op):
        sums = made(b, below, "Add")
        found = with_number(b, sums) if sums else None
        mean = made(b, found[0], "ReduceMean") if found else None
        squared = square_of(b, mean.inputs[0]) if mean and reduces(b, mean) else None
        if found is None or squared is None:
            continue
        x, centred = source(b, name), _centred(b, name)
        if source(b, squared) != x and (centred is None or _centred(b, squared) != centred):
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
    while (step := made(b, below, "Expand", "Clip", "Max", "Add")) is not None:
        if step.kind == "Expand":
            below = step.inputs[0]
            continue
        if step.kind == "Clip":
            number = step.attributes.get("min") if not step.input(1) else number_of(b, step.input(1))
            found = (step.inputs[0], float(number)) if number is not None else None
        else:
            found = with_number(b, step)
        if found is None or not 0 <= found[1] <= 1e-3:
            return False
        below, epsilon = found
    norms = made(b, below, "ReduceL2")
    if norms is not None:
        squared: str | None = norms.inputs[0]
    else:
        norms = made(b, root_of(b, below) or "", "ReduceSum")
        squared = square_of(b, norms.inputs[0]) if norms else None
    x = source(b, op.inputs[0])
    if norms is None or squared is None or source(b, squared) != x or x not in b.values or not reduces(b, norms):
        return False
    size = b.values[x].shape[-1]
    norm_of(b, op, b.values[x], np.full(1, size ** -0.5), np.zeros(1), epsilon ** 2 / size, True)
    b.reads[op.outputs[0]] = (x,)
    return True
