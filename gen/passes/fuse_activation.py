"""Fuses Relu and Clip into the limits of the node whose result they clamp."""

from dataclasses import replace

from ..float_graph import FloatAdd, FloatClamp, FloatConv, FloatGraph, FloatNode, FloatPool
from .rewrite import fuse, joined


def fuse_activation(graph: FloatGraph) -> FloatGraph:
    return fuse(graph, _fuse)


def _fuse(graph: FloatGraph, producer: FloatNode, node: FloatNode) -> FloatNode | None:
    if isinstance(node, FloatClamp) and isinstance(producer, FloatConv | FloatAdd | FloatPool | FloatClamp):
        # clamping to [a, b] and then to [c, d] is clamping to [a, b] clamped to [c, d]
        low = min(max(producer.low, node.low), node.high)
        high = min(max(producer.high, node.low), node.high)
        return replace(producer, output=node.output, source=joined(producer, node), low=low, high=high)
    return None
