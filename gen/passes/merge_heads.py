"""Drops the reshapes between rows of channels and heads: a product of activations takes its heads from either."""

from dataclasses import replace

from systolith.gen.graph import Graph, MatMul, Reshape


def merge_heads(graph: Graph) -> Graph:
    """The graph with the MatMuls on the tensors before and after those reshapes that keep rows."""
    reshapes = {node.output: node.inputs[0] for node in graph.nodes if isinstance(node, Reshape)
                and graph.tensors[node.inputs[0]].shape[0] == graph.tensors[node.output].shape[0]}
    products = {node.output for node in graph.nodes if isinstance(node, MatMul)}
    readers: dict[str, int] = dict.fromkeys(graph.outputs, 1)
    for node in graph.nodes:
        for name in node.inputs:
            readers[name] = readers.get(name, 0) + 1
    # what a product makes only to be reshaped, it can make in that shape
    made = {source: output for output, source in reshapes.items() if source in products and readers[source] == 1}
    nodes = []
    for node in graph.nodes:
        if isinstance(node, MatMul):
            node = replace(node, inputs=tuple(reshapes.get(name, name) for name in node.inputs),
                           output=made.get(node.output, node.output))
        if node.output not in made.values() or isinstance(node, MatMul):
            nodes.append(node)
    used = {*graph.outputs, *(name for node in nodes for name in node.inputs)}
    nodes = [node for node in nodes if not isinstance(node, Reshape) or node.output in used]
    if len(nodes) == len(graph.nodes):
        return graph
    known = {*graph.inputs, *(node.output for node in nodes)}
    return replace(graph, nodes=tuple(nodes), tensors={name: t for name, t in graph.tensors.items() if name in known})
