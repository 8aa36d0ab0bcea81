"""Performance counters under Icarus."""

import random
from collections.abc import Iterator
from typing import Any

import cocotb
from cocotb.triggers import RisingEdge

from systolith.rtl.counters import Counters
from tb.streams import read, start

NAMES = ["a", "b", "c"]


def benches() -> Iterator[Any]:
    yield "counters", Counters(NAMES), {}


@cocotb.test()
async def sums(dut: Any) -> None:
    """Events of cycles that run, cycles, and the read port."""
    rng = random.Random(1)
    for name in ("events", "running", "clear", "index"):
        getattr(dut, name).value = 0
    await start(dut)
    expected = [0] * 4
    for _ in range(300):
        events, running = rng.getrandbits(3), rng.getrandbits(1)
        dut.events.value, dut.running.value = events, running
        await RisingEdge(dut.clk)
        expected = [count + running * event for count, event in
                    zip(expected, [1, *(events >> i & 1 for i in range(3))], strict=True)]
    dut.running.value = 0
    await RisingEdge(dut.clk)
    assert read(dut.values) == sum(count << 32 * i for i, count in enumerate(expected))
    for index, count in enumerate([*expected, 0]):
        dut.index.value = index
        await RisingEdge(dut.clk)
        await RisingEdge(dut.clk)
        assert read(dut.value) == count
    await RisingEdge(dut.clk)
    dut.clear.value = 1
    await RisingEdge(dut.clk)
    dut.clear.value = 0
    await RisingEdge(dut.clk)
    assert read(dut.values) == 0
