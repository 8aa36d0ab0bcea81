"""Hazards against a model that remembers every byte, and the waits of a program."""

import random

import pytest

from systolith.gen.emit.hazards import Hazards
from systolith.gen.emit.program import Program, Region
from systolith.rtl import isa

UNITS = ("vector", "array", "depthwise")


@pytest.mark.parametrize("seed", range(20))
def test_against_a_history_of_every_byte(seed):
    rng = random.Random(seed)
    hazards = Hazards()
    writers = [dict[str, int]() for _ in range(64)]
    readers = [dict[str, int]() for _ in range(64)]
    for number in range(200):
        unit, address = rng.choice(UNITS), rng.randrange(64)
        size = rng.randint(1, 64 - address)
        expected: dict[str, int] = {}
        partly = rng.random() < 0.3
        write = rng.random() < 0.5
        for byte in range(address, address + size):
            for history in (writers[byte], readers[byte]) if write else (writers[byte],):
                for name, at in history.items():
                    expected[name] = max(at, expected.get(name, -1))
            if not write:
                readers[byte][unit] = number
            elif partly:
                writers[byte][unit] = number
            else:
                writers[byte], readers[byte] = {unit: number}, {}
        found = (hazards.write(address, size, unit, number, partly=partly) if write
                 else hazards.read(address, size, unit, number))
        assert found == expected


def _waits(program: Program) -> list[tuple[str, list[int], list[int]]]:
    """(name, semaphores waited for, semaphores signalled) of each instruction."""
    instructions, _ = program.instructions([], 0, 16)
    return [(i.kind.name, [s for s in (i.wait0, i.wait1) if s], [s for s in (i.signal0, i.signal1) if s])
            for i in instructions[:-1]]


def test_a_reader_waits_for_the_writer_once():
    program = Program()
    program.add(isa.VECTOR, (), [Region(0, 16)])
    program.add(isa.ARRAY, [Region(0, 8)])
    program.add(isa.ARRAY, [Region(8, 8)])  # known by now
    program.add(isa.ARRAY, [Region(16, 8)])  # nobody made it
    assert _waits(program) == [("VECTOR", [], [3]), ("ARRAY", [3], []), ("ARRAY", [], []), ("ARRAY", [], [])]


def test_what_is_known_through_others_is_not_waited_for():
    program = Program()
    program.add(isa.VECTOR, (), [Region(0, 16)])
    program.add(isa.DEPTHWISE, [Region(0, 16)], [Region(16, 16)])
    program.add(isa.ARRAY, [Region(0, 32)])  # waits for the depthwise unit, which waited for the vector unit
    assert _waits(program) == [("VECTOR", [], [3]), ("DEPTHWISE", [3], [4]), ("ARRAY", [4], [])]


def test_a_writer_waits_for_readers_of_other_units_only():
    program = Program()
    program.add(isa.DEPTHWISE, [Region(0, 16)], [Region(16, 16)])
    program.add(isa.VECTOR, [Region(32, 16)], [Region(0, 16)])
    program.add(isa.VECTOR, [Region(48, 16)], [Region(32, 16)])
    assert _waits(program) == [("DEPTHWISE", [], [3]), ("VECTOR", [3], []), ("VECTOR", [], [])]


def test_a_unit_that_runs_ahead_waits_for_its_own_results():
    program = Program()
    program.add(isa.VECTOR, (), [Region(0, 16)])
    program.add(isa.VECTOR, [Region(0, 16)], [Region(16, 16)])
    assert _waits(program) == [("VECTOR", [], [3]), ("VECTOR", [3], [])]


def test_more_than_two_waits_and_signals_take_idle_instructions():
    program = Program()
    program.add(isa.ARRAY, [Region(0, 4)])
    program.add(isa.MOVE_IN, (), [Region(4, 4)])
    program.add(isa.DEPTHWISE, [Region(100, 4)], [Region(8, 4)])
    last = program.add(isa.VECTOR, [Region(4, 8)], [Region(0, 4)])
    assert [(name, len(waits)) for name, waits, _ in _waits(program)][3:] == [("VECTOR", 1), ("VECTOR", 2)]
    instructions, numbers = program.instructions([], 77, 16)
    assert instructions[3].c == 77 and numbers[last] == 1
    program = Program()
    program.add(isa.VECTOR, (), [Region(0, 4)])
    for kind in (isa.ARRAY, isa.DEPTHWISE, isa.SOFTMAX):
        program.add(kind, [Region(0, 4)])
    assert [(name, len(signals)) for name, _, signals in _waits(program)][:2] == [("VECTOR", 2), ("VECTOR", 1)]


def test_others_wait_for_three_by_an_idle_instruction():
    program = Program()
    for at, kind in enumerate((isa.NORM, isa.DEPTHWISE, isa.SOFTMAX)):
        program.add(kind, (), [Region(4 * at, 4)])
    program.add(isa.ARRAY, [Region(0, 12)])
    program.add(isa.MOVE_OUT, [Region(0, 12)])  # the vector unit knows two of the three by now
    made = _waits(program)
    assert [(name, len(waits)) for name, waits, _ in made[3:]] == [
        ("VECTOR", 2), ("ARRAY", 2), ("MOVE_OUT", 2)]
    assert set(made[4][1]) & set(made[3][2])
