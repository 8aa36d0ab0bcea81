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
from .weights import Blank, Seeded

SAMPLES = 2
"""Inputs that the float network is calibrated on."""


@dataclass(frozen=True)
class Transformer(Network):
    """A transformer whose size is a number of tokens, or the side of an image."""

    name: str
    what: str
    layers: Callable[[FloatBuilder, int], FloatGraph]
    """Makes the network of a size."""
    size: int
    least: int
    most: int
    step: int = 1
    """Sizes are multiples of it."""
    unit: str = "tokens"

    def __call__(self, size: int | None = None, seed: int = 1) -> Graph:
        """The graph; 120 million parameters take half a minute."""
        # to verify the passes would take minutes: the tests do it, at small sizes
        graph = run_passes(self.float_graph(size, seed), verify=False)
        return quantise(graph, samples(graph, seed))

    def float_graph(self, size: int | None = None, seed: int = 1) -> FloatGraph:
        """The network before it is quantised."""
        return self.layers(FloatBuilder(self._name(size), Seeded(seed)), size or self.size)

    def outline(self, size: int | None = None) -> FloatGraph:
        return self.layers(FloatBuilder(self._name(size), Blank()), size or self.size)

    @property
    def sizes(self) -> str:
        every = f"multiples of {self.step}, " if self.step > 1 else ""
        return f"{every}{self.least} to {self.most} {self.unit}"

    def _name(self, size: int | None) -> str:
        if size is None or size == self.size:
            return self.name
        if size % self.step or not self.least <= size <= self.most:
            raise UserError(f"{self.name} may have {self.sizes}, not {size}")
        return f"{self.name}@{size}"


def samples(graph: FloatGraph, seed: int) -> Iterator[Sample]:
    """Seeded inputs: any row of a table, and numbers as norms leave them, the channels differently large."""
    random = np.random.default_rng((seed, 1))
    entries = graph.entries()
    large = {name: np.exp(random.normal(0, 0.3, graph.shapes[name][2])) for name in graph.inputs if name not in entries}
    for _ in range(SAMPLES):
        yield {name: random.integers(entries[name], size=graph.shapes[name]) if name in entries else
               (random.standard_normal(graph.shapes[name]) * large[name]).astype(np.float32) for name in graph.inputs}
