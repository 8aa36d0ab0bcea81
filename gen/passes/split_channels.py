"""Cuts matrix products of very many outputs, as a language model's last one, into some after each other: the constants
of one are in the unified memory at a time."""

from dataclasses import replace

from systolith.gen.graph import Concat, Conv2D, Graph, Node

MOST = 4096
"""Output channels of a part; a part's parameters take 9 bytes for each."""


def split_channels(graph: Graph) -> Graph:
    """The graph with parts of at most `MOST` output channels, which a Concat puts together."""
    tensors, nodes = dict(graph.tensors), list[Node]()
    for node in graph.nodes:
        if not isinstance(node, Conv2D) or len(node.weights) <= 2 * MOST:
            nodes.append(node)
            continue
        out, parts = tensors[node.output], []
        for first in range(0, len(node.weights), MOST):
            cut = slice(first, first + MOST)
            name = f"{node.output}:{first}"
            tensors[name] = replace(out, name=name, shape=(*out.shape[:2], len(node.weights[cut])))
            scales = None if node.weight_scales is None else node.weight_scales[cut]
            nodes.append(replace(node, name=f"{node.name}:{first}", output=name, weights=node.weights[cut],
                                 bias=node.bias[cut], multiplier=node.multiplier[cut], shift=node.shift[cut],
                                 weight_scales=scales))
            parts.append(name)
        nodes.append(Concat(f"{node.name}:parts", tuple(parts), node.output, 2, source=node.source))
    return graph if len(nodes) == len(graph.nodes) else replace(graph, nodes=tuple(nodes), tensors=tensors)
