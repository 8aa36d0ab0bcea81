"""DEPTHWISE instructions under Icarus: the cases of `tests/test_depthwise.py`, every port stalling."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cocotb
import numpy as np

from systolith.rtl.depthwise import DepthwiseUnit
from systolith.rtl.isa import DEPTHWISE
from tb.harness import parameters
from tb.streams import PATIENCE, serve_read, serve_write, stalls
from tb.units import execute
from tests.depthwise_cases import DepthwiseCases

LIMIT = 20 * PATIENCE
"""Cycles that a program may take."""
SIZES = ((4, 4, 16, "ecp5"), (5, 8, 10, "generic"), (13, 16, 52, "generic"))
MODEL = Path(__file__).resolve().parent / "models" / "MULT18X18D.v"


def benches() -> Iterator[tuple[str, DepthwiseUnit, dict[str, int], list[Path]]]:
    for cols, word_bytes, lanes, multiplier in SIZES:
        yield (f"depthwise_{cols}_{word_bytes}_{lanes}", DepthwiseUnit(cols, word_bytes, lanes, multiplier),
               {"cols": cols, "word_bytes": word_bytes}, [MODEL] if multiplier == "ecp5" else [])


@cocotb.test()
async def instructions(dut: Any) -> None:
    """Memory, semaphores and retirements after a program of all kinds."""
    given = parameters()
    cols, word_bytes = given["cols"], given["word_bytes"]
    program = DepthwiseCases(cols, cols, word_bytes).program(12, semaphores=True)
    expected = program.result(cols, word_bytes)
    memory = bytearray(program.memory.tobytes())
    serve_read(dut, "read", memory, 5, stalls(1))
    serve_write(dut, "write", memory, word_bytes, stalls(2))
    await execute(dut, DEPTHWISE.layout(), program.words(), program, {}, LIMIT)
    np.testing.assert_array_equal(np.frombuffer(memory, np.uint8), expected)
