"""The weight loader's Verilog: order, rings and semaphores, all sides stalling."""

from collections.abc import Iterator
from typing import Any

import cocotb
from amaranth import signed
from amaranth.lib import data

from systolith.rtl.isa import ARRAY
from systolith.rtl.ports import Give, Take
from systolith.rtl.weights import WeightLoader
from tb import harness
from tb.streams import Sink, Source, sample, serve_read, silent, stalls, start
from tests.array_instructions import weight_tiles
from tests.test_weights import MEMORY, addresses, program, row


def benches() -> Iterator[tuple[str, Any, dict[str, Any]]]:
    """Components to test."""
    for rows, cols, word_bytes, strides in ((4, 4, 4, False), (5, 3, 8, True)):
        parameters = dict(rows=rows, cols=cols, word_bytes=word_bytes, strides=strides)
        yield f"weights_{rows}x{cols}", WeightLoader(**parameters), parameters


@cocotb.test()
async def tiles_in_order(dut: Any) -> None:
    """Random instructions."""
    p = harness.parameters()
    rows, cols, word_bytes = p["rows"], p["cols"], p["word_bytes"]
    instructions = program(rows + 1, rows, word_bytes, 6, p["strides"])
    source = Source(dut, "i", ARRAY.layout())
    sink = Sink(dut, "o", data.ArrayLayout(signed(8), cols))
    take, give = Sink(dut, "take", Take), Sink(dut, "give", Give)
    serve_read(dut, "memory", bytearray(MEMORY), 4, stalls(2))
    await start(dut)
    source.feed([i.values for i in instructions], stalls(1))
    takes, gives = ([dict(semaphore=getattr(i, name), count=1) for i in instructions
                     for _ in range(weight_tiles(i)) if getattr(i, name)] for name in ("ready", "free"))
    semaphores = [cocotb.start_soon(take.check(takes, stalls(3))), cocotb.start_soon(give.check(gives, stalls(4)))]
    await sink.check([row(a, cols) for i in instructions for a in addresses(i, rows, word_bytes)], stalls(5))
    for task in semaphores:
        await task
    for name in ("o", "take", "give"):
        await silent(dut, name, 20)
    assert await sample(dut, dut.busy, dut.taking) == [0, 0]
