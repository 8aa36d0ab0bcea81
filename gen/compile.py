"""Core graph to artefact: the schedule that does what the user wants."""

import dataclasses
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

from numpy.typing import NDArray

from systolith.gen.emit.artefact import Artefact
from systolith.gen.emit.link import DoesNotFit, Request, link
from systolith.gen.errors import UserError
from systolith.gen.goal import Goal
from systolith.gen.graph import Graph, Pool2D
from systolith.gen.passes.integer import run_integer_passes
from systolith.gen.schedule.estimate import estimate
from systolith.gen.schedule.memory import lower_bound
from systolith.gen.schedule.packing import Packing
from systolith.gen.schedule.schedule import Schedule, Stripes, schedule
from systolith.gen.schedule.search import Known, Search
from systolith.gen.schedule.streams import feed_inputs, insert_streams
from systolith.rtl.config import Config
from systolith.sim.golden.execute import random_inputs

RING_PART = 16
"""The ring of weight tiles takes this part of the unified memory, at most."""
RING_TILES, TIGHT_RING_TILES, LONG_RING_TILES = 128, 16, 512
"""And so many tiles at most; what few of them cost in cycles, a few per cent, little memory is worth. If some is left,
it may have more."""
SPARE_TILES = 2
"""Of the memory that is left, not for the ring: the program may get longer with other addresses."""
WORTH = 0.99
"""A longer ring takes memory only where the cycles get fewer than this part of them."""
PACK_LEAD, TIGHT_PACK_LEAD = 1, 0
"""How many pieces of arithmetic before its own one a tensor is unpacked, and after it packed."""
APART = (0, 6)
"""What rests in pages outside: all that crosses from one part of the network to another, or only what is read so many
operators after it is made. Which is better depends on the memory there is."""
HOPELESS = 1.5
"""A schedule that is estimated to take so many times longer than one that is made already is not made: estimates are
within a fifth of the cycle model's."""
RANDOM_SAMPLES = 2
"""Inputs that stand for a user's own where pages are to be measured."""


def _check(graph: Graph) -> None:
    """What the instructions cannot say."""
    for node in graph.nodes:
        shape = graph.tensors[(*node.inputs, node.output)[0]].shape
        if max(shape[0], shape[1]) >= 1 << 15:
            raise UserError(f"{node.name}: a tensor of {shape[0]} x {shape[1]} positions is too large; "
                            f"at most 32767 each way")
        if isinstance(node, Pool2D) and max(node.kernel) > 255:
            raise UserError(f"{node.name}: a window of {node.kernel[0]} x {node.kernel[1]} is too large; "
                            f"at most 255 each way")
        if isinstance(node, Pool2D) and shape[2] > 65535:
            raise UserError(f"{node.name}: {shape[2]} channels are too many; at most 65535")


def compile_graph(graph: Graph, config: Config, goal: Goal | None = None, *, ring_tiles: int | None = None,
                  samples: Sequence[dict[str, NDArray[Any]]] = (),
                  progress: Callable[[str], None] | None = None) -> Artefact:
    """The artefact of a graph for a machine; `UserError` where it does not fit, by how much and with which tensors.

    samples: integer inputs [height, width, channels] on which the need of pages is measured, where the goal has them;
    seeded random ones if there are none. progress: is told which step of how many begins, most networks need few; and
    "" at the end.
    """
    goal = goal or Goal()
    capacity = min(config.memory_bytes, goal.memory or config.memory_bytes)
    graph.check()
    macs = {node.name: node.macs(graph.tensors[node.output]) for node in graph.nodes if hasattr(node, "macs")}
    graph = run_integer_passes(graph)
    _check(graph)
    request = Request(goal, ring_tiles or _ring_tiles(config, capacity, RING_TILES), capacity, macs,
                      ring_tiles or LONG_RING_TILES)
    tight = dataclasses.replace(
        request, tight=True, ring_tiles=ring_tiles or _ring_tiles(config, capacity, TIGHT_RING_TILES))
    requests = [tight] if goal.optimise == "memory" else [request, tight]
    paged = bool(config.codec_lanes)
    if goal.codec != "off" and not paged:
        raise UserError(f"--codec {goal.codec} needs a machine with a codec, which {config.name} does not have; set "
                        f"codec_lanes=8")
    samples = samples or [random_inputs(graph, seed) for seed in range(RANDOM_SAMPLES)]
    outside = paged and bool(config.external_bytes and config.outside_pages)
    steps = _Steps(graph.name, progress, len(requests), 1 + len(APART) * outside)
    try:
        return _Compiler(config, requests, steps).best(graph, samples, outside=outside)
    finally:
        steps.end()


def _ring_tiles(config: Config, capacity: int, most: int) -> int:
    return min(most, max(4, capacity // RING_PART // config.weight_tile_bytes))


class _Steps:
    """Tells how far a compilation is: one layer after the other is a step; then so many searches may come, of one step
    and two for each request."""

    def __init__(self, name: str, progress: Callable[[str], None] | None, requests: int, searches: int) -> None:
        self._name, self._tell = name, progress
        self._done, self._count = 0, 1 + searches * (1 + 2 * requests)

    def next(self, what: str) -> None:
        """A step begins."""
        self._done += 1
        if self._tell:
            self._tell(f"{self._name}: step {self._done} of up to {self._count}, {what}")

    def end(self) -> None:
        """There is none left."""
        if self._tell:
            self._tell("")


Way = Callable[[], Artefact | None]
"""Makes an artefact; None where there is a far better one, `DoesNotFit` where it cannot."""


@dataclasses.dataclass
class _Compiler:
    """The ways to compile a network for a machine. requests: the first one is for speed where the goal is."""

    config: Config
    requests: Sequence[Request]
    steps: _Steps
    _known: Known = dataclasses.field(default_factory=dict)
    _estimate: float = math.inf
    """The least one of what is made already."""

    def best(self, graph: Graph, samples: Sequence[dict[str, NDArray[Any]]], *, outside: bool) -> Artefact:
        """What the goal is served best by; outside: what the unified memory is too small for may leave it."""
        goal = self.requests[0].goal
        if goal.codec == "pages":
            if goal.optimise == "cycles":
                with suppress(DoesNotFit):
                    return self._rows(graph, brief=True)
            fed = feed_inputs(graph)
            return _best(self._packed(fed, Packing(fed, samples)), goal)
        try:
            return self._rows(graph, brief=outside)
        except DoesNotFit:
            if not outside:
                raise
        packing = Packing(graph, samples, outside=True, raw=goal.codec == "off")
        return _best((way for apart in APART
                      for way in self._packed(graph, dataclasses.replace(packing, apart=apart))), goal)

    def _rows(self, graph: Graph, *, brief: bool) -> Artefact:
        """All tensors as they are. brief: nobody reads what the error says."""
        request, goal = self.requests[0], self.requests[0].goal
        self.steps.next("layer by layer")
        fast = schedule(graph, self.config)
        missing = None
        if goal.optimise == "cycles" and goal.cascades:
            try:
                return _roomy(fast, request)
            except DoesNotFit as error:
                missing = error
        return _best(self._searched(graph, None, missing, fast, brief=brief), goal)

    def _packed(self, graph: Graph, packing: Packing) -> Iterator[Way]:
        """What crosses from one part of the network to another in pages."""
        yield from self._searched(graph, packing, None, schedule(graph, self.config))

    def _searched(self, graph: Graph, packing: Packing | None, missing: DoesNotFit | None, fast: Schedule, *,
                  brief: bool = False) -> Iterator[Way]:
        """The first schedules that fit, one for each request and estimate: from what the goal allows, what layer by
        layer needs or the least at the other ends, downwards."""
        self.steps.next("which operators to make together")
        shared = packing is None or packing.outside  # what is packed on the chip counts by what it needs there
        goal = self.requests[0].goal
        search = Search(graph, self.config, packing, layers=not goal.cascades, known=self._known if shared else None)
        lowest, highest = search.smallest(), lower_bound(fast.activations(), self.config.word_bytes)[0]
        start = {"memory": lowest, "balanced": round((lowest * highest) ** 0.5)}.get(
            goal.optimise, highest - (missing.bytes if missing else 0))
        for request in self.requests:
            for by in (0, 1):
                self.steps.next("a schedule that fits")
                yield partial(self._first_fit, search, dataclasses.replace(request, packing=packing, brief=brief),
                              max(start, lowest), lowest, by)

    def _first_fit(self, search: Search, request: Request, limit: int, lowest: int, by: int) -> Artefact | None:
        """The fastest schedule of a search that fits, by one of its estimates; `DoesNotFit` where none does."""
        tried: Stripes | None = None
        while True:
            stripes = search.best(limit, by)
            assert stripes is not None
            if stripes != tried:
                s = _striped(search.graph, self.config, stripes, request)
                expected = estimate(s)
                if request.goal.optimise != "memory" and expected > HOPELESS * self._estimate:
                    return None
                try:
                    made = link(s, dataclasses.replace(request, brief=request.brief or limit > lowest))
                except DoesNotFit as error:
                    missing, tried = error, stripes
                else:
                    self._estimate = min(self._estimate, expected)
                    return made
            if limit == lowest:
                raise missing
            limit = max(min(limit - missing.bytes, limit * 49 // 50), lowest)


def _roomy(s: Schedule, request: Request) -> Artefact:
    """The artefact whose weights come in best: asked for further ahead where that is faster, and with what memory is
    left as a longer ring where that is `WORTH` it."""
    from systolith.sim.model.session import timing_of  # the model imports the compiler
    further = dataclasses.replace(request, ahead=True)
    made = _best([partial(link, s, request), partial(link, s, further)], request.goal)
    left = (made.sizes["capacity"] - made.sizes["total"]) // s.network.config.weight_tile_bytes
    tiles = min(request.ring_tiles + left - SPARE_TILES, sum(piece.tiles for piece in s.order), request.most_tiles)
    if made.config.external_bytes and tiles > request.ring_tiles:
        with suppress(DoesNotFit):
            longer = link(s, dataclasses.replace(further, ring_tiles=tiles))
            if timing_of(longer).cycles < WORTH * timing_of(made).cycles:
                return longer
    return made


def _best(ways: Iterable[Way], goal: Goal) -> Artefact:
    """The artefact that serves the goal best: by the cycle model, or by its memory; of those that do not fit, what the
    nearest says."""
    from systolith.sim.model.session import timing_of  # the model imports the compiler
    best: Artefact | None = None
    cycles: int | None = None
    failed: list[DoesNotFit] = []
    for way in ways:
        try:
            made = way()
        except DoesNotFit as error:
            failed.append(error)
            continue
        if best is None or made is None:
            best = best or made
        elif goal.optimise == "memory":
            best = min(best, made, key=lambda artefact: artefact.sizes["total"])
        elif (made.memory, made.external) != (best.memory, best.external):
            cycles = timing_of(best).cycles if cycles is None else cycles
            other = timing_of(made, most=cycles).cycles
            if other < cycles:
                best, cycles = made, other
    if best is None:
        raise min(failed, key=lambda error: error.bytes)
    return best


def _striped(graph: Graph, config: Config, stripes: Stripes, request: Request) -> Schedule:
    if request.packing:
        graph, segments = insert_streams(graph, stripes.segments, request.packing)
        stripes = Stripes(segments, stripes.pieces, TIGHT_PACK_LEAD if request.tight else PACK_LEAD)
    return schedule(graph, config, stripes)


def compile_schedule(s: Schedule, ring_tiles: int, capacity: int | None = None,
                     macs: dict[str, int] | None = None) -> Artefact:
    """The artefact of a scheduled network. `macs`: of each operator as the user's file has it, by name."""
    return link(s, Request(Goal(), ring_tiles, capacity or s.network.config.memory_bytes, macs or {}))
