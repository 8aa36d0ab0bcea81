"""A scheduled network to an artefact: addresses, program, constants."""

import math
from dataclasses import dataclass

import numpy as np

from systolith.gen.errors import UserError
from systolith.gen.goal import Goal
from systolith.gen.graph import Pack, Unpack
from systolith.gen.schedule.memory import Buffer, lower_bound, place
from systolith.gen.schedule.packing import Packing
from systolith.gen.schedule.schedule import LEAD, Schedule
from systolith.gen.schedule.streams import pages_in_use, stream_numbers
from systolith.rtl import assembly, isa
from systolith.rtl.config import Config
from systolith.rtl.isa import FieldError, Instruction

from .artefact import Artefact, Layer, Pool, Written
from .places import home
from .plan import MOST_BLOCKS, Emitter, Layout, constants
from .program import WEIGHT_FREE, Issued

NAME = 40
"""Characters of a tensor's name that a message shows."""


def _align(size: int, to: int) -> int:
    return -(-size // to) * to


@dataclass(frozen=True)
class Request:
    """What stays the same while schedules are tried. `macs`: of each operator as the user's file has it, by name.
    `tight`: memory is worth more than cycles."""

    goal: Goal
    ring_tiles: int
    capacity: int
    macs: dict[str, int]
    packing: Packing | None = None
    tight: bool = False


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
    # weights of later pieces may wait in the mover until these run, so what others read must not come behind them, nor
    # more than its queue holds
    brought = [position for position, piece in enumerate(s.order) if s.plans[piece.node].unit == "move_in"]
    queue = s.network.config.queue_words // isa.MOVE_IN.length
    waiting: list[tuple[int, int]] = []
    """Of weights: the position of their piece, and how many instructions the mover had before them."""
    for position, piece in enumerate(s.order):
        while brought and brought[0] < position:
            brought.pop(0)
        waiting = [(at, before) for at, before in waiting if at >= position]
        while moves and moves[0][0] <= min([position + LEAD, *brought[:1]]):
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


def _finish(emitter: Emitter, layout: Layout, scratch_byte: int, config: Config) -> tuple[list[int], dict[Issued, int]]:
    """Words of the program, and each instruction's number within its unit."""
    start: list[Instruction] = []
    if layout.ring_tiles:
        start.append(isa.SYNC(signal0=WEIGHT_FREE, signal0_count=layout.ring_tiles))
    instructions, numbers = emitter.program.instructions(start, scratch_byte, config.semaphores)
    return assembly.assemble(instructions, config.instruction_slots), numbers


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


def _pages(s: Schedule, emitter: Emitter, packing: Packing | None) -> int:
    """Pages that the samples need at most, whatever waits for what: those that an UNPACK leaves count as free for a
    PACK only where that is known to come after it."""
    if not packing or not emitter.moved_tiles:
        return 0
    sizes = {plan.output: packing.best(plan.node.inputs[0]).bytes for plan in s.plans if isinstance(plan.node, Pack)}
    unpacks = [moved for moved in emitter.moved_tiles if moved[0].unit == "unpack"]
    order: list[tuple[Issued, int]] = []
    left = 0
    for one, row in emitter.moved_tiles:
        if one.unit == "pack":
            known = one.known.get("unpack", 0)
            order += [*unpacks[left:known], (one, row)]
            left = max(left, known)
    tagged = [(one.values["tag"], row) for one, row in order]
    return int(pages_in_use(s.plans, tagged, sizes, s.network.config.page_bytes).max())


def link(s: Schedule, request: Request) -> Artefact:
    """The artefact of a schedule, `DoesNotFit` where it needs more than the request allows."""
    graph, config = s.network.graph, s.network.config
    tile, word = config.weight_tile_bytes, config.word_bytes
    image = _image(s, config)
    activations, moved = s.activations(), s.constants()
    offsets, height = place(activations, word)
    constant_offsets, constant_height = place(moved, word)
    layout = Layout(ring_tiles=request.ring_tiles if config.external_bytes else 0, rings=s.rings,
                    streams=stream_numbers(s.plans, s.order), tight=request.tight)
    layout.outside = _align(len(image.raw), config.page_bytes)
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
        layout.buffers |= {plan.output: layout.ring + image.weights[tag] for tag, plan in enumerate(s.plans)
                           if plan.output in s.network.held}
        layout.pages = layout.ring + weights + height
        pages = layout.page_limit * config.page_bytes
        return {"program": program, "parameters": layout.ring - program, "weights": weights,
                "activations": height + pages}

    lay_out(0)
    needed_pages = _pages(s, _emit(s, image, layout), request.packing)  # fills the pool of constants
    if request.packing and request.packing.outside:
        if needed_pages > config.outside_pages:
            raise UserError(f"{graph.name} needs {needed_pages} pages of {config.page_bytes} bytes in external memory "
                            f"for what does not fit on the chip, and {config.name} has {config.outside_pages}: set "
                            "outside_pages, or a larger page_bytes")
        needed_pages = 0
    layout.page_limit = math.ceil(needed_pages * (1 + request.goal.spare))
    room, needed = 0, word
    while needed > room:  # the addresses after the program depend on its size, and a little the other way round
        room = needed
        sizes = lay_out(room)
        emitter = _emit(s, image, layout)
        words, numbers = _finish(emitter, layout, layout.pool + len(s.network.pool), config)
        needed = _align(4 * len(words), word)
    sizes |= {"total": sum(sizes.values()), "capacity": request.capacity}
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
                    {name: lifetimes.get(home(name, s.network.views), (0, len(s.order))) for name in places},
                    _layers(s, request.macs), sizes, written, request.goal.optimise, request.goal.codec,
                    emitter.program.feeds,
                    Pool(layout.pages, layout.page_limit, needed_pages, layout.outside, _tile_bytes(s, request.packing))
                    if layout.streams else None)
