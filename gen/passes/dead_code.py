"""Drops nodes and tensors that no output needs."""

from dataclasses import replace

from ..float_graph import FloatGraph, FloatNode


def dead_code(graph: FloatGraph) -> FloatGraph:
    needed = set(graph.outputs)
    kept: list[FloatNode] = []
    for node in reversed(graph.nodes):
        if node.output in needed:
            kept.append(node)
            needed.update(node.inputs)
    needed.update(graph.inputs)
    shapes = {name: shape for name, shape in graph.shapes.items() if name in needed}
    return replace(graph, nodes=tuple(reversed(kept)), shapes=shapes)
