"""Scales and zero points of a calibrated float graph's tensors: which share one, and what ranges they cover."""

from collections.abc import Collection

import numpy as np

from .calibrate import Observer
from .float_graph import (
    FloatAdd,
    FloatArgMax,
    FloatConcat,
    FloatConstant,
    FloatConv,
    FloatEmbedding,
    FloatGraph,
    FloatMatMul,
    FloatMul,
    FloatNode,
    FloatNorm,
    FloatPad,
    FloatPool,
    FloatReshape,
    FloatResize,
    FloatSlice,
    FloatSoftmax,
    FloatTranspose,
)
from .graph import DTYPES, Tensor


def activation_scale(low: float, high: float) -> tuple[float, int]:
    """Scale (a float32 value) and zero point of an int8 tensor with this range; 0 is represented exactly."""
    low, high = min(low, 0.0), max(high, 0.0)
    scale = float(np.float32((high - low) / 255))
    if not scale >= float(np.finfo(np.float32).tiny):
        return 1.0, 0
    return scale, int(np.clip(round(-128 - low / scale), -128, 127))


def symmetric_scale(low: float, high: float, dtype: str) -> tuple[float, int]:
    """Scale (a float32 value) of a tensor with this range whose zero point is 0."""
    largest = float(np.float32(max(-low, high) / np.iinfo(DTYPES[dtype]).max))
    return (largest, 0) if largest >= float(np.finfo(np.float32).tiny) else (1.0, 0)


def sixteen_bits(graph: FloatGraph) -> set[str]:
    """The tensors that are int16: what a norm reads, as far back as sums make it, and norms that nothing rescales.

    That is the residual path of a transformer, with the products that are added to it. Networks without norms have
    none.
    """
    made = {node.output: node for node in graph.nodes}
    reads = {name for node in graph.nodes for name in node.inputs if isinstance(node, FloatNorm | FloatPool)}
    todo = [node.inputs[0] for node in graph.nodes if isinstance(node, FloatNorm)]
    todo += [node.output for node in graph.nodes if isinstance(node, FloatNorm)
             and (node.output in graph.outputs or node.output in reads)]
    found: set[str] = set()
    while todo:
        name = todo.pop()
        node = made.get(name)
        if name in found or not (node is None or isinstance(node, _WIDE | _MOVES)):
            continue
        found.add(name)
        if isinstance(node, FloatAdd | _MOVES):
            todo += node.inputs
    for node in graph.nodes:  # what moves values keeps their type
        if isinstance(node, _MOVES) and node.inputs[0] in found:
            found.add(node.output)
    return found


def _keeps_scale(node: FloatNode) -> bool:
    """The output is made of input values as they are."""
    return isinstance(node, _MOVES | FloatPad | FloatResize) or (isinstance(node, FloatPool) and node.mode == "max")


_MOVES = FloatReshape | FloatSlice | FloatTranspose | FloatConcat
_WIDE = FloatAdd | FloatConstant | FloatConv | FloatEmbedding | FloatMatMul | FloatMul | FloatNorm | FloatPool
"""What can make int16."""
SOFTMAX = 1 / 256, -128
"""Scale and zero point of what a Softmax makes."""


def _scale_groups(graph: FloatGraph) -> tuple[dict[str, str], set[str]]:
    """One of the tensors that share a scale, for each tensor; and the tensors that are made of others of their group,
    whose range counts for nothing. A softmax has its own scale, whatever reads it."""
    parent = {name: name for name in graph.shapes}
    fixed: set[str] = set()
    derived: set[str] = set()

    def top(name: str) -> str:
        while parent[name] != name:
            name = parent[name]
        return name

    for node in graph.nodes:
        if isinstance(node, FloatSoftmax):
            fixed.add(node.output)
        elif _keeps_scale(node):
            shared = [name for name in node.inputs if top(name) not in fixed or len(node.inputs) == 1]
            for name in shared:
                first, second = top(name), top(node.output)
                if first != second:
                    parent[second] = first
            if len(shared) == len(node.inputs):
                derived.add(node.output)
    return {name: top(name) for name in parent}, derived


Range = tuple[float, float]


def ranges_of(graph: FloatGraph, observers: dict[str, Observer], percentile: float | None, least_error: bool,
              ) -> dict[str, Range]:
    """The range that each tensor is to cover; those that share a scale cover the same."""
    group, derived = _scale_groups(graph)
    found: dict[str, Range] = {}
    for name in (*graph.inputs, *(node.output for node in graph.nodes)):
        if name in derived:
            continue
        observer, to = observers[name], group[name]
        lowest, highest = observer.low, observer.high
        if percentile is not None:
            lowest, highest = observer.percentile(percentile)
        elif least_error:
            lowest, highest = observer.least_error()
        low, high = found.get(to, (0.0, 0.0))
        found[to] = min(low, lowest), max(high, highest)
    return {name: found.get(to, (0.0, 0.0)) for name, to in group.items()}


def tensors_of(graph: FloatGraph, ranges: dict[str, Range], more: Collection[str] = ()) -> dict[str, Tensor]:
    """The core graph's tensors: shape, type, scale and zero point; `more`: are int16, too."""
    group, _ = _scale_groups(graph)
    made = {node.output: node for node in graph.nodes}
    wide, entries = sixteen_bits(graph) | set(more), graph.entries()
    # the array takes the second operand of a product without a zero point
    symmetric = {group[node.inputs[1]] for node in graph.nodes if isinstance(node, FloatMatMul)}
    tensors: dict[str, Tensor] = {}
    for name in (*graph.inputs, *made):
        dtype, scales = "int8", activation_scale(*ranges[name])
        if isinstance(made.get(group[name]), FloatSoftmax):
            scales = SOFTMAX
        elif name in wide or group[name] in symmetric:
            dtype = "int16" if name in wide else "int8"
            scales = symmetric_scale(*ranges[name], dtype)
        tensors[name] = Tensor(name, graph.shapes[name], dtype, *scales)
        node = made.get(name)
        if name in entries:
            tensors[name] = Tensor(name, graph.shapes[name], "int32")  # numbers of rows
        elif isinstance(node, FloatArgMax) or (isinstance(node, FloatReshape)
                                             and tensors[node.inputs[0]].dtype == "int32"):
            tensors[name] = Tensor(name, graph.shapes[name], "int32")  # indices, perhaps in another shape
    return tensors
