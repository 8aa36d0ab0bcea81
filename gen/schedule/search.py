"""Which operators to make together in stripes, and in how many, so that a network runs in little memory.

A network's operators, in order, are cut into segments. A segment of one operator is a layer as usual; the operators of
a longer one are made together, stripe by stripe, and of the tensors between them only some rows are kept. What crosses
from one segment to the next is whole. The memory of each possible segment is computed by scheduling it alone; then
dynamic programming finds the cheapest cut whose segments all stay below a limit.
"""

from collections.abc import Iterator
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from systolith.gen.graph import Feed, Graph
from systolith.rtl.config import Config

from .estimate import estimate, work
from .memory import Buffer, lower_bound
from .packing import Packing
from .schedule import Stripes, schedule
from .streams import Crossings, pages_in_use, stream_of, streamable

_LONGEST = 24
"""Operators of a segment at most."""
_STRIPES = (2, 3, 4, 6, 8, 16, 32, 64)
_BUDGETS = 64
"""Sizes of a pool of pages that are tried."""


@dataclass(frozen=True)
class _Option:
    """A segment made in a number of stripes."""

    segment: range
    stripes: int
    peak: int
    """Bytes of activations as they are while it is made."""
    pages: int
    """Bytes of pages in use at most."""
    cycles: tuple[int, int]
    """Two estimates: with waits of units for one another, and of the array's and the port's work alone."""


_Structure = tuple[object, ...]
_Needs = tuple[int, int, int, tuple[int, int]]
Known = dict[_Structure, list[_Needs]]
"""What segments need, by their structure: transformers repeat theirs."""
_NUMBERS = {"name", "inputs", "output", "source", "multiplier", "shift", "low", "high", "epsilon", "centre",
            "table_set"}
"""Fields of operators that a schedule does not depend on; of arrays it depends on the shapes."""


def _structure(part: Graph, kept: set[str], fixed: set[str]) -> _Structure:
    """What a schedule of the graph depends on: equal for two that differ in names and numbers only."""
    numbers: dict[str, int] = {}

    def tensor(name: str) -> _Structure:
        number, own = numbers.setdefault(name, len(numbers)), part.tensors[name]
        return (number, own.shape, own.dtype, name in kept, name in fixed, name in part.inputs, name in part.outputs)

    return tuple((node.operator, *map(tensor, (*node.inputs, node.output)), *(
        value.shape if isinstance(value, np.ndarray) else repr(value) for value in (
            getattr(node, f.name) for f in fields(node) if f.name not in _NUMBERS))) for node in part.nodes)


class Search:
    """The segments of a network, with their memory and cycles.

    packing: what crosses from one segment to another rests in pages, if it can; None: as it is. layers: each operator
    is a segment. known: what segments need, kept from one search for a machine to the next.
    """

    def __init__(self, graph: Graph, config: Config, packing: Packing | None = None, *, layers: bool = False,
                 known: Known | None = None) -> None:
        self.graph, self.config, self._packing, self._layers = graph, config, packing, layers
        self._made = {name: -1 for name in graph.inputs} | {
            node.output: index for index, node in enumerate(graph.nodes)}
        self._last = dict.fromkeys(self._made, -1)
        for index, node in enumerate(graph.nodes):
            for name in node.inputs:
                self._last[name] = index
        self._last |= dict.fromkeys(graph.outputs, len(graph.nodes))
        self._options: dict[int, list[_Option]] = {}
        self._known: Known = {} if known is None else known
        self._packed = {name for name in self._made if packing and streamable(graph, name, packing)}
        cuts = self._cuts()
        for end in cuts[1:]:
            self._options[end] = [option for begin in cuts if begin < end and (
                (end - begin <= _LONGEST and not layers) or cuts.index(end) - cuts.index(begin) == 1)
                for option in self._segment(range(begin, end))]
        self._ends = cuts

    def _crossing(self, at: int) -> int:
        """Bytes of tensors made before operator `at` and read from it on."""
        return sum(self.graph.tensors[name].bytes for name, made in self._made.items()
                   if made < at <= self._last[name])

    def _cuts(self) -> list[int]:
        """Where segments may begin: where less crosses than at the neighbours."""
        count = len(self.graph.nodes)
        if self._layers:  # what the host brings is read at once
            return [at for at in range(count + 1) if not at or not isinstance(self.graph.nodes[at - 1], Feed)]
        sizes = [self._crossing(at) for at in range(count + 1)]
        return [0, *(at for at in range(1, count) if sizes[at] <= min(sizes[at - 1], sizes[at + 1])), count]

    def _segment(self, segment: range) -> Iterator[_Option]:
        graph = self.graph
        nodes = graph.nodes[segment.start:segment.stop]
        made = {node.output for node in nodes}
        read = {name for node in nodes for name in node.inputs}
        inputs = tuple(sorted(name for name in read - made))
        outputs = tuple(sorted(name for name in made if self._last[name] >= segment.stop))
        # inputs of the network come as they are, and are packed for later segments
        given = set(graph.inputs) if segment.start == 0 and self._packing and self._packing.outside else set[str]()
        packed = self._packed - {name for name in given if self._last[name] < segment.stop}
        waiting = {name for name, at in self._made.items()
                   if at < segment.start and self._last[name] >= segment.stop and name not in read}
        beside = sum(graph.tensors[name].bytes for name in waiting - packed)
        streams = [name for name in self._made if name in packed & ({*inputs, *outputs} | waiting)]
        sizes = {stream_of(name): self._packing.best(name).bytes for name in streams} if self._packing else {}
        tensors = dict(graph.tensors)
        if self._packing:
            here = min(segment.start, 1)
            crossings = Crossings(graph, self._packing, {
                name: [here if name in inputs and name not in given else 2] for name in streams})
            nodes = tuple(crossings.segment(nodes, here, tensors))
        resting = set(streams) - given
        inputs, outputs = (tuple(stream_of(name) if name in resting else name for name in names)
                           for names in (inputs, outputs))
        outputs += tuple(stream_of(name) for name in streams if name in given)
        inputs += tuple(name for name in streams if name in given and name not in inputs)
        used = {*inputs, *outputs, *(name for node in nodes for name in (*node.inputs, node.output))}
        part = Graph(graph.name, inputs, outputs, {name: tensors[name] for name in tensors if name in used}, nodes)
        kept = {name for name in inputs if name not in sizes and name not in streams and (
            self._last[name] >= segment.stop or name in graph.inputs)}
        longer = [stream_of(name) for name in streams if self._last[name] >= segment.stop]
        fixed = kept | (set(outputs) & set(graph.outputs))
        counted = sizes if self._packing and not self._packing.outside else {}
        like = _structure(part, kept, fixed)
        if counted or like not in self._known:
            self._known[like] = list(self._needs(part, kept, fixed, counted, longer))
        for stripes, peak, pages, cycles in self._known[like]:
            yield _Option(segment, stripes, beside + peak, pages, cycles)

    def _needs(self, part: Graph, kept: set[str], fixed: set[str], sizes: dict[str, NDArray[np.int64]],
               longer: list[str]) -> Iterator[_Needs]:
        """(stripes, bytes of activations, bytes of pages, cycles) of a segment by itself, for each number of stripes.

        kept: tensors that stay until after it. sizes: of the streams whose pages count; longer: those that are read
        after it too.
        """
        own = range(len(part.nodes))
        for stripes in (1,) if len(own) == 1 else (1, *_STRIPES):
            s = schedule(part, self.config, Stripes([own], [stripes]), fixed)
            buffers = [b if b.name not in kept else Buffer(b.name, b.size, ((b.first, len(s.order)),))
                       for b in s.activations()]
            pages = 0
            if sizes:
                order = [(piece.node, piece.block.y) for piece in s.order]
                pages = int(pages_in_use(s.plans, order, sizes, self.config.page_bytes, longer).max())
            yield (stripes, lower_bound(buffers, self.config.word_bytes)[0], pages * self.config.page_bytes,
                   (estimate(s), work(s)))

    def best(self, limit: int, by: int = 0) -> Stripes | None:
        """The cut with the fewest cycles, by one of the two estimates, that needs `limit` bytes at most, pages among
        them; None if there is none."""
        found = [best for pages in self._budgets()
                 if pages <= limit and (best := self._fastest(limit - pages, pages, by))]
        if not found:
            return None
        chosen = min(found, key=lambda item: item[0])[1]
        return Stripes([option.segment for option in chosen], [option.stripes for option in chosen])

    def smallest(self) -> int:
        """The lowest limit that a cut can keep."""
        found = []
        for pages in self._budgets():
            peaks = {0: 0}
            for end in self._ends[1:]:
                within = [max(peaks[o.segment.start], o.peak) for o in self._options[end]
                          if o.pages <= pages and o.segment.start in peaks]
                if within:
                    peaks[end] = min(within)
            if self._ends[-1] in peaks:
                found.append(peaks[self._ends[-1]] + pages)
        return min(found)

    def _budgets(self) -> list[int]:
        """Sizes of a pool of pages that are worth a look."""
        sizes = sorted({o.pages for options in self._options.values() for o in options})
        return sizes[::max(1, len(sizes) // _BUDGETS)] + sizes[-1:]

    def _fastest(self, limit: int, pages: int, by: int) -> tuple[int, list[_Option]] | None:
        """The cut with the fewest cycles whose segments need `limit` bytes at most, and `pages` bytes of pages."""
        costs: dict[int, tuple[int, list[_Option]]] = {0: (0, [])}
        for end in self._ends[1:]:
            found = [(costs[o.segment.start][0] + o.cycles[by], [*costs[o.segment.start][1], o])
                     for o in self._options[end]
                     if o.peak <= limit and o.pages <= pages and o.segment.start in costs]
            if found:
                costs[end] = min(found, key=lambda item: item[0])
        return costs.get(len(self.graph.nodes))

