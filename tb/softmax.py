"""SOFTMAX instructions under Icarus: the cases of `tests/test_softmax_unit.py`, every port stalling."""

from collections.abc import Iterator
from typing import Any

import cocotb
import numpy as np

from systolith.rtl.isa import SOFTMAX
from systolith.rtl.softmax_unit import SoftmaxUnit
from tb.harness import parameters
from tb.streams import serve_read, serve_write, stalls
from tb.units import execute
from tests.softmax_cases import Cases

SIZES = ((4, 4), (16, 4), (32, 8))


def benches() -> Iterator[tuple[str, SoftmaxUnit, dict[str, int]]]:
    for word_bytes, lanes in SIZES:
        yield (f"softmax_unit_{word_bytes}_{lanes}", SoftmaxUnit(word_bytes, lanes),
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
    await execute(dut, SOFTMAX.layout(), program.payloads(), program, {})
    np.testing.assert_array_equal(np.frombuffer(memory, np.uint8), program.expected(word_bytes))
