"""NORM instructions under Icarus: the cases of `tests/test_norm_unit.py`, every port stalling."""

from collections.abc import Iterator
from typing import Any

import cocotb
import numpy as np

from systolith.rtl.isa import NORM
from systolith.rtl.norm_unit import NormUnit
from tb.harness import parameters
from tb.streams import serve_read, serve_write, stalls
from tb.units import execute
from tests.norm_cases import Cases

SIZES = ((4, 2), (16, 4), (32, 8))


def benches() -> Iterator[tuple[str, NormUnit, dict[str, int]]]:
    for word_bytes, lanes in SIZES:
        yield (f"norm_unit_{word_bytes}_{lanes}", NormUnit(word_bytes, lanes),
               {"word_bytes": word_bytes, "lanes": lanes})


@cocotb.test()
async def instructions(dut: Any) -> None:
    """Memory, semaphores and retirements after a program of random instructions."""
    given = parameters()
    word_bytes = given["word_bytes"]
    cases = Cases(word_bytes + given["lanes"], word_bytes)
    program = cases.program(*cases.random_shapes(8), (3, 700), (1, 1))
    memory = bytearray(program.memory.tobytes())
    serve_read(dut, "read", memory, 6, stalls(1))
    serve_write(dut, "write", memory, word_bytes, stalls(2))
    await execute(dut, NORM.layout(), program.payloads(), program, {})
    np.testing.assert_array_equal(np.frombuffer(memory, np.uint8), program.expected(word_bytes))
