"""VECTOR instructions under Icarus: the cases of `tests/test_vector_unit.py`, every port stalling."""

from collections.abc import Iterator
from typing import Any

import cocotb
import numpy as np

from systolith.rtl.isa import VECTOR
from systolith.rtl.ports import accumulator_row
from systolith.rtl.vector_unit import VectorUnit
from systolith.sim.golden.vector import execute_vector
from tb.harness import parameters
from tb.streams import serve_read, serve_write, stalls
from tb.units import execute
from tests.vector_cases import Cases, semaphores

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
    for seed, port in enumerate(("read", "params")):
        serve_read(dut, port, memory, 4, stalls(seed))
    serve_write(dut, "write", memory, word_bytes, stalls(7))
    feeds = {"accumulators": (accumulator_row(cols), program.rows())}
    await execute(dut, VECTOR.layout(), program.words(), program, feeds)
    np.testing.assert_array_equal(np.frombuffer(memory, np.uint8), expected)
