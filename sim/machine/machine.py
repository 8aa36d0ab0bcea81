"""Executes a program as the machine does, an instruction at a time, without clocks: same memory image, same results.

Every unit is a Python generator that yields while it cannot go on; they take turns, so any order that the semaphores
allow is legal and a program that would hang the machine is found (`Deadlock`).
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from systolith.gen.emit.program import HostRow
from systolith.rtl import assembly, isa
from systolith.rtl.clip import check_length, clipped
from systolith.rtl.config import Config
from systolith.rtl.isa import Instruction
from systolith.sim.golden.array import check_array, input_tiles, weight_addresses
from systolith.sim.golden.depthwise import execute_depthwise
from systolith.sim.golden.norm import execute_norm
from systolith.sim.golden.pages import Pages
from systolith.sim.golden.softmax import execute_softmax
from systolith.sim.golden.vector import execute_vector


class MachineError(RuntimeError):
    """The program put the machine into an error state; the message names it."""


class Deadlock(MachineError):
    """No unit can go on; the message says what each waits for."""


class Machine:
    """Unified and external memory, semaphores, and the units.

    Parameters
    ----------
    config: the machine. memory: initial bytes of the unified memory from address 0. external: external memory.
    """

    def __init__(self, config: Config, memory: bytes, external: bytes = b"") -> None:
        if len(memory) > config.memory_bytes:
            raise ValueError(f"{len(memory)} bytes do not fit a memory of {config.memory_bytes}")
        self.config = config
        self.memory: NDArray[np.uint8] = np.zeros(config.memory_bytes, np.uint8)
        self.memory[:len(memory)] = np.frombuffer(memory, np.uint8)
        self.external: NDArray[np.uint8] = np.frombuffer(external, np.uint8).copy()
        self.on_retired: Callable[[str, Instruction, int], None] | None = None
        """Called after each instruction of a unit: unit, instruction, its number within the unit."""
        self.instructions = dict.fromkeys(isa.UNITS.values(), 0)
        self.pages: Pages | None = None
        """Streams of packed activations, after a run."""
        self._waiting: dict[str, str] = {}

    def run(self, entry: int = 0, feeds: Iterable[tuple[HostRow, NDArray[np.uint8]]] = (), length: int = 0) -> None:
        """Executes the program at `entry` to its END, while the host brings the bytes of `feeds`.

        `length`: what the register LENGTH says; ValueError where it cannot.
        """
        self._length = check_length(self.config, length)
        self._semaphores = [0] * isa.SEMAPHORES
        self._queues: dict[str, deque[Instruction]] = {unit: deque() for unit in isa.UNITS.values()}
        self._busy = dict.fromkeys(self._queues, False)
        self._blocks: deque[NDArray[np.int32]] = deque()
        self._done = self._progress = False
        self.pages = Pages(self.config, self.memory, self.external)
        self.instructions = dict.fromkeys(self._queues, 0)
        units = {"sequencer": self._sequencer(entry), "move_in": self._unit("move_in", self._move_in),
                 "array": self._unit("array", self._array), "vector": self._unit("vector", self._vector),
                 "move_out": self._unit("move_out", self._move_out), "softmax": self._unit("softmax", self._softmax),
                 "depthwise": self._unit("depthwise", self._depthwise), "pack": self._unit("pack", self._pack),
                 "unpack": self._unit("unpack", self._unpack), "norm": self._unit("norm", self._norm),
                 "host": self._host(feeds)}
        while not self._done:
            self._progress = False
            for name, unit in units.items():
                self._waiting.pop(name, None)
                while not self._done and next(unit):
                    self._progress = True
            if not self._progress and not self._done:
                raise Deadlock("; ".join(f"{name} waits for {what}" for name, what in self._waiting.items()))

    def _take(self, unit: str, semaphore: int, count: int) -> Iterator[bool]:
        while semaphore and self._semaphores[semaphore] < count:
            self._waiting[unit] = f"{count} of semaphore {semaphore} (it has {self._semaphores[semaphore]})"
            yield False
        if semaphore:
            self._semaphores[semaphore] -= count

    def _give(self, semaphore: int, count: int) -> None:
        if semaphore:
            self._progress = True
            self._semaphores[semaphore] += count
            if self._semaphores[semaphore] >= 1 << isa.SEMAPHORE_BITS:
                raise MachineError(f"SEMAPHORE_OVERFLOW: semaphore {semaphore}")

    def _waits(self, unit: str, instruction: Instruction) -> Iterator[bool]:
        yield from self._take(unit, instruction.wait0, instruction.wait0_count)
        yield from self._take(unit, instruction.wait1, instruction.wait1_count)

    def _signals(self, instruction: Instruction) -> None:
        self._give(instruction.signal0, instruction.signal0_count)
        self._give(instruction.signal1, instruction.signal1_count)

    def _sequencer(self, entry: int) -> Iterator[bool]:
        words = self.memory[:self.memory.size // 4 * 4].view("<u4")
        registers = [0] * isa.ADDRESS_REGISTERS
        loops: list[list[int]] = []
        expander = assembly.Expander(self.config.instruction_slots)
        at = entry // 4
        mask = (1 << isa.ADDRESS_BITS) - 1
        while True:
            start = at
            try:
                instruction, length = expander.decode(words[at:at + isa.LONGEST].tolist(), 0)
            except assembly.IllegalInstruction:
                raise MachineError(f"ILLEGAL_INSTRUCTION at {4 * at:#x}") from None
            at += length
            if instruction.kind is isa.END:
                self._waiting["sequencer"] = "the units to end"
                while any(self._busy.values()) or any(self._queues.values()):
                    yield False
                self._done = True
                yield True
            elif instruction.kind is isa.LOOP:
                loops.append([at, instruction.count])
                if len(loops) > isa.LOOP_DEPTH or instruction.count == 0:
                    raise MachineError(f"LOOP_NESTING at {4 * start:#x}")
            elif instruction.kind is isa.NEXT:
                if not loops:
                    raise MachineError(f"LOOP_NESTING at {4 * start:#x}")
                loops[-1][1] -= 1
                if loops[-1][1]:
                    at = loops[-1][0]
                else:
                    loops.pop()
            elif instruction.kind is isa.JUMP:
                if loops:
                    raise MachineError(f"LOOP_NESTING at {4 * start:#x}")
                if instruction.address % 4:
                    raise MachineError(f"ILLEGAL_OPERAND: JUMP to {instruction.address:#x}")
                at = instruction.address // 4
            elif instruction.kind is isa.ADDRESS:
                if instruction.register:
                    base = registers[instruction.register] if instruction.add else 0
                    scale = self._length if instruction.scaled and self.config.clips else 1
                    registers[instruction.register] = base + instruction.value * scale & mask
            elif instruction.kind is isa.SYNC:
                yield from self._waits("sequencer", instruction)
                self._signals(instruction)
            else:
                yield from self._dispatch(instruction, registers)
            yield True

    def _dispatch(self, instruction: Instruction, registers: list[int]) -> Iterator[bool]:
        unit = isa.UNITS[instruction.kind.opcode >> 4]
        if unit in ("move_in", "move_out") and not self.config.external_bytes:
            raise MachineError(f"ILLEGAL_INSTRUCTION: {instruction.kind.name} on a machine without external memory")
        if unit == "depthwise" and not self.config.depthwise_lanes:
            raise MachineError("ILLEGAL_INSTRUCTION: DEPTHWISE on a machine without a depthwise unit")
        if unit == "softmax" and not self.config.softmax_lanes:
            raise MachineError("ILLEGAL_INSTRUCTION: SOFTMAX on a machine without a softmax unit")
        if unit == "norm" and not self.config.norm_lanes:
            raise MachineError("ILLEGAL_INSTRUCTION: NORM on a machine without a norm unit")
        if unit in ("pack", "unpack") and not self.config.codec_lanes:
            raise MachineError(f"ILLEGAL_INSTRUCTION: {instruction.kind.name} on a machine without a codec")
        mask = (1 << isa.ADDRESS_BITS) - 1
        values = dict(instruction.values)
        for letter in "abc":
            values[letter] = values[letter] + registers[values[f"{letter}_register"]] & mask
        queue = self._queues[unit]
        # The deserialiser holds one instruction, the FIFO in front of it `queue_words`.
        while sum(i.kind.length for i in queue) > self.config.queue_words:
            self._waiting["sequencer"] = f"room in the queue of {unit}"
            yield False
        queue.append(Instruction(instruction.kind, values))

    def _unit(self, name: str, execute: Callable[[Instruction], Iterator[bool]]) -> Iterator[bool]:
        queue = self._queues[name]
        while True:
            if not queue:
                yield False
                continue
            self._busy[name] = True
            instruction = queue.popleft()
            instruction = Instruction(instruction.kind, clipped(instruction.kind, instruction.values, self._length))
            yield from self._waits(name, instruction)
            yield from execute(instruction)
            if self.on_retired:
                self.on_retired(name, instruction, self.instructions[name])
            self.instructions[name] += 1
            self._signals(instruction)
            self._busy[name] = False
            yield True

    def _host(self, feeds: Iterable[tuple[HostRow, NDArray[np.uint8]]]) -> Iterator[bool]:
        for feed, row in feeds:
            for semaphore, count in feed.after.items():
                while self._semaphores[semaphore] < count:
                    self._waiting["host"] = f"{count} of semaphore {semaphore} (it has {self._semaphores[semaphore]})"
                    yield False
            self.memory[self._range(feed.address, row.size)] = row
            for semaphore in feed.gives:
                self._give(semaphore, 1)
            yield True
        while True:
            yield False

    def _range(self, address: int, size: int) -> slice:
        if not 0 <= address <= address + size <= self.memory.size:
            raise MachineError(f"ADDRESS_OUT_OF_RANGE: {address:#x} to {address + size:#x} of {self.memory.size:#x}")
        return slice(address, address + size)

    def _move(self, instruction: Instruction, inward: bool) -> Iterator[bool]:
        i = instruction
        address, external = i.a, i.external
        if i.indexed and not (inward and self.config.activation_products):
            raise MachineError(f"ILLEGAL_OPERAND: {i.kind.name} by numbers on a machine that has none")
        if i.indexed and i.c % 4:
            raise MachineError(f"ILLEGAL_OPERAND: numbers of blocks at {i.c:#x}")
        for block in range(i.blocks):
            if i.indexed:
                number = int(self.memory[self._range(i.c + 4 * block, 4)].view("<u4")[0])
                external = i.external + number * i.external_step & 0xFFFFFFFF
            yield from self._take("move_in" if inward else "move_out", i.take, 1)
            inside = self._range(address, i.block_bytes)
            if external + i.block_bytes > self.external.size:
                raise MachineError(f"the external memory of {self.external.size} bytes ends before "
                                   f"{external + i.block_bytes}")
            if inward:
                self.memory[inside] = self.external[external:external + i.block_bytes]
            else:
                self.external[external:external + i.block_bytes] = self.memory[inside]
            self._give(i.give, 1)
            address += i.step
            if i.ring_bytes and address >= i.ring + i.ring_bytes:
                address -= i.ring_bytes
            external += i.external_step

    def _move_in(self, instruction: Instruction) -> Iterator[bool]:
        return self._move(instruction, True)

    def _move_out(self, instruction: Instruction) -> Iterator[bool]:
        return self._move(instruction, False)

    def _array(self, instruction: Instruction) -> Iterator[bool]:
        i, c = instruction, self.config
        try:
            check_array(i, c)
        except ValueError as error:
            raise MachineError(f"ILLEGAL_OPERAND: {error}") from None
        x = input_tiles(i, self.memory, c.rows)
        addresses = weight_addresses(i, c.rows, c.word_bytes)
        for tile in range(i.tiles):
            while len(self._blocks) >= 2:
                self._waiting["array"] = "a free half of the accumulators"
                yield False
            total = np.zeros((i.rows_y * i.rows_x, c.cols))
            for k in range(len(x)):
                yield from self._take("array", i.ready, 1)
                at = addresses[tile, k]
                self._range(int(at.max()), c.word_bytes)
                words = self.memory[at[:, None] + np.arange(c.cols)].view(np.int8).astype(np.float64)
                total += x[k] @ (words.T if i.transposed else words)  # exact: every sum is below 2**53
                self._give(i.free, 1)
            self._blocks.append(total.astype(np.int64).astype(np.int32))
            yield True

    def _vector(self, instruction: Instruction) -> Iterator[bool]:
        taken: list[NDArray[np.int32]] = []
        if instruction.source == isa.ACCUMULATORS:
            while len(taken) < instruction.tiles:
                while not self._blocks:
                    self._waiting["vector"] = "a block of accumulators"
                    yield False
                taken.append(self._blocks.popleft())
        c = self.config
        execute_vector(instruction, self.memory, iter(taken), c.cols, c.word_bytes, c.vector_lanes)

    def _depthwise(self, instruction: Instruction) -> Iterator[bool]:
        execute_depthwise(instruction, self.memory, self.config.cols, self.config.word_bytes)
        yield True

    def _softmax(self, instruction: Instruction) -> Iterator[bool]:
        execute_softmax(instruction, self.memory, self.config.word_bytes)
        yield True

    def _norm(self, instruction: Instruction) -> Iterator[bool]:
        execute_norm(instruction, self.memory, self.config.word_bytes)
        yield True

    def _pack(self, instruction: Instruction) -> Iterator[bool]:
        assert self.pages is not None
        self.pages.pack(instruction)
        yield True

    def _unpack(self, instruction: Instruction) -> Iterator[bool]:
        assert self.pages is not None
        self.pages.unpack(instruction)
        yield True
