"""The network for fewer tokens than it was compiled for: what a machine computes when its length register says so."""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from numpy.typing import NDArray

from systolith.gen.errors import UserError
from systolith.gen.float_graph import (
    FloatConstant,
    FloatGraph,
    FloatNode,
    FloatPool,
    FloatReshape,
    FloatSlice,
    float_shape,
)
from systolith.gen.graph import Append, Constant, Graph, MatMul, Pool2D, Reshape, Shape, output_shape


def tokens_of(graph: Graph | FloatGraph) -> int:
    """How many tokens the graph has: the rows of its inputs, or of what it keeps. UserError where it takes no mask, so
    always as many."""
    if not graph.mask:
        raise UserError(f"{graph.name} takes no mask: its sequence is as long as it was compiled for")
    if isinstance(graph, Graph) and graph.kept:
        return graph.tensors[graph.kept[0]].shape[0]
    return max((graph.tensors[name].shape if isinstance(graph, Graph) else graph.shapes[name])[0]
               for name in graph.inputs)


def _tokens_for(graph: Graph | FloatGraph, length: int) -> int:
    """`tokens_of`; UserError for a length that the graph cannot have."""
    tokens = tokens_of(graph)
    if not 1 <= length <= tokens:
        raise UserError(f"a sequence of {length} tokens; {graph.name} was compiled for 1 to {tokens}")
    return tokens


def shortened(graph: Graph, length: int) -> Graph:
    """The graph for `length` tokens, the first rows of its inputs. UserError for a length that it cannot have."""
    tokens = _tokens_for(graph, length)
    tensors = dict(graph.tensors)

    def resize(name: str, shape: Shape) -> None:
        tensors[name] = replace(tensors[name], shape=shape)

    for name in graph.inputs:
        if tensors[name].shape[0] == tokens:
            resize(name, (length, *tensors[name].shape[1:]))
    nodes = []
    for node in graph.nodes:
        out = graph.tensors[node.output].shape
        if isinstance(node, Constant) and out[0] == tokens:
            node = replace(node, values=node.values[:length])
        elif isinstance(node, Pool2D) and node.kernel[0] == tokens == graph.tensors[node.inputs[0]].shape[0]:
            node = replace(node, kernel=(length, node.kernel[1]))
        inputs = [tensors[name] for name in node.inputs]
        if isinstance(node, MatMul):
            heads = node.sizes(graph.tensors[node.inputs[0]].shape, graph.tensors[node.inputs[1]].shape, out)[0]
            shape = (inputs[0].shape[0], heads, inputs[1].shape[0]) if node.transposed else (
                inputs[0].shape[0], *out[1:])
            if inputs[0].shape[2] != node.inner and not node.transposed and inputs[0].shape[1] == heads:
                node = replace(node, inner=inputs[0].shape[2])
        elif isinstance(node, Append):
            shape = (length, *out[1:])
        else:
            shape = output_shape(node, inputs) or (inputs[0].shape[0] if out[0] == tokens else out[0], *out[1:])
        if isinstance(node, Reshape) and inputs[0].elements != shape[0] * shape[1] * shape[2]:
            raise UserError(f"{node.source or node.name} mixes tokens, so that {graph.name} has one length only")
        resize(node.output, shape)
        nodes.append(node)
    layouts = {name: tuple(length if size == tokens and place < 2 else size for place, size in enumerate(layout))
               for name, layout in graph.input_layouts.items()}
    return replace(graph, tensors=tensors, nodes=tuple(nodes), input_layouts=layouts)


def float_shortened(graph: FloatGraph, length: int) -> FloatGraph:
    """The same before it is quantised."""
    tokens = _tokens_for(graph, length)
    shapes = {name: (length, *graph.shapes[name][1:]) for name in graph.inputs}
    nodes: list[FloatNode] = []
    for node in graph.nodes:
        out, inputs = graph.shapes[node.output], [shapes[name] for name in node.inputs]
        if isinstance(node, FloatConstant) and out[0] == tokens:
            node = replace(node, values=node.values[:length])
        elif isinstance(node, FloatPool) and node.masked:
            node = replace(node, kernel=(length, node.kernel[1]))
        elif isinstance(node, FloatSlice) and node.size[0] == tokens:
            node = replace(node, size=(length, *node.size[1:]))
        shape = (length if out[0] == tokens else out[0], *out[1:]) if isinstance(node, FloatReshape) else float_shape(
            node, *inputs)
        if isinstance(node, FloatReshape) and math.prod(shape) != math.prod(inputs[0]):
            raise UserError(f"{node.source or node.name} mixes tokens, so that {graph.name} has one length only")
        shapes[node.output] = shape
        nodes.append(node)
    return replace(graph, shapes=shapes, nodes=tuple(nodes))


def as_long(graph: FloatGraph, sample: Mapping[str, NDArray[Any]]) -> FloatGraph:
    """The graph for as many tokens as the sample has, where it takes a mask."""
    rows = max(sample[name].shape[-3] for name in graph.inputs)
    return float_shortened(graph, rows) if graph.mask and rows != tokens_of(graph) else graph
