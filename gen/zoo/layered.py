"""A network of the zoo: what it is, and how its graph is made at its own size or another."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from systolith.gen.errors import UserError
from systolith.gen.graph import Conv2D, DepthwiseConv2D, Graph, Shape, Tensor
from systolith.rtl.isa import SINGLE

from .builder import Builder

WEIGHTS = "seeded random"
"""Where the weights of every network come from."""


@dataclass(frozen=True)
class Network:
    """Calling it makes the graph, a few seconds' work for the largest.

    The weights depend on the seed alone; biases and multipliers on the size too, up to `measured`.
    """

    name: str
    what: str
    """For a table: one line."""
    layers: Callable[[Builder], tuple[str, ...]]
    """Adds the layers to a builder; the names of the outputs."""
    shape: Shape
    scale: float = 1 / 128
    """Of the input, with its zero point."""
    zero_point: int = 0
    step: int = 0
    """Other sizes of square images are multiples of this, at least two; 0: there is one size."""
    measured: int = 160
    """Larger images are this large while the constants are made."""
    samples: int = 4
    """Inputs that are run while the constants are made."""
    rounding: int = SINGLE
    """Of the convolutions."""

    def __call__(self, size: int | None = None, seed: int = 1) -> Graph:
        """The graph, for images of `size` x `size` where it is given; `UserError` for a size that it cannot have."""
        shape = self._shape(size)
        side = min(shape[0], self.measured)
        sample = (self.samples, side, side, shape[2]) if self.step else (self.samples, *shape)
        name = self.name if shape == self.shape else f"{self.name}@{size}"
        return self._build(Builder(name, self._input(shape), rounding=self.rounding, seed=seed, sample=sample))

    def outline(self, size: int | None = None) -> Graph:
        """The graph with weights of 0: its shapes, MACs and parameters, at once."""
        return self._build(Builder(self.name, self._input(self._shape(size)), rounding=self.rounding))

    def record(self) -> dict[str, Any]:
        """What a table says of it."""
        graph = self.outline()
        return {"name": self.name, "what": self.what, "input": list(self.shape), "step": self.step,
                "macs": macs(graph), "parameters": parameters(graph), "weights": WEIGHTS}

    def _shape(self, size: int | None) -> Shape:
        if size is None:
            return self.shape
        if not self.step:
            raise UserError(f"{self.name} has one size; leave out @{size}")
        if size % self.step or size < 2 * self.step:
            raise UserError(f"{self.name}: images must be a multiple of {self.step} high and wide, "
                            f"at least {2 * self.step}, not {size}")
        return (size, size, self.shape[2])

    def _input(self, shape: Shape) -> Tensor:
        return Tensor("input", shape, "int8", self.scale, self.zero_point)

    def _build(self, builder: Builder) -> Graph:
        return builder.graph(*self.layers(builder))


def macs(graph: Graph) -> int:
    """Multiply-accumulates of one inference."""
    return sum(node.macs(graph.tensors[node.output]) for node in graph.nodes
               if isinstance(node, Conv2D | DepthwiseConv2D))


def parameters(graph: Graph) -> int:
    """Weights and biases."""
    return sum(node.weights.size + node.bias.size for node in graph.nodes if isinstance(node, Conv2D | DepthwiseConv2D))
