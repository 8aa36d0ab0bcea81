"""Fuses Relu and Clip into the limits of the node whose result they clamp."""

from dataclasses import replace

from ..float_graph import CLAMPING, FloatClamp, FloatGraph, FloatNode, FloatResize
from .rewrite import fuse, joined


def fuse_activation(graph: FloatGraph) -> FloatGraph:
    return fuse(graph, _fuse)


def _fuse(graph: FloatGraph, producer: FloatNode, node: FloatNode) -> FloatNode | None:
    copies = isinstance(producer, FloatResize) and not producer.bits  # nearest: integers as they are
    if isinstance(node, FloatClamp) and isinstance(producer, CLAMPING) and not copies:
        # clamping to [a, b] and then to [c, d] is clamping to [a, b] clamped to [c, d]
        low = min(max(producer.low, node.low), node.high)
        high = min(max(producer.high, node.low), node.high)
        return replace(producer, output=node.output, source=joined(producer, node), low=low, high=high)
    return None
