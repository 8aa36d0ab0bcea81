"""Makes a 1x1 convolution with a diagonal matrix of an affine map that no convolution could take."""

from dataclasses import replace

import numpy as np

from ..float_graph import FloatAffine, FloatConv, FloatGraph, FloatNode


def lower_affine(graph: FloatGraph) -> FloatGraph:
    def lower(node: FloatNode) -> FloatNode:
        if not isinstance(node, FloatAffine):
            return node
        weights = np.diag(node.scale.astype(np.float32))[:, None, None, :]
        return FloatConv(node.name, node.inputs, node.output, weights, node.offset.astype(np.float32),
                         source=node.source)

    return replace(graph, nodes=tuple(lower(node) for node in graph.nodes))
