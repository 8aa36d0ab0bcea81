"""Core graph to artefact: pieces of work, their order, addresses, program, constants."""

from dataclasses import dataclass

import numpy as np

from systolith.gen.emit.artefact import Artefact, Layer, Written
from systolith.gen.emit.places import home
from systolith.gen.emit.plan import Emitter, Layout, constants
from systolith.gen.emit.program import WEIGHT_FREE, Issued
from systolith.gen.errors import UserError
from systolith.gen.graph import Graph, Pool2D
from systolith.gen.passes.integer import run_integer_passes
from systolith.gen.schedule.memory import Buffer, lower_bound, place
from systolith.gen.schedule.schedule import LEAD, Schedule, schedule
from systolith.gen.schedule.search import Search
from systolith.rtl import assembly, isa
from systolith.rtl.config import Config
from systolith.rtl.isa import FieldError, Instruction

RING_PART = 16
"""The ring of weight tiles takes this part of the unified memory, at most."""
RING_TILES = {"cycles": 128, "memory": 16, "balanced": 128}
"""And so many tiles at most; what few of them cost in cycles, a few per cent, little memory is worth."""
OPTIMISE = tuple(RING_TILES)
NAME = 40
"""Characters of a tensor's name that a message shows."""


def _align(size: int, to: int) -> int:
    return -(-size // to) * to


@dataclass(frozen=True)
class Goal:
    """What a schedule is to save; raises UserError for values that mean nothing.

    `optimise`: "cycles" makes layer after layer as fast as the machine can, "memory" makes them as cascades of stripes
    that keep few rows of each tensor, and "balanced" allows the geometric mean of what these two need. `memory`: bytes
    of the unified memory that may be used, all by default. A network that needs more is cut into stripes until it fits.
    """

    optimise: str = "cycles"
    memory: int | None = None

    def __post_init__(self) -> None:
        if self.optimise not in OPTIMISE:
            raise UserError(f"--optimise must be one of {', '.join(OPTIMISE)}, not {self.optimise!r}")
        if self.memory is not None and self.memory < 1:
            raise UserError(f"--memory must be a number of bytes, at least 1, not {self.memory}")


class DoesNotFit(UserError):
    """The network needs `bytes` more memory than it may use."""

    def __init__(self, message: str, missing: int) -> None:
        super().__init__(message)
        self.bytes = missing


@dataclass
class _Image:
    """The external memory: weights and streamed constants, and where each node's start."""

    raw: bytes
    weights: dict[int, int]
    constants: dict[int, int]


def _image(s: Schedule, config: Config) -> _Image:
    raw = bytearray()
    weights: dict[int, int] = {}
    kept: dict[int, int] = {}
    for tag, plan in enumerate(s.plans):
        for data, starts in ((plan.weights, weights), (plan.constants if s.streamed else b"", kept)):
            if data:
                starts[tag] = len(raw)
                raw += data.ljust(_align(len(data), config.word_bytes), b"\0")
    return _Image(bytes(raw), weights, kept)


def _emit(s: Schedule, image: _Image, layout: Layout) -> Emitter:
    """The program for one layout."""
    emitter = Emitter(s.network, s.plans, layout, image.weights)
    moves = s.moves()
    for position, piece in enumerate(s.order):
        while moves and moves[0][0] <= position + LEAD:
            _, tag, asked = moves.pop(0)
            if asked is None:
                emitter.move_constants(tag, image.constants[tag])
            elif layout.ring_tiles:
                emitter.move_weights(tag, asked.first_tile, asked.tiles)
        try:
            piece.emit(emitter)
        except FieldError as error:
            name = s.plans[piece.node].node.name
            raise UserError(f"{name} is too large for one instruction: {error}") from None
    return emitter


def _finish(emitter: Emitter, layout: Layout, scratch_byte: int, slots: int) -> tuple[list[int], dict[Issued, int]]:
    """Words of the program, and each instruction's number within its unit."""
    start: list[Instruction] = []
    if layout.ring_tiles:
        start.append(isa.SYNC(signal0=WEIGHT_FREE, signal0_count=layout.ring_tiles))
    instructions, numbers = emitter.program.instructions(start, scratch_byte)
    return assembly.assemble(instructions, slots), numbers


def _layers(s: Schedule, macs: dict[str, int]) -> list[Layer]:
    layers = []
    for plan in s.plans:
        node = plan.node
        out = s.network.graph.tensors[node.output]
        own = node.macs(out) if hasattr(node, "macs") else 0
        note = plan.note
        if own < macs.get(node.name, own):
            left = f"{own:,} of {macs[node.name]:,} MACs: channels that are constant or unused are left out"
            note = ", ".join(text for text in (note, left) if text)
        layers.append(Layer(node.name, node.operator, plan.unit, node.source, node.output, out.shape,
                            macs.get(node.name, own), plan.fill, note))
    return layers


def _check(graph: Graph) -> None:
    """What the instructions cannot say."""
    for node in graph.nodes:
        shape = graph.tensors[node.inputs[0]].shape
        if max(shape[0], shape[1]) >= 1 << 15:
            raise UserError(f"{node.name}: a tensor of {shape[0]} x {shape[1]} positions is too large; "
                            f"at most 32767 each way")
        if isinstance(node, Pool2D) and max(node.kernel) > 255:
            raise UserError(f"{node.name}: a window of {node.kernel[0]} x {node.kernel[1]} is too large; "
                            f"at most 255 each way")
        if isinstance(node, Pool2D) and shape[2] > 65535:
            raise UserError(f"{node.name}: {shape[2]} channels are too many; at most 65535")


def _does_not_fit(s: Schedule, config: Config, buffers: list[Buffer], used: dict[str, int]) -> DoesNotFit:
    graph = s.network.graph
    missing = used["total"] - used["capacity"]
    _, step = lower_bound(buffers, config.word_bytes)
    alive = sorted((b for b in buffers if b.first <= step <= b.last and b.name in graph.tensors), key=lambda b: -b.size)
    tensors = ", ".join(f"{b.name if len(b.name) <= NAME else b.name[:NAME] + '...'} "
                        f"{'x'.join(map(str, graph.tensors[b.name].shape))} ({b.size})" for b in alive[:4])
    where = s.plans[s.order[min(max(step, 0), len(s.order) - 1)].node].node.name
    hint = ("" if config.external_bytes
            else "; with external memory (external_bytes=8) the weights would not need to stay in it")
    limited = used["capacity"] < config.memory_bytes
    has = f"may use {used['capacity']}" if limited else f"{config.name} has {used['capacity']}"
    return DoesNotFit(
        f"{graph.name} needs {used['total']} bytes and {has}: {missing} bytes too "
        f"many (program {used['program']}, parameters {used['parameters']}, weights {used['weights']}, activations "
        f"{used['activations']}; the largest at {where}: {tensors}). "
        f"Choose a larger {'--memory' if limited else 'memory_bytes'} or a smaller input{hint}.", missing)


def compile_graph(graph: Graph, config: Config, goal: Goal | None = None, *, ring_tiles: int | None = None,
                  ) -> Artefact:
    """The artefact of a graph for a machine; `UserError` where it does not fit, by how much and with which tensors."""
    goal = goal or Goal()
    capacity = min(config.memory_bytes, goal.memory or config.memory_bytes)
    graph.check()
    macs = {node.name: node.macs(graph.tensors[node.output]) for node in graph.nodes if hasattr(node, "macs")}
    graph = run_integer_passes(graph)
    _check(graph)
    if ring_tiles is None:
        ring_tiles = min(RING_TILES[goal.optimise], max(4, capacity // RING_PART // config.weight_tile_bytes))
    fast = schedule(graph, config)
    missing = None
    if goal.optimise == "cycles":
        try:
            return compile_schedule(fast, ring_tiles, capacity, macs, goal.optimise)
        except DoesNotFit as error:
            missing = error
    search = Search(graph, config)
    lowest, highest = search.smallest(), lower_bound(fast.activations(), config.word_bytes)[0]
    limit = {"memory": lowest, "balanced": round((lowest * highest) ** 0.5)}.get(
        goal.optimise, highest - (missing.bytes if missing else 0))
    while True:
        limit = max(limit, lowest)
        stripes = search.best(limit)
        assert stripes is not None
        try:
            return compile_schedule(schedule(graph, config, stripes), ring_tiles, capacity, macs, goal.optimise)
        except DoesNotFit as error:
            if missing is None or error.bytes < missing.bytes:
                missing = error
            if limit == lowest:
                raise missing from None
            limit = min(limit - error.bytes, limit * 9 // 10)


def compile_schedule(s: Schedule, ring_tiles: int, capacity: int | None = None,
                     macs: dict[str, int] | None = None, optimise: str = "cycles") -> Artefact:
    """The artefact of a scheduled network.

    `macs`: of each operator as the user's file has it, by name. `optimise`: what it was scheduled for.
    """
    graph, config = s.network.graph, s.network.config
    tile, word = config.weight_tile_bytes, config.word_bytes
    image = _image(s, config)
    activations, moved = s.activations(), s.constants()
    offsets, height = place(activations, word)
    constant_offsets, constant_height = place(moved, word)
    layout = Layout(ring_tiles=ring_tiles if config.external_bytes else 0, rings=s.rings)
    held = {} if s.streamed else {constants(tag): plan.constants for tag, plan in enumerate(s.plans) if plan.constants}

    def lay_out(program: int) -> dict[str, int]:
        """Puts everything after a program of so many bytes; the sizes."""
        at = layout.pool = program
        at += len(s.network.pool) + word  # the last word is for idle instructions
        for name, raw in held.items():
            layout.buffers[name] = at
            at += len(raw)
        layout.buffers |= {name: at + offset for name, offset in constant_offsets.items()}
        layout.ring = at + constant_height
        weights = layout.ring_tiles * tile if layout.ring_tiles else len(image.raw)
        layout.buffers |= {name: layout.ring + weights + offset for name, offset in offsets.items()}
        return {"program": program, "parameters": layout.ring - program, "weights": weights, "activations": height}

    lay_out(0)
    _emit(s, image, layout)  # fills the pool
    room, needed = 0, word
    while needed > room:  # the addresses after the program depend on its size, and a little the other way round
        room = needed
        sizes = lay_out(room)
        emitter = _emit(s, image, layout)
        words, numbers = _finish(emitter, layout, layout.pool + len(s.network.pool), config.instruction_slots)
        needed = _align(4 * len(words), word)
    sizes |= {"total": sum(sizes.values()), "capacity": capacity or config.memory_bytes}
    if sizes["total"] > sizes["capacity"]:
        raise _does_not_fit(s, config, activations, sizes)
    memory = np.array(words, "<u4").tobytes().ljust(sizes["program"], b"\0")
    memory += bytes(s.network.pool).ljust(len(s.network.pool) + word, b"\0") + b"".join(held.values())
    if not layout.ring_tiles:
        memory += image.raw
    lifetimes = {b.name: (b.first, b.last) for b in activations}
    places = {name: emitter.place(name) for name in graph.tensors if home(name, s.network.views) in layout.buffers}
    written = [Written(one.unit, numbers[one], name, part.rows, part.positions, part.channels)
               for one, name, part in emitter.written]
    return Artefact(config, graph, words, memory, image.raw if layout.ring_tiles else b"", places,
                    {name: lifetimes[home(name, s.network.views)] for name in places}, _layers(s, macs or {}), sizes,
                    written, optimise)
