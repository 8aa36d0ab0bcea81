"""Drops what changes nothing: reshapes to the same shape, clamps without limits, empty pads, affine maps by 1 and 0."""

import math
from dataclasses import replace

import numpy as np

from ..float_graph import FloatAffine, FloatClamp, FloatGraph, FloatNode, FloatPad, FloatReshape


def _is_identity(graph: FloatGraph, node: FloatNode) -> bool:
    if isinstance(node, FloatReshape):
        return graph.shapes[node.inputs[0]] == graph.shapes[node.output]
    if isinstance(node, FloatClamp):
        return node.low == -math.inf and node.high == math.inf
    if isinstance(node, FloatPad):
        return not any(node.padding)
    return isinstance(node, FloatAffine) and bool(np.all(node.scale == 1) and np.all(node.offset == 0))


def drop_identities(graph: FloatGraph) -> FloatGraph:
    """An output keeps its name: the node that makes its value takes that name, where it has no other to keep."""
    alias: dict[str, str] = {}
    nodes: list[FloatNode] = []
    for old in graph.nodes:
        node = replace(old, inputs=tuple(alias.get(name, name) for name in old.inputs))
        if not _is_identity(graph, node):
            nodes.append(node)
            continue
        read = node.inputs[0]
        if node.output not in graph.outputs:
            alias[node.output] = read
        elif read in graph.inputs or read in graph.outputs:
            nodes.append(FloatReshape(node.name, (read,), node.output, source=node.source))
        else:
            nodes = [_renamed(other, read, node.output) for other in nodes]
            alias = {name: node.output if target == read else target for name, target in alias.items()}
            alias[read] = node.output
    return replace(graph, nodes=tuple(nodes))


def _renamed(node: FloatNode, old: str, new: str) -> FloatNode:
    """The node with the tensor `old` called `new`."""
    return replace(node, inputs=tuple(new if name == old else name for name in node.inputs),
                   output=new if node.output == old else node.output)
