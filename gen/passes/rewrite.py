"""What the passes share: merging a node with the one whose result it reads."""

from collections.abc import Callable
from dataclasses import replace

from ..float_graph import FloatGraph, FloatNode

Rule = Callable[[FloatGraph, FloatNode, FloatNode], FloatNode | None]


def fuse(graph: FloatGraph, rule: Rule, *, keep_producer: bool = False) -> FloatGraph:
    """The graph with each pair (producer, follower) that `rule` accepts replaced by the node that it returns.

    Chains merge from the front on. The returned node makes the follower's output. The producer must have no other
    reader, unless `keep_producer`: then it stays, and the dead code pass drops it where nobody needs it.
    """
    readers = graph.readers()
    nodes: dict[str, FloatNode] = {}
    for node in graph.nodes:
        while len(node.inputs) == 1 and (producer := nodes.get(node.inputs[0])):
            if not keep_producer and readers[producer.output] != 1:
                break
            merged = rule(graph, producer, node)
            if merged is None:
                break
            if not keep_producer:
                del nodes[producer.output]
            node = merged
        nodes[node.output] = node
    return replace(graph, nodes=tuple(nodes.values()))


def joined(first: FloatNode, second: FloatNode) -> str:
    """`source` of a merged node."""
    return ", ".join(text for text in (first.source, second.source) if text)
