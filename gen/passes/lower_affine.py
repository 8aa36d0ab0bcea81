"""Makes a 1x1 depthwise convolution of an affine map that no convolution could take."""

from dataclasses import replace

import numpy as np

from ..float_graph import FloatAffine, FloatDepthwise, FloatGraph, FloatNode


def lower_affine(graph: FloatGraph) -> FloatGraph:
    def lower(node: FloatNode) -> FloatNode:
        if not isinstance(node, FloatAffine):
            return node
        return FloatDepthwise(node.name, node.inputs, node.output, node.scale.astype(np.float32)[:, None, None],
                              node.offset.astype(np.float32), source=node.source)

    return replace(graph, nodes=tuple(lower(node) for node in graph.nodes))
