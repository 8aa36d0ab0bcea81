"""VECTOR instructions under Icarus: the cases of `tests/test_vector_unit.py`, every port stalling."""

from collections.abc import Iterator
from typing import Any

import cocotb
import numpy as np

from systolith.rtl.isa import VECTOR
from systolith.rtl.ports import Give, Retired, Take, accumulator_row
from systolith.rtl.vector_unit import VectorUnit
from systolith.sim.golden.vector import execute_vector
from tb.harness import parameters
from tb.streams import PATIENCE, Sink, Source, read, sample, serve_read, serve_write, stalls, start, unpack
from tests.vector_cases import Cases, semaphores

LIMIT = 6 * PATIENCE
"""Cycles that a program may take."""
SIZES = ((4, 4, 4), (3, 4, 2), (13, 16, 4))


def benches() -> Iterator[tuple[str, VectorUnit, dict[str, int]]]:
    for cols, word_bytes, lanes in SIZES:
        yield (f"vector_unit_{cols}_{word_bytes}_{lanes}", VectorUnit(cols, word_bytes, lanes),
               {"cols": cols, "word_bytes": word_bytes, "lanes": lanes})


@cocotb.test()
async def instructions(dut: Any) -> None:
    """Memory, semaphores and retirements after a program of all modes."""
    given = parameters()
    cols, word_bytes = given["cols"], given["word_bytes"]
    program = semaphores(Cases(cols, cols, word_bytes).program(16), 5)
    expected = program.memory.copy()
    feed = iter(program.blocks)
    for instruction in program.instructions:
        execute_vector(instruction, expected, feed, cols, word_bytes, given["lanes"])
    memory = bytearray(program.memory.tobytes())
    source = Source(dut, "instruction", VECTOR.layout())
    rows = Source(dut, "accumulators", accumulator_row(cols))
    take, give = Sink(dut, "take", Take), Sink(dut, "give", Give)
    for seed, port in enumerate(("read", "params")):
        serve_read(dut, port, memory, 4, stalls(seed))
    serve_write(dut, "write", memory, word_bytes, stalls(7))
    await start(dut)
    source.feed(program.words(), stalls(3))
    rows.feed(program.rows(), stalls(4))
    ends = [cocotb.start_soon(take.check(program.semaphores("wait"), stalls(5), LIMIT)),
            cocotb.start_soon(give.check(program.semaphores("signal"), stalls(6), LIMIT))]
    tags: list[int] = []
    for _ in range(LIMIT):
        retired, error = await sample(dut, dut.retired, dut.error)
        assert not error
        end = unpack(Retired, retired)
        if end["valid"]:
            tags.append(end["tag"])
        if len(tags) == len(program.instructions):
            break
    assert tags == [i.tag for i in program.instructions]
    for end in ends:
        await end
    for _ in range(5):
        await sample(dut, dut.clk)
    assert not read(dut.busy)
    np.testing.assert_array_equal(np.frombuffer(memory, np.uint8), expected)
