"""Which operators to make together in stripes, and in how many, so that a network runs in little memory.

A network's operators, in order, are cut into segments. A segment of one operator is a layer as usual; the operators of
a longer one are made together, stripe by stripe, and of the tensors between them only some rows are kept. What crosses
from one segment to the next is whole. The memory of each possible segment is computed by scheduling it alone; then
dynamic programming finds the cheapest cut whose segments all stay below a limit.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from systolith.gen.graph import Graph
from systolith.rtl.config import Config

from .memory import lower_bound
from .schedule import Schedule, Stripes, schedule

_LONGEST = 24
"""Operators of a segment at most."""
_STRIPES = (4, 8, 16, 32, 64)
_PIECE_CYCLES = 60
"""What a piece of work costs beside its arithmetic: fetching and dispatching its instructions."""


@dataclass(frozen=True)
class _Option:
    """A segment made in a number of stripes."""

    segment: range
    stripes: int
    peak: int
    """Bytes of activations while it is made."""
    cycles: int
    """Estimate."""


class Search:
    """The segments of a network, with their memory and cycles."""

    def __init__(self, graph: Graph, config: Config) -> None:
        self._graph, self._config = graph, config
        self._made = {name: -1 for name in graph.inputs} | {
            node.output: index for index, node in enumerate(graph.nodes)}
        self._last = dict.fromkeys(self._made, -1)
        for index, node in enumerate(graph.nodes):
            for name in node.inputs:
                self._last[name] = index
        self._last |= dict.fromkeys(graph.outputs, len(graph.nodes))
        self._options: dict[int, list[_Option]] = {}
        cuts = self._cuts()
        for end in cuts[1:]:
            self._options[end] = [option for begin in cuts if begin < end and (
                end - begin <= _LONGEST or cuts.index(end) - cuts.index(begin) == 1)
                for option in self._segment(range(begin, end))]
        self._ends = cuts

    def _crossing(self, at: int) -> int:
        """Bytes of tensors made before operator `at` and read from it on."""
        return sum(self._graph.tensors[name].bytes for name, made in self._made.items()
                   if made < at <= self._last[name])

    def _cuts(self) -> list[int]:
        """Where segments may begin: where less crosses than at the neighbours."""
        count = len(self._graph.nodes)
        sizes = [self._crossing(at) for at in range(count + 1)]
        return [0, *(at for at in range(1, count) if sizes[at] <= min(sizes[at - 1], sizes[at + 1])), count]

    def _segment(self, segment: range) -> Iterator[_Option]:
        graph = self._graph
        nodes = graph.nodes[segment.start:segment.stop]
        made = {node.output for node in nodes}
        read = {name for node in nodes for name in node.inputs}
        inputs = tuple(sorted(name for name in read - made))
        outputs = tuple(sorted(name for name in made if self._last[name] >= segment.stop))
        beside = sum(graph.tensors[name].bytes for name, at in self._made.items()
                     if at < segment.start and self._last[name] >= segment.stop and name not in read)
        part = Graph(graph.name, inputs, outputs, graph.tensors, nodes)
        kept = {name for name in inputs if self._last[name] >= segment.stop or name in graph.inputs}
        fixed = kept | (set(outputs) & set(graph.outputs))
        for stripes in (1,) if len(nodes) == 1 else (1, *_STRIPES):
            own = range(len(nodes))
            s = schedule(part, self._config, Stripes([own], [stripes]), fixed)
            buffers = s.activations()
            if kept:  # until after the segment
                buffers = [b if b.name not in kept else type(b)(b.name, b.size, b.first, len(s.order)) for b in buffers]
            yield _Option(segment, stripes, beside + lower_bound(buffers, self._config.word_bytes)[0], _cycles(s))

    def best(self, limit: int) -> Stripes | None:
        """The cut with the fewest cycles whose segments need `limit` bytes at most; None if there is none."""
        costs: dict[int, tuple[int, list[_Option]]] = {0: (0, [])}
        for end in self._ends[1:]:
            found = [(costs[o.segment.start][0] + o.cycles, [*costs[o.segment.start][1], o])
                     for o in self._options[end] if o.peak <= limit and o.segment.start in costs]
            if found:
                costs[end] = min(found, key=lambda item: item[0])
        if len(self._graph.nodes) not in costs:
            return None
        chosen = costs[len(self._graph.nodes)][1]
        return Stripes([option.segment for option in chosen], [option.stripes for option in chosen])

    def smallest(self) -> int:
        """The lowest limit that a cut can keep."""
        peaks = {0: 0}
        for end in self._ends[1:]:
            peaks[end] = min(max(peaks[o.segment.start], o.peak) for o in self._options[end])
        return peaks[self._ends[-1]]


def _cycles(s: Schedule) -> int:
    """An estimate: what the array needs for its tiles, or the port for their bytes."""
    config = s.network.config
    moving = config.weight_tile_bytes / config.external_bytes if config.external_bytes else 0
    return int(sum(_PIECE_CYCLES + piece.tiles * max(piece.block.height * piece.block.width, config.rows, moving)
                   for piece in s.order))
