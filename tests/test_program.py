"""Programs whose instructions need any number of waits and signals: a small interpreter of semaphores runs them in
orders that the hardware could choose, and looks that nothing starts before what it depends on and nothing hangs."""

import random
from dataclasses import dataclass

import numpy as np
import pytest

from systolith.gen.emit.program import Issued, Program, Region
from systolith.gen.errors import UserError
from systolith.rtl import assembly, isa
from systolith.rtl.config import Config
from systolith.rtl.isa import Instruction
from systolith.sim.machine.machine import Machine

KINDS = {"move_in": isa.MOVE_IN, "array": isa.ARRAY, "vector": isa.VECTOR, "move_out": isa.MOVE_OUT,
         "depthwise": isa.DEPTHWISE, "softmax": isa.SOFTMAX, "norm": isa.NORM}
SEMAPHORES = 32
SCRATCH = 12345


@dataclass
class Access:
    """An instruction, and those of other units that must be complete before it."""

    unit: str
    issued: Issued
    before: list["Access"]


class Written:
    """A program under construction beside what its instructions depend on, byte by byte."""

    def __init__(self) -> None:
        self.program, self.all = Program(), list[Access]()
        self._writers: dict[int, list[Access]] = {}
        self._readers: dict[int, list[Access]] = {}
        self._made: tuple[list[Instruction], dict[Issued, int]] | None = None

    def add(self, unit: str, reads: list[Region], writes: list[Region]) -> Access:
        one = Access(unit, self.program.add(KINDS[unit], reads, writes), [])
        read, written = (
            {at for region in regions for at in range(region.address, region.address + region.size)}
            for regions in (reads, writes))
        for at in read | written:
            one.before += self._writers.get(at, [])
            if at in written:
                one.before += self._readers.get(at, [])
        for at in read:
            self._readers.setdefault(at, []).append(one)
        for at in written:
            self._writers.setdefault(at, []).append(one)
        self.all.append(one)
        return one

    def made(self) -> tuple[list[Instruction], dict[Issued, int]]:
        """The program's instructions, with numbers of those that are not idle."""
        if self._made is None:
            self._made = self.program.instructions([], SCRATCH, SEMAPHORES)
        return self._made


def interpret(written: Written, choose: random.Random, favourite: str = "") -> None:
    """Runs the program: units take turns as `choose` says, the favourite one whenever it can."""
    instructions, numbers = written.made()
    assert instructions[-1].kind is isa.END
    queues: dict[str, list[Instruction]] = {unit: [] for unit in isa.UNITS.values()}
    for one in instructions[:-1]:
        queues[isa.UNITS[one.kind.opcode >> 4]].append(one)
    places = {(access.unit, numbers[access.issued]): access for access in written.all}
    semaphores, done, position = [0] * SEMAPHORES, set[int](), dict.fromkeys(queues, 0)
    step = dict.fromkeys(queues, 0)  # 0, 1: waits; 2: works

    def can(unit: str) -> bool:
        if position[unit] == len(queues[unit]):
            return False
        one = queues[unit][position[unit]]
        wait, count = ((one.wait0, one.wait0_count), (one.wait1, one.wait1_count), (0, 0))[step[unit]]
        return not wait or semaphores[wait] >= count

    while ready := [unit for unit in queues if can(unit)]:
        unit = favourite if favourite in ready else choose.choice(ready)
        one, access = queues[unit][position[unit]], places.get((unit, position[unit]))
        if step[unit] < 2:
            wait, count = ((one.wait0, one.wait0_count), (one.wait1, one.wait1_count))[step[unit]]
            semaphores[wait] -= count if wait else 0
            step[unit] += 1
            if step[unit] == 2 and access:
                assert all(id(other) in done for other in access.before if other.unit != unit), "starts too early"
            continue
        for signal, count in ((one.signal0, one.signal0_count), (one.signal1, one.signal1_count)):
            semaphores[signal] += count if signal else 0
        if access:
            done.add(id(access))
        else:
            assert one.kind is isa.VECTOR and one.c == SCRATCH  # an idle one
        step[unit], position[unit] = 0, position[unit] + 1
    assert len(done) == len(written.all), "the program hangs"
    assert not any(semaphores[1:])


def spread(kinds: list[str], last: str) -> Written:
    """An instruction that reads what one of each other unit has made."""
    written = Written()
    for at, unit in enumerate(kinds):
        written.add(unit, [], [Region(4 * at, 4)])
    written.add(last, [Region(0, 4 * len(kinds))], [])
    return written


def gathered(first: str, kinds: list[str]) -> Written:
    """An instruction whose bytes one of each other unit reads."""
    written = Written()
    written.add(first, [], [Region(0, 4)])
    for unit in kinds:
        written.add(unit, [Region(0, 4)], [])
    return written


@pytest.mark.parametrize("unit", KINDS)
@pytest.mark.parametrize("count", [2, 3, 4, 5, 6])
def test_any_number_of_waits_and_signals(unit: str, count: int) -> None:
    others = [other for other in KINDS if other != unit][:count]
    for written in (spread(others, unit), gathered(unit, others)):
        idle = [one for one in written.made()[0][:-1] if one.c == SCRATCH and one.kind is isa.VECTOR]
        assert bool(idle) == (count > 2) and len(idle) <= 3
        for favourite in ("", *KINDS):
            interpret(written, random.Random(count), favourite)


@pytest.mark.parametrize("seed", range(60))
def test_random_programs(seed: int) -> None:
    """Few bytes that everybody reads and writes."""
    rng, written = random.Random(seed), Written()
    kinds = rng.sample(list(KINDS), rng.randint(3, 4))
    for _ in range(60):
        reads = [Region(at, rng.randint(1, 3)) for at in rng.sample(range(20), rng.randint(0, 4))]
        writes = [Region(at, rng.randint(1, 3), rng.random() < 0.3) for at in rng.sample(range(20), rng.randint(0, 2))]
        written.add(rng.choice(kinds), reads, writes)
    for favourite in ("", *kinds):
        interpret(written, rng, favourite)


def test_a_wait_in_advance_takes_nothing_that_others_need() -> None:
    """The softmax unit's second instruction waits for three, among them a norm that waits for its first one, which
    waits for another norm: an idle vector instruction comes to its waits long before."""
    written = Written()
    written.add("norm", [], [Region(0, 4)])
    written.add("depthwise", [], [Region(4, 4)])
    written.add("softmax", [Region(0, 8)], [Region(8, 4)])
    written.add("move_in", [], [Region(12, 4)])
    written.add("move_out", [Region(16, 4)], [])
    written.add("norm", [Region(8, 4)], [Region(20, 4)])
    written.add("softmax", [Region(12, 4), Region(20, 4)], [Region(16, 4)])
    for favourite in ("", *KINDS):
        for seed in range(20):
            interpret(written, random.Random(seed), favourite)


def test_leave_given_behind_takes_nothing_that_others_need() -> None:
    """A norm for which three units wait, between another one and the vector instruction that waits for that."""
    written = Written()
    written.add("norm", [], [Region(0, 4)])
    written.add("norm", [], [Region(4, 4)])
    for unit in ("array", "softmax", "depthwise"):
        written.add(unit, [Region(4, 4)], [])
    written.add("vector", [Region(0, 4)], [])
    for seed in range(40):
        interpret(written, random.Random(seed), "vector" if seed % 2 else "")


def test_a_piece_starts_with_its_idle_instructions() -> None:
    written = Written()
    for at, unit in enumerate(("norm", "depthwise", "softmax")):
        written.add(unit, [], [Region(4 * at, 4)])
    written.program.mark()
    written.add("array", [Region(0, 12)], [])
    written.program.mark()
    written.add("array", [], [])
    names = [one.kind.name for one in written.made()[0]]
    assert names[3:] == ["VECTOR", "ARRAY", "ARRAY", "END"] and written.program.starts == [3, 5]


def test_the_machine_runs_them() -> None:
    """A move takes what three units have made, and what it brings three units read."""
    program, zero = Program(), Region(1 << 15, 64)
    vector = {"source": isa.MEMORY, "tiles": 1, "ny": 1, "nx": 1, "wy": 1, "wx": 1, "elems": 16, "elems_last": 16,
              "params": zero.address, "a": 0x6000}
    config = Config(external_bytes=8)
    table, c = 0x7000, 0x6400
    for _ in range(2):
        program.add(isa.VECTOR, [], [Region(0x6100, 16)], None, "", **vector, c=0x6100)
        program.add(isa.SOFTMAX, [Region(0x6000, 16)], [Region(0x6110, 16)], a=0x6000, b=table, c=0x6110, rows=1,
                    elems=16)
        program.add(isa.MOVE_IN, [], [Region(0x6120, 16)], a=0x6120, blocks=1, external=0, block_bytes=16)
        program.add(isa.MOVE_OUT, [Region(0x6100, 48)], [], a=0x6100, blocks=1, external=256, block_bytes=48)
        program.add(isa.SOFTMAX, [Region(0x6120, 16)], [Region(c, 16)], a=0x6120, b=table, c=c, rows=1, elems=16)
    instructions, _ = program.instructions([], SCRATCH, SEMAPHORES)
    words = assembly.assemble(instructions, config.instruction_slots)
    memory = np.zeros(config.memory_bytes, np.uint8)
    memory[:4 * len(words)] = np.array(words, "<u4").view(np.uint8)
    memory[table:table + 1024] = np.frombuffer(np.full(256, 1 << 24, "<i4").tobytes(), np.uint8)
    external = bytes(range(1, 17)) + bytes(1024)
    machine = Machine(config, memory.tobytes(), external)
    machine.run()
    assert machine.instructions["vector"] > 2 and machine.instructions["softmax"] == 4
    softmax = bytes([0x90] * 16)  # a sixteenth each
    assert machine.external[256:304].tobytes() == bytes(16) + softmax + external[:16]


def test_semaphores_run_out() -> None:
    written = spread(["array", "depthwise", "softmax", "norm"], "move_in")
    with pytest.raises(UserError, match="the program needs 7 semaphores; the machine has 6"):
        written.program.instructions([], SCRATCH, 7)
