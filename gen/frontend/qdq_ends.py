"""Around a QDQ import: the file's shapes before it, the graph under the file's names after it."""

from collections.abc import Sequence
from dataclasses import replace

import onnx

from systolith.gen.graph import Graph, Lookup, Node, Tensor


def without_unused_tables(nodes: Sequence[Node], outputs: Sequence[str]) -> list[Node]:
    """Without tables that nobody reads: what read them has become a table of what they read."""
    needed = set(outputs)
    kept = []
    for node in reversed(nodes):
        if node.output in needed or not isinstance(node, Lookup):
            kept.append(node)
            needed.update(node.inputs)
    return kept[::-1]


def finished(name: str, inputs: Sequence[str], outputs: dict[str, str], tensors: dict[str, Tensor],
             nodes: Sequence[Node], layouts: dict[str, tuple[int, ...]]) -> Graph:
    """The graph; `outputs` has the tensor of each of the file's, and each of these tensors is there once."""
    renamed = {tensor: output for output, tensor in outputs.items()}
    kept = tuple(replace(node, inputs=tuple(renamed.get(name, name) for name in node.inputs),
                         output=renamed.get(node.output, node.output))
                 for node in without_unused_tables(nodes, list(outputs.values())))
    used = {*inputs, *outputs, *(node.output for node in kept)}
    named = {renamed.get(old, old): replace(tensor, name=renamed.get(old, old)) for old, tensor in tensors.items()}
    graph = Graph(name, tuple(inputs), tuple(outputs), {key: named[key] for key in named if key in used}, kept,
                  {key: layouts[key] for key in inputs}, {key: layouts[key] for key in outputs})
    graph.check()
    return graph


def inferred_shapes(model: onnx.ModelProto) -> dict[str, tuple[int, ...]]:
    """Shapes as far as ONNX finds them, an unnamed batch being 1."""
    try:
        graph = onnx.shape_inference.infer_shapes(model).graph
    except Exception:  # any failure of the checker only means worse messages
        return {}
    shapes = {}
    for value in (*graph.value_info, *graph.output):
        dims = value.type.tensor_type.shape.dim
        shape = tuple(dim.dim_value if dim.HasField("dim_value") else int(axis == 0) for axis, dim in enumerate(dims))
        if value.type.tensor_type.HasField("shape") and all(shape):
            shapes[value.name] = shape
    return shapes
