"""SOFTMAX instructions under Icarus: the cases of `tests/test_softmax_unit.py`, every port stalling."""

from collections.abc import Iterator
from typing import Any

import cocotb
import numpy as np

from systolith.rtl.isa import SOFTMAX
from systolith.rtl.ports import Give, Retired, Take
from systolith.rtl.softmax_unit import SoftmaxUnit
from tb.harness import parameters
from tb.streams import PATIENCE, Sink, Source, read, sample, serve_read, serve_write, stalls, start, unpack
from tests.softmax_cases import Cases

LIMIT = 6 * PATIENCE
"""Cycles that a program may take."""
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
    source = Source(dut, "instruction", SOFTMAX.layout())
    take, give = Sink(dut, "take", Take), Sink(dut, "give", Give)
    serve_read(dut, "read", memory, 6, stalls(1))
    serve_write(dut, "write", memory, word_bytes, stalls(2))
    await start(dut)
    source.feed(program.payloads(), stalls(3))
    ends = [cocotb.start_soon(take.check(program.semaphores("wait"), stalls(4), LIMIT)),
            cocotb.start_soon(give.check(program.semaphores("signal"), stalls(5), LIMIT))]
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
    for task in ends:
        await task
    for _ in range(5):
        await sample(dut, dut.clk)
    assert not read(dut.busy)
    np.testing.assert_array_equal(np.frombuffer(memory, np.uint8), program.expected(word_bytes))
