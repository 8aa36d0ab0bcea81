"""Both movers with a model of external memory between them, and what their instructions must do."""

import random
from typing import Any

from amaranth import Module
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out

from systolith.rtl.external import ExternalMemoryModel
from systolith.rtl.isa import MOVE_IN, Instruction, InstructionType
from systolith.rtl.mover import MoveIn, MoveOut
from systolith.rtl.mover_front import EVENTS
from systolith.rtl.ports import MemoryReadPort, MemoryWritePort, unit_members

EXTERNAL_BITS = 14
_MEMBERS = unit_members(MOVE_IN.layout(), EVENTS)


class MoverLoop(wiring.Component):
    """`MoveOut` and `MoveIn` on one `ExternalMemoryModel` with `2**EXTERNAL_BITS` bytes.

    Members: those of each unit, named `in_*` and `out_*`, and their memory ports.
    """

    def __init__(self, word_bytes: int, external_bytes: int, latency: int) -> None:
        self.word_bytes, self.external_bytes, self.latency = word_bytes, external_bytes, latency
        super().__init__({
            **{f"in_{name}": member for name, member in _MEMBERS.items()},
            **{f"out_{name}": member for name, member in _MEMBERS.items()},
            "write": Out(MemoryWritePort(word_bytes)),
            "read": Out(MemoryReadPort(word_bytes)),
            "numbers": Out(MemoryReadPort(word_bytes)),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.move_in = move_in = MoveIn(self.word_bytes, self.external_bytes, indexed=True)
        m.submodules.move_out = move_out = MoveOut(self.word_bytes, self.external_bytes)
        m.submodules.model = model = ExternalMemoryModel(self.external_bytes, self.latency, EXTERNAL_BITS)
        shift = (self.external_bytes - 1).bit_length()
        depth = 1 << EXTERNAL_BITS - shift
        m.submodules.store = store = memory.Memory(shape=8 * self.external_bytes, depth=depth, init=[])
        put, get = store.write_port(), store.read_port(domain="comb")
        m.d.comb += [
            get.addr.eq(model.store_address >> shift),
            model.store_read_data.eq(get.data),
            put.addr.eq(model.store_address >> shift),
            put.data.eq(model.store_write_data),
            put.en.eq(model.store_write),
        ]
        for prefix, unit in (("in", move_in), ("out", move_out)):
            for name, member in _MEMBERS.items():
                mine, theirs = getattr(self, f"{prefix}_{name}"), getattr(unit, name)
                if member.is_signature:
                    ends = (wiring.flipped(mine), theirs) if member.flow == In else (theirs, wiring.flipped(mine))
                    wiring.connect(m, *ends)
                else:
                    m.d.comb += mine.eq(theirs)
        wiring.connect(m, move_in.memory, wiring.flipped(self.write))
        wiring.connect(m, move_out.memory, wiring.flipped(self.read))
        wiring.connect(m, move_in.numbers, wiring.flipped(self.numbers))
        wiring.connect(m, move_in.read_request, model.port.read_request)
        wiring.connect(m, model.port.read_data, move_in.read_data)
        wiring.connect(m, move_out.write_request, model.port.write_request)
        wiring.connect(m, move_out.write_data, model.port.write_data)
        m.d.comb += move_out.write_done.eq(model.port.write_done)
        return m


def addresses(instruction: Instruction) -> list[tuple[int, int]]:
    """Memory and external address of each block, as the instruction set says."""
    i, found = instruction, []
    for number in range(i.blocks):
        at = i.a + number * i.step
        if i.ring_bytes:
            at = i.ring + (at - i.ring) % i.ring_bytes
        index = number_at(i.c + 4 * number) if i.indexed else number
        found.append((at, (i.external + index * i.external_step) % (1 << 32)))
    return found


def number_at(address: int) -> int:
    """The number of a block that lies at an address: of 0 to 10 bits."""
    random_ = random.Random(address)
    return random_.getrandbits(random_.randrange(11))


def numbers(size: int) -> bytearray:
    """A memory of such numbers."""
    return bytearray(b"".join(number_at(at).to_bytes(4, "little") for at in range(0, size, 4)))


def semaphore_traffic(instructions: list[Instruction]) -> tuple[list[dict[str, int]], list[dict[str, int]]]:
    """The takes and the gives that instructions make, in order."""
    takes, gives = [], []
    for i in instructions:
        for semaphore, count in ((i.wait0, i.wait0_count), (i.wait1, i.wait1_count)):
            if semaphore and count:
                takes.append({"semaphore": semaphore, "count": count})
        for _ in range(i.blocks):
            if i.values["take"]:
                takes.append({"semaphore": i.values["take"], "count": 1})
            if i.values["give"]:
                gives.append({"semaphore": i.values["give"], "count": 1})
        for semaphore, count in ((i.signal0, i.signal0_count), (i.signal1, i.signal1_count)):
            if semaphore and count:
                gives.append({"semaphore": semaphore, "count": count})
    return takes, gives


def random_moves(kind: InstructionType, word: int, beat: int, count: int, seed: int, memory_bytes: int,
                 aligned: bool = True, indexed: bool = False) -> list[Instruction]:
    """Instructions of all sorts: rings, waits, signals, one block and many, a word and more than a burst. `indexed`:
    half of them by numbers."""
    rng = random.Random(seed)
    moves = []
    for number in range(count):
        blocks = rng.choice([1, 2, 5])
        words = rng.choice([1, 2, 3, 9, 257 * beat // word + 2])
        size = words * word
        slots = rng.randint(1, 3) if rng.random() < 0.5 else 0
        if size * 8 > memory_bytes:
            blocks, slots = 1, 0
        ring = rng.randrange(0, memory_bytes - size * max(slots, 1) + 1, word)
        reach = memory_bytes - (blocks - 1) * size - size
        start = ring + rng.randrange(slots) * size if slots else rng.randrange(0, reach + 1, word)
        if not aligned and not slots and reach > start + word:
            start += rng.randrange(word)
        far = rng.choice([size, size + beat, 0])
        external = rng.randrange(0, (1 << EXTERNAL_BITS) - blocks * (size + beat), beat)
        by_number: dict[str, int] = {}
        if indexed and rng.random() < 0.5:
            far, external = beat, rng.randrange(0, (1 << EXTERNAL_BITS) - 1024 * beat - size, beat)
            by_number = {"indexed": 1, "c": rng.randrange(0, memory_bytes - 4 * blocks, 4)}
        semaphores = {name: rng.choice([0, 0, rng.randint(1, 15)])
                      for name in ("take", "give", "wait0", "wait1", "signal0", "signal1")}
        counts = {f"{name}_count": rng.choice([0, 1, 7]) for name in ("wait0", "wait1", "signal0", "signal1")}
        moves.append(kind(tag=number + 1, a=start, external=external, block_bytes=size, blocks=blocks,
                          step=rng.choice([size, 0]), external_step=far, ring=ring if slots else 0,
                          ring_bytes=slots * size, **semaphores, **counts, **by_number))
    return moves


def copy(moves: list[Instruction], source: bytearray, target: bytearray, into_memory: bool) -> None:
    """Do what the instructions say."""
    for i in moves:
        for at, external in addresses(i):
            to, origin = (at, external) if into_memory else (external, at)
            target[to:to + i.block_bytes] = source[origin:origin + i.block_bytes]


def values(instruction: Instruction) -> dict[str, Any]:
    """An instruction as the payload of a stream."""
    return dict(instruction.values)


