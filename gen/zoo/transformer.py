"""Transformers of the zoo: float networks with seeded random weights, quantised on seeded samples."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from systolith.gen.errors import UserError
from systolith.gen.float_graph import FloatGraph
from systolith.gen.graph import Graph
from systolith.gen.passes import run_passes
from systolith.gen.quantize import Sample, quantise

from .float_builder import FloatBuilder
from .network import Network
from .weights import Blank, Seeded, Weights

SAMPLES = 2
"""Inputs that the float network is calibrated on."""


@dataclass(frozen=True)
class Transformer(Network):
    """A transformer whose size is a number of tokens, or the side of an image."""

    name: str
    what: str
    layers: Callable[[FloatBuilder, int, int], FloatGraph]
    """Makes the network of a size and of so many layers."""
    size: int
    least: int
    most: int
    step: int = 1
    """Sizes are multiples of it."""
    unit: str = "tokens"
    depth: int = 0
    """Its layers, of which it may have fewer; 0: there is one."""

    def __call__(self, size: int | None = None, seed: int = 1, layers: int | None = None) -> Graph:
        """The graph; 120 million parameters take half a minute."""
        # to verify the passes would take minutes: the tests do it, at small sizes
        graph = run_passes(self.float_graph(size, seed, layers), verify=False)
        return quantise(graph, samples(graph, seed))

    def float_graph(self, size: int | None = None, seed: int = 1, layers: int | None = None) -> FloatGraph:
        """The network before it is quantised."""
        return self._network(Seeded(seed), size, layers)

    def outline(self, size: int | None = None, layers: int | None = None) -> FloatGraph:
        return self._network(Blank(), size, layers)

    @property
    def sizes(self) -> str:
        every = f"multiples of {self.step}, " if self.step > 1 else ""
        return f"{every}{self.least} to {self.most} {self.unit}"

    @property
    def layer_counts(self) -> str:
        return f"1 to {self.depth} layers" if self.depth else ""

    def _network(self, weights: Weights, size: int | None, layers: int | None) -> FloatGraph:
        if size is not None and (size % self.step or not self.least <= size <= self.most):
            raise UserError(f"{self.name} may have {self.sizes}, not {size}")
        if layers is not None and not 1 <= layers <= self.depth:
            raise UserError(f"{self.name} may have {self.layer_counts or 'one layer'}, not {layers}")
        size, layers = size or self.size, layers or self.depth
        fewer = f"x{layers}" if layers < self.depth else ""
        other = f"@{size}{fewer}" if fewer or size != self.size else ""
        return self.layers(FloatBuilder(f"{self.name}{other}", weights), size, layers)


def samples(graph: FloatGraph, seed: int) -> Iterator[Sample]:
    """Seeded inputs: any row of a table, and numbers as norms leave them, the channels differently large."""
    random = np.random.default_rng((seed, 1))
    entries = graph.entries()
    large = {name: np.exp(random.normal(0, 0.3, graph.shapes[name][2])) for name in graph.inputs if name not in entries}
    for _ in range(SAMPLES):
        yield {name: random.integers(entries[name], size=graph.shapes[name]) if name in entries else
               (random.standard_normal(graph.shapes[name]) * large[name]).astype(np.float32) for name in graph.inputs}
