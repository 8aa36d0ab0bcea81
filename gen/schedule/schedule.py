"""Space and time of a network on a machine: how it is cut, in which order it is made, where everything lies."""

from dataclasses import dataclass
from functools import cached_property

from systolith.gen.emit.nodes import plan_nodes
from systolith.gen.emit.places import home
from systolith.gen.emit.plan import Network, NodePlan, Piece, constants, scratch
from systolith.gen.graph import Graph
from systolith.rtl.config import Config

from .memory import Buffer
from .order import cascade, layer_by_layer, spread
from .storage import find_rings, work_in_place

RESIDENT_PART = 16
"""Constants stay in the unified memory if all together they need no more than this part of it."""
LEAD = 2
"""Pieces of work before its own at which a piece's weights and constants are asked for."""


@dataclass
class Schedule:
    """Everything but addresses."""

    network: Network
    plans: list[NodePlan]
    order: list[Piece]
    rings: dict[str, int]
    """Rows of those tensors of which only some are in memory at a time."""

    @cached_property
    def streamed(self) -> bool:
        """Constants are moved in when they are needed."""
        config = self.network.config
        resident = sum(len(plan.constants) for plan in self.plans)
        return bool(config.external_bytes) and resident * RESIDENT_PART > config.memory_bytes

    def moves(self) -> list[tuple[int, int, Piece | None]]:
        """What is to be moved in, in the order of need: (position, node, piece for its weights or None for the
        constants)."""
        out: list[tuple[int, int, Piece | None]] = []
        begun: set[int] = set()
        for position, piece in enumerate(self.order):
            if self.streamed and piece.node not in begun and self.plans[piece.node].constants:
                out.append((position, piece.node, None))
            begun.add(piece.node)
            if piece.tiles:
                out.append((position, piece.node, piece))
        return out

    def activations(self) -> list[Buffer]:
        """What tensors, and values in between, need of the memory, each from one position in the order to another, both
        included. Inputs are there before the first piece, outputs after the last."""
        graph, views = self.network.graph, self.network.views
        lives = _Lives()

        def tensor(name: str, position: int) -> None:
            if name in self.network.streams:
                return
            owner = home(name, views)
            whole = graph.tensors[owner]
            rows = self.rings.get(owner, whole.shape[0])
            lives.use(owner, whole.bytes // whole.shape[0] * rows, position)

        for name in graph.inputs:
            tensor(name, -1)
        for position, piece in enumerate(self.order):
            plan = self.plans[piece.node]
            for name, _, _ in piece.needs:
                tensor(name, position)
            tensor(plan.output, position)
            if plan.scratch:
                lives.use(scratch(piece.node), plan.scratch, position)
        for name in graph.outputs:
            tensor(name, len(self.order))
        return lives.buffers()

    def constants(self) -> list[Buffer]:
        """What constants need of the memory, if they are moved in."""
        lives = _Lives()
        for position, piece in enumerate(self.order):
            size = len(self.plans[piece.node].constants)
            if self.streamed and size:
                lives.use(constants(piece.node), size, max(position - LEAD, 0))
                lives.use(constants(piece.node), size, position)
        return lives.buffers()


class _Lives:
    """Collects uses of buffers."""

    def __init__(self) -> None:
        self._found: dict[str, tuple[int, int, int]] = {}

    def use(self, name: str, size: int, position: int) -> None:
        _, first, last = self._found.get(name, (size, position, position))
        self._found[name] = (size, min(first, position), max(last, position))

    def buffers(self) -> list[Buffer]:
        return [Buffer(name, *life) for name, life in self._found.items()]


def schedule(graph: Graph, config: Config, stripes: "Stripes | None" = None, fixed: set[str] | None = None) -> Schedule:
    """Layer by layer in blocks that are good for speed; with `stripes` as cascades, whose tensors are rings."""
    network = Network(graph, config, stripes.of_tensors(graph) if stripes else None, fixed)
    plans = plan_nodes(network)
    order = (spread(network, plans, cascade(network, plans, stripes.segments), stripes.lead) if stripes
             else layer_by_layer(network, plans))
    work_in_place(network, plans, order)
    rings = find_rings(network, plans, order) if stripes else {}
    return Schedule(network, plans, order, rings)


@dataclass
class Stripes:
    """Operators in segments that follow each other; those of a segment are made together, in stripes."""

    segments: list[range]
    pieces: list[int]
    """In how many stripes each segment's operators are cut."""
    lead: int = 0
    """How much earlier than it must be a tensor is unpacked, and how much later packed: pieces of arithmetic."""

    def of_tensors(self, graph: Graph) -> dict[str, int]:
        """In how many stripes each tensor is made."""
        return {graph.nodes[tag].output: pieces for segment, pieces in zip(self.segments, self.pieces, strict=True)
                for tag in segment}
