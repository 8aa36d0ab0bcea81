"""Space and time of a network on a machine: how it is cut, in which order it is made, where everything lies."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from systolith.gen.emit.nodes import plan_nodes
from systolith.gen.emit.places import find_pads, home
from systolith.gen.emit.plan import Network, NodePlan, Piece, constants, scratch
from systolith.gen.graph import Constant, Graph
from systolith.rtl.config import Config

from .memory import Buffer, Life
from .order import cascade, layer_by_layer, spread
from .storage import find_rings, work_in_place

RESIDENT_PART = 16
"""Constants stay in the unified memory if all together they need no more than this part of it."""
LEAD, ASKING = 2, 4
"""Pieces of work before its own at which a piece's weights and constants are asked for: of all, and of those that ask
for something too."""
_NEVER = 1 << 40


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

    def asked(self, ahead: bool) -> list[int]:
        """For each piece the position at which its weights and constants are asked for: LEAD pieces before its own, or
        ASKING of those that ask for something, too, if it goes `ahead` and these are more."""
        asking = {position for position, _, _ in self.moves()}
        found: list[int] = []
        before = [0] * ASKING
        for position in range(len(self.order)):
            near = max(position - LEAD, 0)
            found.append(min(before[0], near) if ahead else near)
            if position in asking:
                before = [*before[1:], position]
        return found

    def activations(self) -> list[Buffer]:
        """What tensors, and values in between, need of the memory: steps are positions in the order. Inputs are there
        before the first piece, outputs after the last. In between a tensor's bytes are its own while a row in them is
        still to be read."""
        network, graph, views = self.network, self.network.graph, self.network.views
        lives = _Lives()

        def tensor(name: str, position: int, first: int, end: int) -> None:
            if name in self.network.streams:
                return
            owner = home(name, views)
            whole = graph.tensors[owner]
            height, rows = whole.shape[0], self.rings.get(owner, whole.shape[0])
            while name in views and views[name].same_rows:
                name = views[name].of
            lives.use(owner, (whole.bytes // height + network.pads.get(owner, 0)) * rows, position,
                      height, (first, end) if name == owner else (0, height))

        for name in (*graph.inputs, *graph.kept):
            tensor(name, -1, 0, graph.tensors[name].shape[0])
        for position, piece in enumerate(self.order):
            if 0 < position < len(self.order) - 1 and (
                    piece.like(self.order[position - 1]) and piece.like(self.order[position + 1])):
                continue  # only the first and the last of them matter
            plan = self.plans[piece.node]
            for need in piece.needs:
                tensor(need[0], position, *need[1:])
            tensor(plan.output, position, piece.block.y, piece.block.end)
            if plan.scratch:
                lives.use(scratch(piece.node), plan.scratch, position)
        for name in (*graph.outputs, *graph.kept):
            tensor(name, len(self.order), 0, graph.tensors[name].shape[0])
        return lives.buffers()

    def constants(self, ahead: bool = False) -> list[Buffer]:
        """What constants need of the memory, if they are moved in; `ahead`: see `asked`."""
        lives, asked = _Lives(), self.asked(ahead)
        for position, piece in enumerate(self.order):
            size = len(self.plans[piece.node].constants)
            if self.streamed and size:
                lives.use(constants(piece.node), size, asked[position])
                lives.use(constants(piece.node), size, position)
        return lives.buffers()


class _Lives:
    """Collects uses of buffers, by row where they have some: a row's bytes are its own from its first use to its last.
    """

    def __init__(self) -> None:
        self._sizes: dict[str, int] = {}
        self._rows: dict[str, tuple[NDArray[np.int64], NDArray[np.int64]]] = {}
        """First and last use of each row."""

    def use(self, name: str, size: int, position: int, height: int = 1, rows: tuple[int, int] = (0, 1)) -> None:
        """Rows from one up to another, of `height`, are used."""
        if name not in self._sizes:
            self._sizes[name] = size
            self._rows[name] = np.full(height, _NEVER), np.full(height, -_NEVER)
        first, last = (times[slice(*rows)] for times in self._rows[name])
        np.minimum(first, position, out=first)
        np.maximum(last, position, out=last)

    def buffers(self) -> list[Buffer]:
        return [Buffer(name, size, _together({(first, last) for first, last in zip(
            *(times.tolist() for times in self._rows[name]), strict=True) if first <= last}))
            for name, size in self._sizes.items()]


def _together(lives: Iterable[Life]) -> tuple[Life, ...]:
    """Lives in order, those that touch as one."""
    out: list[Life] = []
    for first, last in sorted(lives):
        if out and first <= out[-1][1] + 1:
            out[-1] = (out[-1][0], max(out[-1][1], last))
        else:
            out.append((first, last))
    return tuple(out)


def schedule(graph: Graph, config: Config, stripes: "Stripes | None" = None, fixed: set[str] | None = None) -> Schedule:
    """Layer by layer in blocks that are good for speed; with `stripes` as cascades, whose tensors are rings."""
    network = Network(graph, config, stripes.of_tensors(graph) if stripes else None, fixed)
    plans = plan_nodes(network)
    order = (spread(network, plans, cascade(network, plans, stripes.segments), stripes.lead) if stripes
             else layer_by_layer(network, plans))
    work_in_place(network, plans, order)
    outside = {*graph.inputs, *graph.outputs, *network.streams,
               *(node.output for node in graph.nodes if isinstance(node, Constant))}
    network.pads = find_pads(graph, network.views, outside, config.banks, config.word_bytes)
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
