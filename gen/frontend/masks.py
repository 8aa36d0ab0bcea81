"""Masks of attention: values of a file that depend on nothing but which tokens are valid.

What a file computes from such a mask is followed by what it is for a few masks, each of ones for the first tokens and
zeros after them. What reaches a softmax is compared with the masks that the machine knows: causal, and of valid tokens.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx.reference import ReferenceEvaluator

Array = NDArray[Any]

COMPUTING = (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)
"""What `compute` raises where ONNX' reference cannot execute the node."""

HUGE = -1e4
"""A score of this or less has no part in a softmax, as masks have it."""


def compute(node: onnx.NodeProto, inputs: Mapping[str, Array], opset: int) -> dict[str, Array]:
    """The node's outputs by ONNX' reference implementation."""
    graph = onnx.GraphProto(name="constant", node=[node])
    graph.input.extend(onnx.ValueInfoProto(name=name) for name in inputs)
    graph.output.extend(onnx.ValueInfoProto(name=name) for name in node.output if name)
    with np.errstate(all="ignore"):
        results = ReferenceEvaluator(graph, opsets={"": opset}).run(None, dict(inputs))
    return dict(zip([name for name in node.output if name], map(np.asarray, results), strict=True))


@dataclass
class Masks:
    """The values that depend on a mask: what each is for every length, and which input it comes from."""

    lengths: dict[str, tuple[int, ...]] = field(default_factory=dict)
    """Of each input that may be a mask: how many tokens are valid in its samples"""
    samples: dict[str, list[Array]] = field(default_factory=dict)
    roots: dict[str, str] = field(default_factory=dict)
    used: str = ""
    """The input that is one"""

    def enter(self, name: str, layout: tuple[int, ...], dtype: Any) -> None:
        """An input that may be a mask: [tokens] or [1, tokens]."""
        tokens = layout[-1]
        lengths = sorted({max(1, tokens * part // 4) for part in (1, 2, 3, 4)})
        self.lengths[name], self.roots[name] = tuple(lengths), name
        self.samples[name] = [(np.arange(tokens) < length).astype(dtype).reshape(layout) for length in lengths]

    def follow(self, node: onnx.NodeProto, constants: dict[str, Array], opset: int) -> bool:
        """Computes a node that reads nothing but values of one mask and constants; False where it is not one."""
        names = dict.fromkeys(name for name in node.input if name)
        roots = {self.roots[name] for name in names if name in self.roots}
        if len(roots) != 1 or not all(name in self.roots or name in constants for name in names):
            return False
        (root,) = roots
        if node.op_type in ("Shape", "Size"):
            constants.update(compute(node, {name: self.samples[name][0] for name in names}, opset))
            return True
        try:
            made = [compute(node, {name: self.samples[name][number] if name in self.roots else constants[name]
                                   for name in names}, opset) for number in range(len(self.lengths[root]))]
        except COMPUTING:
            return False
        for name in made[0]:
            self.roots[name], self.samples[name] = root, [each[name] for each in made]
        return True

    def use(self, name: str) -> bool:
        """Makes the input from which the value comes the network's mask; False where another is."""
        self.used = self.used or self.roots[name]
        return self.used == self.roots[name]

    def known(self, name: str, constants: dict[str, Array]) -> list[tuple[int, Array]] | None:
        """A value for every number of valid tokens (0 for a constant, which is one for all); None for another."""
        if name in constants:
            return [(0, constants[name])]
        if name in self.roots:
            return list(zip(self.lengths[self.roots[name]], self.samples[name], strict=True))
        return None


def additive(values: list[tuple[int, Array]]) -> list[tuple[int, Array]] | None:
    """Of what is added to scores: where it blocks; None where it is no mask, but something else."""
    blocked = [(length, array <= HUGE) for length, array in values if array.dtype.kind in "fiu"]
    if len(blocked) != len(values) or any((array[~there] != 0).any() for (_, array), (_, there) in
                                          zip(values, blocked, strict=True)):
        return None
    return blocked


def classify(blocked: list[tuple[int, Array]], shape: tuple[int, ...]) -> tuple[bool, bool] | None:
    """Whether a mask of scores [..., rows, columns] is causal, and whether it is one of valid columns. Rows behind the
    valid ones may have any mask, since they are of no token. None for every other mask."""
    height, width = shape[-2:]
    triangle = np.arange(width) <= np.arange(height)[:, None]
    for masked, causal in ((False, False), (False, True), (True, False), (True, True)):
        if masked and not all(length for length, _ in blocked):
            break  # a constant
        for length, array in blocked:
            try:
                given = ~np.broadcast_to(array, shape)
            except ValueError:
                return None
            rows = length if masked and height == width else height
            allowed = (triangle if causal else True) & (np.arange(width) < (length if masked else width))
            if not np.array_equal(given[..., :rows, :], np.broadcast_to(allowed, shape)[..., :rows, :]):
                break
        else:
            return causal, masked
    return None
