"""A network of the zoo: what it is, and how its graph is made at its own size or another."""

import math
from abc import ABC, abstractmethod
from typing import Any, ClassVar

from systolith.gen.float_graph import (
    FloatConstant,
    FloatConv,
    FloatEmbedding,
    FloatGraph,
    FloatMatMul,
    FloatNorm,
    FloatRotary,
)
from systolith.gen.graph import (
    Constant,
    Conv2D,
    DepthwiseConv2D,
    Embedding,
    Graph,
    MatMul,
    Norm,
    Rotary,
    TransposedConv2D,
)


class Network(ABC):
    """What every network of the zoo offers."""

    name: str
    what: str
    """For a table: one line."""
    weights: ClassVar[str] = "seeded random"
    """Where they come from"""

    @abstractmethod
    def __call__(self, size: int | None = None, seed: int = 1) -> Graph:
        """The graph at its own size or at NAME@SIZE; some seconds' work for the largest. `UserError` for a size that it
        cannot have."""

    @abstractmethod
    def outline(self, size: int | None = None) -> Graph | FloatGraph:
        """The network with weights of 0: its shapes, MACs and parameters, at once."""

    @property
    @abstractmethod
    def sizes(self) -> str:
        """For a table: the other sizes that it may have; "" where there is one."""

    @property
    def layer_counts(self) -> str:
        """For a table: how many of its layers it may have, at NAME@SIZExLAYERS; "" where it has all of them always."""
        return ""

    def record(self) -> dict[str, Any]:
        """What a table says of it."""
        graph = self.outline()
        return {"name": self.name, "what": self.what, "input": list(_input(graph)), "sizes": self.sizes,
                "layers": self.layer_counts, "macs": macs(graph), "parameters": parameters(graph),
                "weights": self.weights}


def _input(graph: Graph | FloatGraph) -> tuple[int, ...]:
    """Of the first input: height, width and channels, or what the user gives that is no image."""
    name = graph.inputs[0]
    shape = graph.shapes[name] if isinstance(graph, FloatGraph) else graph.tensors[name].shape
    layout = graph.input_layouts.get(name, ())
    return layout[1:] if len(layout) == 3 or (len(layout) == 2 and shape[0] > 1) else shape


def macs(graph: Graph | FloatGraph) -> int:
    """Multiply-accumulates of one inference."""
    if isinstance(graph, Graph):
        return sum(node.macs(graph.tensors[node.output]) for node in graph.nodes
                   if isinstance(node, Conv2D | DepthwiseConv2D | TransposedConv2D | MatMul))
    return (sum(math.prod(graph.shapes[node.output][:2]) * node.weights.size for node in graph.nodes
                if isinstance(node, FloatConv))
            + sum(math.prod(graph.shapes[node.output]) * graph.shapes[node.inputs[0]][2] for node in graph.nodes
                  if isinstance(node, FloatMatMul)))


def parameters(graph: Graph | FloatGraph) -> int:
    """What training finds: weights, biases, tables and other constants, gains and offsets of norms."""
    turning = {name for node in graph.nodes if isinstance(node, Rotary | FloatRotary) for name in node.inputs[1:]}
    total = 0
    for node in graph.nodes:
        if isinstance(node, Conv2D | DepthwiseConv2D | TransposedConv2D | FloatConv):
            total += node.weights.size + node.bias.size
        elif isinstance(node, Embedding | FloatEmbedding):
            total += node.table.size
        elif isinstance(node, Norm):
            total += node.gain.size * (1 if node.rms else 2)
        elif isinstance(node, FloatNorm):
            total += node.gamma.size * (1 if node.rms else 2)
        elif isinstance(node, Constant | FloatConstant) and node.output not in turning:
            total += node.values.size
    return total
