"""A scheduled network to an artefact: addresses, program, constants."""

import math
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

from systolith.gen.errors import UserError
from systolith.gen.goal import Goal
from systolith.gen.graph import Pack, Unpack
from systolith.gen.schedule.memory import Buffer, lower_bound
from systolith.gen.schedule.packing import Packing
from systolith.gen.schedule.schedule import Schedule
from systolith.gen.schedule.streams import pages_in_use
from systolith.rtl import assembly, isa
from systolith.rtl.config import Config
from systolith.rtl.isa import FieldError, Instruction

from .artefact import Artefact, Layer, Parts, Pool, Written
from .chunks import CHUNK_BYTES, LOADER_WORDS, STREAMED_FROM, Buffers, cut
from .memory_map import Image, MemoryMap, align, least_bytes
from .places import home
from .plan import MOST_BLOCKS, Emitter, Layout
from .program import PROGRAM_READY, WEIGHT_FREE, Issued

NAME = 40
"""Characters of a tensor's name that a message shows."""


@dataclass(frozen=True)
class Request:
    """What stays the same while schedules are tried. `macs`: of each operator as the user's file has it, by name.
    `most_tiles`: of the ring, where memory is left. `tight`: memory is worth more than cycles. `ahead`: see
    `Schedule.asked`. `brief`: what cannot fit may be refused before its program is made, with fewer bytes than are
    missing."""

    goal: Goal
    ring_tiles: int
    capacity: int
    macs: dict[str, int]
    most_tiles: int = 0
    packing: Packing | None = None
    tight: bool = False
    ahead: bool = False
    brief: bool = False


class DoesNotFit(UserError):
    """The network needs `bytes` more memory than it may use."""

    def __init__(self, message: str, missing: int) -> None:
        super().__init__(message)
        self.bytes = missing


def _emit(s: Schedule, image: Image, layout: Layout, ahead: bool = False) -> Emitter:
    """The program for one layout; `ahead`: see `Schedule.asked`."""
    emitter = Emitter(s.network, s.plans, layout, image.weights)
    moves, asked_at = s.moves(), s.asked(ahead)
    # weights of later pieces may wait in the mover until these run, so what others read must not come behind them, nor
    # more than its queue holds
    brought = [position for position, piece in enumerate(s.order) if s.plans[piece.node].unit == "move_in"]
    queue = s.network.config.queue_words // isa.MOVE_IN.length
    waiting: list[tuple[int, int]] = []
    """Of weights: the position of their piece, and how many instructions the mover had before them."""
    for position, piece in enumerate(s.order):
        emitter.program.mark()
        while brought and brought[0] < position:
            brought.pop(0)
        waiting = [(at, before) for at, before in waiting if at >= position]
        while moves and asked_at[moves[0][0]] <= position and not (brought and moves[0][0] > brought[0]):
            at, tag, asked = moves[0]
            count = 1 if asked is None else -(-asked.tiles // MOST_BLOCKS)
            issued = emitter.program.count("move_in")
            if at > position and waiting and issued + count - waiting[0][1] - 1 > queue:  # one is under way
                break
            moves.pop(0)
            if asked is None:
                emitter.move_constants(tag, image.constants[tag])
            elif layout.ring_tiles:
                waiting.append((at, issued))
                emitter.move_weights(tag, asked.first_tile, asked.tiles)
        try:
            piece.emit(emitter)
        except FieldError as error:
            name = s.plans[piece.node].node.name
            raise UserError(f"{name} is too large for one instruction: {error}") from None
    return emitter


@dataclass
class _Linked:
    """A program with all addresses."""

    layout: Layout
    sizes: dict[str, int]
    emitter: Emitter
    numbers: dict[Issued, int]
    """Each instruction's number within its unit."""
    loader: list[int]
    """Words of the program in the unified memory: all, or what brings the others."""
    chunks: list[list[int]] = field(default_factory=list)
    buffers: Buffers | None = None


def _instructions(emitter: Emitter, layout: Layout, first_semaphore: int,
                  ) -> tuple[list[Instruction], dict[Issued, int]]:
    """The program, and each instruction's number within its unit."""
    network = emitter.network
    start: list[Instruction] = []
    if layout.ring_tiles:
        start.append(isa.SYNC(signal0=WEIGHT_FREE, signal0_count=layout.ring_tiles))
    return emitter.program.instructions(start, layout.pool + len(network.pool), network.config.semaphores,
                                        first_semaphore)


def _whole(s: Schedule, memory_map: MemoryMap, ahead: bool) -> _Linked:
    """The program in the unified memory."""
    config = s.network.config
    room, needed = 0, config.word_bytes
    while needed > room:  # the addresses after the program depend on its size, and a little the other way round
        room = needed
        layout, sizes = memory_map.lay_out(room)
        emitter = _emit(s, memory_map.image, layout, ahead)
        instructions, numbers = _instructions(emitter, layout, WEIGHT_FREE + 1)
        words = assembly.assemble(instructions, config.instruction_slots)
        needed = align(4 * len(words), config.word_bytes)
    return _Linked(layout, sizes, emitter, numbers, words)


def _in_chunks(s: Schedule, memory_map: MemoryMap, below: int) -> _Linked | None:
    """The program in external memory, if it then takes less than `below` bytes of the unified memory."""
    config, external = s.network.config, len(memory_map.image.raw)
    address = align(4 * LOADER_WORDS, config.word_bytes)
    size, outside = align(CHUNK_BYTES, config.word_bytes), 0
    while address + 2 * size < below:
        layout, sizes = memory_map.lay_out(address + 2 * size, outside)
        emitter = _emit(s, memory_map.image, layout)
        instructions, numbers = _instructions(emitter, layout, PROGRAM_READY + 1)
        edges = [0, *emitter.program.starts[1:], len(instructions)]
        pieces = [instructions[begin:end] for begin, end in pairwise(edges)]
        buffers = Buffers(address, external, size)
        chunks = cut(pieces, buffers, layout.ring_tiles, config.instruction_slots)
        if chunks is None:
            size *= 2
        elif len(chunks.words) * size > outside:  # what lies behind them moves
            outside = len(chunks.words) * size
        else:
            numbers = {one: chunks.number(own) if one.unit == "move_in" else own for one, own in numbers.items()}
            return _Linked(layout, sizes, emitter, numbers, chunks.loader, chunks.words, buffers)
    return None


def _linked(s: Schedule, memory_map: MemoryMap, request: Request) -> _Linked:
    """The program as it is best: whole if it is short and fits."""
    whole = _whole(s, memory_map, request.ahead)
    too_long = whole.sizes["total"] > request.capacity or 4 * len(whole.loader) > STREAMED_FROM
    if s.network.config.external_bytes and too_long:
        with suppress(UserError):  # it needs one semaphore more
            return _in_chunks(s, memory_map, whole.sizes["program"]) or whole
    return whole


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


def _does_not_fit(s: Schedule, config: Config, buffers: list[Buffer], used: dict[str, int]) -> DoesNotFit:
    graph = s.network.graph
    missing = used["total"] - used["capacity"]
    _, step = lower_bound(buffers, config.word_bytes)
    alive = sorted((b for b in buffers if b.name in graph.tensors
                    and any(first <= step <= last for first, last in b.lives)), key=lambda b: -b.size)
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


def _tile_bytes(s: Schedule, packing: Packing | None) -> dict[int, int]:
    """See `Pool.tile_bytes`."""
    found: dict[str, int] = {}
    for plan in s.plans:
        if packing and isinstance(plan.node, Pack):
            tensor, tiling = s.network.tensor(plan.node.inputs[0]), packing.best(plan.node.inputs[0])
            found[plan.output] = round(tiling.bytes.mean() / -(-tensor.shape[1] // tiling.columns))
    streams = {tag: plan.node.inputs[0] if isinstance(plan.node, Unpack) else plan.output
               for tag, plan in enumerate(s.plans)}
    return {tag: found[name] for tag, name in streams.items() if name in found}


def _pages(s: Schedule, emitter: Emitter, packing: Packing) -> int:
    """Pages that the samples need at most, whatever waits for what: those that an UNPACK leaves count as free for a
    PACK only where that is known to come after it."""
    if not emitter.moved_tiles:
        return 0
    sizes = {plan.output: packing.best(plan.node.inputs[0]).bytes for plan in s.plans if isinstance(plan.node, Pack)}
    unpacks = [moved for moved in emitter.moved_tiles if moved[0].unit == "unpack"]
    order: list[tuple[Issued, int]] = []
    left = 0
    for one, row in emitter.moved_tiles:
        if one.unit == "pack":
            while left < len(unpacks) and unpacks[left][0].number < one.known.get("unpack", 0):
                order.append(unpacks[left])
                left += 1
            order.append((one, row))
    tagged = [(one.values["tag"], row) for one, row in order]
    return int(pages_in_use(s.plans, tagged, sizes, s.network.config.page_bytes).max())


def link(s: Schedule, request: Request) -> Artefact:
    """The artefact of a schedule, `DoesNotFit` where it needs more than the request allows."""
    graph, config = s.network.graph, s.network.config
    if request.brief and (missing := least_bytes(s, request.ring_tiles) - request.capacity) > 0:
        raise DoesNotFit(f"{graph.name} needs at least {missing} bytes more", missing)
    memory_map = MemoryMap(s, request.ring_tiles, request.capacity, tight=request.tight, ahead=request.ahead)
    first, sizes = memory_map.lay_out(0)
    if request.brief and sizes["total"] > request.capacity:
        raise _does_not_fit(s, config, memory_map.activations, sizes | {"capacity": request.capacity})
    needed_pages = _pages(s, _emit(s, memory_map.image, first), request.packing) if request.packing else 0
    if request.packing and request.packing.outside:
        if needed_pages > config.outside_pages:
            raise UserError(f"{graph.name} needs {needed_pages} pages of {config.page_bytes} bytes in external memory "
                            f"for what does not fit on the chip, and {config.name} has {config.outside_pages}: set "
                            "outside_pages, or a larger page_bytes")
        needed_pages = 0
    memory_map.page_limit = math.ceil(needed_pages * (1 + request.goal.spare))
    linked = _linked(s, memory_map, request)
    if linked.sizes["total"] > request.capacity and memory_map.join():
        linked = _linked(s, memory_map, request)
    layout, emitter, sizes = linked.layout, linked.emitter, linked.sizes | {"capacity": request.capacity}
    if sizes["total"] > sizes["capacity"]:
        raise _does_not_fit(s, config, memory_map.activations, sizes)
    memory = np.array(linked.loader, "<u4").tobytes().ljust(sizes["program"], b"\0") + memory_map.behind()
    external = memory_map.image.raw if layout.ring_tiles else b""
    parts = None
    if linked.buffers:
        stride = linked.buffers.size
        parts = Parts(len(external), stride, tuple(len(words) for words in linked.chunks))
        external += b"".join(np.array(words, "<u4").tobytes().ljust(stride, b"\0") for words in linked.chunks)
    lifetimes = {b.name: (b.first, b.last) for b in memory_map.activations}
    places = {name: emitter.place(name) for name in graph.tensors if home(name, s.network.views) in layout.buffers}
    written = [Written(one.unit, linked.numbers[one], name, part.rows, part.positions, part.channels)
               for one, name, part in emitter.written]
    pool = Pool(layout.pages, layout.page_limit, needed_pages, layout.outside,
                _tile_bytes(s, request.packing)) if layout.streams else None
    return Artefact(config, graph, sum(linked.chunks, linked.loader), memory, external, places,
                    {name: lifetimes.get(home(name, s.network.views), (0, len(s.order))) for name in places},
                    _layers(s, request.macs), sizes, written, request.goal.optimise, request.goal.codec,
                    emitter.program.feeds, pool, parts)
