"""Folds a standalone Pad into the window operator after it, where that is exact."""

import math
from dataclasses import replace

from ..float_graph import FloatConv, FloatDepthwise, FloatGraph, FloatNode, FloatPad, FloatPool
from .rewrite import fuse, joined


def fold_pad(graph: FloatGraph) -> FloatGraph:
    positive = {node.output for node in graph.nodes if getattr(node, "low", -math.inf) >= 0}

    def rule(graph: FloatGraph, pad: FloatNode, node: FloatNode) -> FloatNode | None:
        if not isinstance(pad, FloatPad) or not isinstance(node, FloatConv | FloatDepthwise | FloatPool):
            return None
        (top, left, bottom, right), own = pad.padding, node.padding
        padding = (top + own[0], left + own[1], bottom + own[2], right + own[3])
        source = joined(pad, node)
        if isinstance(node, FloatConv | FloatDepthwise):
            return replace(node, inputs=pad.inputs, source=source, padding=padding) if pad.value == 0 else None
        merged = replace(node, inputs=pad.inputs, source=source, padding=padding)
        if node.mode == "max":
            # a 0 among values that are not negative never wins, unless a window holds nothing else
            harmless = pad.value == 0 and pad.inputs[0] in positive and not any(node.padding)
            return merged if (harmless or pad.value == -math.inf) and _touches(graph, pad, node) else None
        if pad.value == 0 and not any(node.padding):
            return replace(merged, exclude_padding=False)  # the zeros are counted, they were elements
        return merged if pad.value == 0 and not node.exclude_padding else None

    return fuse(graph, rule, keep_producer=True)


def _touches(graph: FloatGraph, pad: FloatPad, node: FloatPool) -> bool:
    """Every window has an element of the map in it."""
    return node.dilations == (1, 1) and all(
        border < node.kernel[axis % 2] for axis, border in enumerate(pad.padding))
