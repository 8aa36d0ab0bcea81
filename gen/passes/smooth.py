"""Norms whose channels are differently large made even for what multiplies them, as its weights can be made uneven."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..float_graph import FloatConv, FloatGraph, FloatNode, FloatNorm, float_execute
from .shorten import as_long

Array = NDArray[Any]
MOST = 100.0
"""Factors between channels, at most."""


def smooth(graph: FloatGraph, samples: Iterable[dict[str, Array]]) -> FloatGraph:
    """The graph with each norm that convolutions read divided channel by channel, and their weights multiplied alike.

    The factor of a channel is sqrt(largest value / largest weight), as in SmoothQuant (Xiao et al., 2023): then one
    int8 scale fits the small channels too. Where others read a norm as well it is there twice: the second one comes in
    place of the copy in int8 that the convolutions would read.
    """
    readers: dict[str, list[FloatNode]] = {}
    for node in graph.nodes:
        for name in node.inputs:
            readers.setdefault(name, []).append(node)
    norms = {node.output: node for node in graph.nodes if isinstance(node, FloatNorm)
             and any(isinstance(reader, FloatConv) for reader in readers.get(node.output, []))}
    largest = _largest(graph, samples, norms)
    factors: dict[str, Array] = {}
    even: dict[str, FloatNorm] = {}
    for name, node in norms.items():
        weights = np.max([np.abs(reader.weights).max(axis=(0, 1, 2)) for reader in readers[name]
                          if isinstance(reader, FloatConv)], axis=0)
        factor = np.sqrt(np.maximum(largest[name], 1e-9) / np.maximum(weights, 1e-9))
        factors[name] = np.clip(factor / np.median(factor), 1 / MOST, MOST).astype(np.float32)
        even[name] = replace(node, name=f"{node.name}:even", output=f"{node.output}:even",
                             gamma=node.gamma / factors[name], beta=node.beta / factors[name])
    nodes: list[FloatNode] = []
    for node in graph.nodes:
        if isinstance(node, FloatConv) and node.inputs[0] in even:
            name = node.inputs[0]
            node = replace(node, inputs=(even[name].output,), weights=node.weights * factors[name])
        alone = node.output in even and node.output not in graph.outputs and all(
            isinstance(reader, FloatConv) for reader in readers[node.output])
        if not alone:
            nodes.append(node)
        if node.output in even:
            nodes.append(even[node.output])
    shapes = graph.shapes | {node.output: graph.shapes[name] for name, node in even.items()}
    return replace(graph, nodes=tuple(nodes), shapes=shapes)


def _largest(graph: FloatGraph, samples: Iterable[dict[str, Array]], names: Iterable[str]) -> dict[str, Array]:
    """The largest size of each channel of some tensors."""
    found = {name: np.zeros(graph.shapes[name][2]) for name in names}

    def observe(name: str, values: Array) -> None:
        if name in found:
            found[name] = np.maximum(found[name], np.abs(values).reshape(-1, values.shape[-1]).max(axis=0))

    for sample in samples:
        inputs = {name: np.asarray(sample[name], np.float32) for name in graph.inputs}
        float_execute(as_long(graph, inputs), inputs, observe)
    return found
