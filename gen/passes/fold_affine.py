"""Folds batch normalisation, bias and constant factors into the convolution before or, without padding, after them."""

from dataclasses import replace

import numpy as np

from ..float_graph import FloatAffine, FloatConv, FloatDepthwise, FloatGraph, FloatNode, FloatTransposedConv
from .rewrite import fuse, joined


def fold_affine(graph: FloatGraph) -> FloatGraph:
    # backwards first: a batch normalisation between two convolutions belongs to the one before it
    return fuse(fuse(graph, _into_producer), _into_follower)


def _into_producer(graph: FloatGraph, producer: FloatNode, node: FloatNode) -> FloatNode | None:
    if not isinstance(node, FloatAffine):
        return None
    source = joined(producer, node)
    if isinstance(producer, FloatAffine):
        return replace(producer, output=node.output, source=source, scale=producer.scale * node.scale,
                       offset=producer.offset * node.scale + node.offset)
    if isinstance(producer, FloatConv | FloatDepthwise | FloatTransposedConv) and (
            producer.low, producer.high) == (-np.inf, np.inf):
        scale = node.scale.astype(np.float64)
        weights = producer.weights * scale.reshape(-1, *(1,) * (producer.weights.ndim - 1))
        bias = producer.bias * scale + node.offset
        return replace(producer, output=node.output, source=source, weights=weights.astype(np.float32),
                       bias=bias.astype(np.float32))
    return None


def _into_follower(graph: FloatGraph, producer: FloatNode, node: FloatNode) -> FloatNode | None:
    if isinstance(producer, FloatAffine) and isinstance(node, FloatConv) and not any(node.padding):
        weights = node.weights.astype(np.float64)
        bias = node.bias + (weights * producer.offset).sum(axis=(1, 2, 3))
        return replace(node, inputs=producer.inputs, source=joined(producer, node),
                       weights=(weights * producer.scale).astype(np.float32), bias=bias.astype(np.float32))
    if isinstance(producer, FloatAffine) and isinstance(node, FloatDepthwise) and not any(node.padding):
        weights, times = node.weights.astype(np.float64), len(node.weights) // len(producer.scale)
        bias = node.bias + weights.sum(axis=(1, 2)) * np.repeat(producer.offset, times)
        scale = np.repeat(producer.scale, times)[:, None, None]
        return replace(node, inputs=producer.inputs, source=joined(producer, node),
                       weights=(weights * scale).astype(np.float32), bias=bias.astype(np.float32))
    return None
