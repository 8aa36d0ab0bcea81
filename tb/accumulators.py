"""Accumulators under Icarus: slanted sums in, finished rows out, the output stalling for longer than a block."""

import random
from collections import deque
from collections.abc import Iterator
from typing import Any

import cocotb
from amaranth import signed
from amaranth.lib import data
from cocotb.triggers import RisingEdge, Timer

from systolith.rtl.accumulators import Accumulators, Entry, Wave
from systolith.rtl.ports import accumulator_row
from tb.harness import parameters
from tb.streams import Sink, pack, read, silent, stalls, start

DELAY = 6  # cycles from a row's entry to its wave


def benches() -> Iterator[Any]:
    yield "accumulators", Accumulators(6, 3, 18), {"depth": 6, "cols": 3, "width": 18}


async def enter(dut: Any, rows: list[Any]) -> None:
    """Enter `rows` (swap, begin, first, last, index, sums) as the array does."""
    p = parameters()
    entry, wave, sums = Entry(p["depth"]), Wave(p["depth"]), data.ArrayLayout(signed(p["width"]), p["cols"])
    pipe: deque[Any] = deque([None] * (DELAY + p["cols"]), maxlen=DELAY + p["cols"])
    waiting = deque(rows)
    while waiting or any(pipe):
        await RisingEdge(dut.clk)
        row, half = pipe[DELAY - 1] or (None, 0)
        dut.wave.value = pack(wave, {"valid": int(row is not None), "half": half, **(
            {"first": row[2], "last": row[3], "index": row[4]} if row else {})})
        slanted = [pipe[DELAY - 1 + col] for col in range(p["cols"])]
        dut.sums.value = pack(sums, [held[0][5][col] if held else -1 for col, held in enumerate(slanted)])
        row = waiting[0] if waiting else None
        if row:
            dut.entry.value = pack(entry, dict(zip(("swap", "begin", "first", "last", "index"), row, strict=False)))
        await Timer(1, "ns")  # `open` follows `entry` in the same cycle
        may = row is not None and read(dut.open) == 1
        dut.enter.value = int(may)
        pipe.appendleft((row, read(dut.half)) if may else None)
        if may:
            waiting.popleft()
    dut.enter.value = 0


async def run(dut: Any, stall: bool) -> None:
    p = parameters()
    rng = random.Random(4)
    limit = 1 << p["width"] - 1
    rows: list[Any] = []
    expected: list[Any] = []
    for _ in range(16):
        length, tiles = rng.randint(1, p["depth"]), rng.randint(1, 3)
        total = [[0] * p["cols"] for _ in range(length)]
        for tile in range(tiles):
            for index in range(length):
                row = [rng.randrange(-limit, limit) for _ in range(p["cols"])]
                total[index] = [a + b for a, b in zip(total[index], row, strict=True)]
                last = tile == tiles - 1 and index == length - 1
                rows.append((int(index == 0), int(tile == index == 0), int(tile == 0), int(last), index, row))
        expected += [{"data": row, "last": int(index == length - 1)} for index, row in enumerate(total)]
    sink = Sink(dut, "o", accumulator_row(p["cols"]))
    dut.entry.value = dut.enter.value = dut.wave.value = dut.sums.value = 0
    await start(dut)
    cocotb.start_soon(enter(dut, rows))
    await sink.check(expected, stalls(1) if stall else None)
    await silent(dut, "o")
    assert not read(dut.active)


@cocotb.test()
async def flowing(dut: Any) -> None:
    await run(dut, False)


@cocotb.test()
async def stalling(dut: Any) -> None:
    await run(dut, True)
