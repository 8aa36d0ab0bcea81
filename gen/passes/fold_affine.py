"""Folds batch normalisation, bias and constant factors into the convolution before or, without padding, after them,
into a norm before them, and one factor into a product of activations."""

from dataclasses import replace

import numpy as np

from ..float_graph import (
    FloatAffine,
    FloatConv,
    FloatDepthwise,
    FloatGraph,
    FloatMatMul,
    FloatNode,
    FloatNorm,
    FloatReshape,
    FloatTranspose,
    FloatTransposedConv,
)
from .rewrite import fuse, joined


def fold_affine(graph: FloatGraph) -> FloatGraph:
    # backwards first: a batch normalisation between two convolutions belongs to the one before it
    return _into_products(fuse(fuse(graph, _into_producer), _into_follower))


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
    if isinstance(producer, FloatNorm):
        return replace(producer, output=node.output, source=source, gamma=producer.gamma * node.scale,
                       beta=producer.beta * node.scale + node.offset)
    if isinstance(producer, FloatMatMul) and (factor := _factor(node)) is not None:
        return replace(producer, output=node.output, source=source, scale=producer.scale * factor)
    return None


def _factor(node: FloatAffine) -> float | None:
    """The one number with which the map multiplies everything; None where it does something else."""
    one = float(node.scale[0])
    return one if np.all(node.scale == one) and not np.any(node.offset) else None


def _into_products(graph: FloatGraph) -> FloatGraph:
    """A factor of an operand, also before a change of its shape or order, is one of the product."""
    makers = {node.output: node for node in graph.nodes}
    readers = graph.readers()
    dropped: dict[str, str] = {}
    factors: dict[str, float] = {}
    for node in graph.nodes:
        if not isinstance(node, FloatMatMul):
            continue
        for name in set(node.inputs):
            maker = makers.get(name)
            while isinstance(maker, FloatReshape | FloatTranspose) and readers[maker.output] == 1:
                maker = makers.get(maker.inputs[0])
            if isinstance(maker, FloatAffine) and readers[maker.output] == 1 and (factor := _factor(maker)) is not None:
                dropped[maker.output] = maker.inputs[0]
                factors[node.output] = factors.get(node.output, 1.0) * factor
    nodes = [replace(node, inputs=tuple(dropped.get(name, name) for name in node.inputs))
             for node in graph.nodes if node.output not in dropped]
    return replace(graph, nodes=tuple(
        replace(node, scale=node.scale * factors.get(node.output, 1.0)) if isinstance(node, FloatMatMul) else node
        for node in nodes))


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
