"""Scales and zero points of a calibrated float graph's tensors: which share one, and what ranges they cover."""

import numpy as np

from .calibrate import Observer
from .float_graph import (
    FloatArgMax,
    FloatConcat,
    FloatGraph,
    FloatNode,
    FloatPad,
    FloatPool,
    FloatReshape,
    FloatResize,
    FloatSlice,
    FloatSoftmax,
    FloatTranspose,
)
from .graph import Tensor


def activation_scale(low: float, high: float) -> tuple[float, int]:
    """Scale (a float32 value) and zero point of an int8 tensor with this range; 0 is represented exactly."""
    low, high = min(low, 0.0), max(high, 0.0)
    scale = float(np.float32((high - low) / 255))
    if not scale >= float(np.finfo(np.float32).tiny):
        return 1.0, 0
    return scale, int(np.clip(round(-128 - low / scale), -128, 127))


def _keeps_scale(node: FloatNode) -> bool:
    """The output is made of input values as they are."""
    moves = FloatReshape | FloatPad | FloatSlice | FloatTranspose | FloatConcat | FloatResize
    return isinstance(node, moves) or (isinstance(node, FloatPool) and node.mode == "max")


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


def tensors_of(graph: FloatGraph, observers: dict[str, Observer], percentile: float | None, least_error: bool,
               ) -> dict[str, Tensor]:
    """The core graph's tensors: shape, type, scale and zero point."""
    group, derived = _scale_groups(graph)
    made = {node.output: node for node in graph.nodes}
    low = dict.fromkeys(group.values(), 0.0)
    high = dict(low)
    for name in (*graph.inputs, *made):
        if name in derived:
            continue
        observer, to = observers[name], group[name]
        lowest, highest = observer.low, observer.high
        if percentile is not None:
            lowest, highest = observer.percentile(percentile)
        elif least_error:
            lowest, highest = observer.least_error()
        low[to], high[to] = min(low[to], lowest), max(high[to], highest)
    tensors: dict[str, Tensor] = {}
    for name in (*graph.inputs, *made):
        scale, zero_point = activation_scale(low[group[name]], high[group[name]])
        tensors[name] = Tensor(name, graph.shapes[name], "int8", scale, zero_point)
        if isinstance(made.get(group[name]), FloatSoftmax):
            tensors[name] = Tensor(name, graph.shapes[name], "int8", *SOFTMAX)
        node = made.get(name)
        if isinstance(node, FloatArgMax) or (isinstance(node, FloatReshape)
                                             and tensors[node.inputs[0]].dtype == "int32"):
            tensors[name] = Tensor(name, graph.shapes[name], "int32")  # indices, perhaps in another shape
    return tensors
