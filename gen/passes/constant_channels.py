"""Drops channels of the integer graph whose value is the same everywhere, or that nobody uses."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from systolith.gen.graph import Add, Conv2D, DepthwiseConv2D, Graph, Lookup, Mul, Node, Pool2D, Rescale, Resize, Tensor
from systolith.sim.golden.execute import apply

Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class _Channels:
    """Which channels of a tensor are constant, and their values."""

    constant: Bools
    value: NDArray[np.int64]


def constant_channels(graph: Graph) -> Graph:
    """The graph without channels that no output depends on.

    A channel whose value is the same at every position (its weights are all zero, say) adds the same to every sum that
    reads it, which goes into the bias, as long as no padding takes its place: that is where it is the zero point, or
    there is none. Outputs are the same, bit for bit; the graph's inputs and outputs keep all channels.
    """
    known = _constants(graph)
    keep = _needed(graph, known)
    if all(kept.all() for kept in keep.values()):
        return graph
    tensors = {name: replace(t, shape=(t.shape[0], t.shape[1], int(keep[name].sum())))
               for name, t in graph.tensors.items()}
    nodes = tuple(_without(node, graph, known, keep) for node in graph.nodes)
    return replace(graph, tensors=tensors, nodes=nodes)


def _same_channels(node: Node) -> bool:
    """Channel c of the output is made of channel c of each input, in the same way for all."""
    return isinstance(node, Add | DepthwiseConv2D | Lookup | Mul | Pool2D | Rescale | Resize)


def _unpadded(node: Node) -> bool:
    return not any(getattr(node, "padding", (0,)))


def _absorbed(node: Node, tensor: Tensor, known: _Channels) -> Bools:
    """Channels of an input whose part in the node's sums is the same for every position."""
    return known.constant if _unpadded(node) else known.constant & (known.value == tensor.zero_point)


def _constants(graph: Graph) -> dict[str, _Channels]:
    """Constant channels of every tensor."""
    known = {name: _Channels(np.zeros(t.shape[2], bool), np.zeros(t.shape[2], np.int64))
             for name, t in graph.tensors.items()}
    for node in graph.nodes:
        out = graph.tensors[node.output]
        inputs = [graph.tensors[name] for name in node.inputs]
        if isinstance(node, Conv2D):
            absorbed = _absorbed(node, inputs[0], known[node.inputs[0]])
            constant = ~np.any(node.weights[..., ~absorbed], axis=(1, 2, 3))
        elif _same_channels(node) and all(t.shape[2] == out.shape[2] for t in inputs):
            absorbed = np.all([_absorbed(node, t, known[t.name]) for t in inputs], axis=0)
            constant = absorbed | (~np.any(node.weights, axis=(1, 2)) if isinstance(node, DepthwiseConv2D) else False)
            if isinstance(node, Rescale) and any(node.padding):
                constant = np.zeros_like(constant)  # the border has another value
        else:
            continue
        if constant.any():
            # Any position will do: a constant channel is the same with or without neighbours.
            values = [np.broadcast_to(np.where(known[t.name].constant, known[t.name].value, t.zero_point),
                                      t.shape).astype(np.int32) for t in inputs]
            made = apply(node, values, inputs, out)
            known[node.output] = _Channels(constant, made[0, 0].astype(np.int64))
    return known


def _needed(graph: Graph, known: dict[str, _Channels]) -> dict[str, Bools]:
    """Channels of every tensor that are to be kept: tensors with the same channels keep the same."""
    groups: dict[str, str] = {}

    def group(name: str) -> str:
        while name in groups:
            name = groups[name]
        return name

    for node in graph.nodes:
        if _same_channels(node):
            for name in node.inputs:
                a, b = group(name), group(node.output)
                if a != b and graph.tensors[name].shape[2] == graph.tensors[node.output].shape[2]:
                    groups[a] = b
    keep = {group(name): np.zeros(t.shape[2], bool) for name, t in graph.tensors.items()}
    for name in (*graph.inputs, *graph.outputs):
        keep[group(name)][:] = True
    changed = True
    while changed:
        before = sum(int(kept.sum()) for kept in keep.values())
        for node in reversed(graph.nodes):
            for name in node.inputs:
                if isinstance(node, Conv2D):
                    absorbed = _absorbed(node, graph.tensors[name], known[name])
                    used = np.any(node.weights[keep[group(node.output)]], axis=(0, 1, 2)) & ~absorbed
                    keep[group(name)] |= used
                elif not (_same_channels(node) and group(name) == group(node.output)):
                    keep[group(name)][:] = keep[group(node.output)][:] = True
        for kept in keep.values():
            kept[0] |= not kept.any()  # no tensor is empty
        changed = sum(int(kept.sum()) for kept in keep.values()) != before
    return {name: keep[group(name)] for name in graph.tensors}


def _without(node: Node, graph: Graph, known: dict[str, _Channels], keep: dict[str, Bools]) -> Node:
    """The node between tensors that have lost channels."""
    if not isinstance(node, Conv2D | DepthwiseConv2D):
        return node
    kept = keep[node.output]
    weights, bias = node.weights[kept], node.bias[kept]
    if isinstance(node, Conv2D):
        tensor, lost = graph.tensors[node.inputs[0]], ~keep[node.inputs[0]]
        value = np.where(known[tensor.name].constant, known[tensor.name].value - tensor.zero_point, 0)[lost]
        sums = weights[..., lost].astype(np.int64).sum(axis=(1, 2)) @ value
        bias = (bias + sums).astype(np.int32)  # wraps, as the sums do
        weights = np.ascontiguousarray(weights[..., ~lost])
    scales = node.weight_scales[kept] if node.weight_scales is not None else None
    return replace(node, weights=weights, bias=bias, multiplier=node.multiplier[kept], shift=node.shift[kept],
                   weight_scales=scales)
