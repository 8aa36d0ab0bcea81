"""Semaphores under Icarus: takes and gives in balance, all granted, nothing granted twice."""

import random
from collections.abc import Iterator
from typing import Any

import cocotb
from cocotb.triggers import RisingEdge

from systolith.rtl.ports import Give, Take
from systolith.rtl.semaphores import Semaphores
from tb.harness import parameters
from tb.streams import Source, read, stalls, start


def benches() -> Iterator[Any]:
    yield "semaphores_5_4", Semaphores(5, 4), {"takers": 5, "givers": 4}
    yield "semaphores_1_1", Semaphores(1, 1), {"takers": 1, "givers": 1}


@cocotb.test()
async def balance(dut: Any) -> None:
    """Every taker has a semaphore of its own and takes in total what is given to it."""
    takers, givers = parameters()["takers"], parameters()["givers"]
    rng = random.Random(takers)
    takes = [Source(dut, f"takes__{i}", Take) for i in range(takers)]
    gives = [Source(dut, f"gives__{i}", Give) for i in range(givers)]
    wanted = [[{"semaphore": t + 1, "count": rng.randint(0, 5)} for _ in range(80)] for t in range(takers)]
    given: list[list[dict[str, int]]] = [[] for _ in range(givers)]
    for t in range(takers):
        for _ in range(sum(take["count"] for take in wanted[t])):
            given[rng.randrange(givers)].append({"semaphore": t + 1, "count": 1})
    for index in range(givers):
        given[index].append({"semaphore": 15, "count": 3})
        rng.shuffle(given[index])
    await start(dut)
    tasks = [takes[t].feed(wanted[t], stalls(t, long=8)) for t in range(takers)]
    tasks += [gives[g].feed(given[g], stalls(20 + g, long=8)) for g in range(givers)]
    for task in tasks:
        await task
    for _ in range(6):
        await RisingEdge(dut.clk)
    assert read(dut.counts) == 3 * givers << 15 * 16
    assert not read(dut.error)


@cocotb.test()
async def overflow(dut: Any) -> None:
    """A give that exceeds the count is an error with the semaphore's number, and has no effect."""
    takes = [Source(dut, f"takes__{i}", Take) for i in range(parameters()["takers"])]
    gives = [Source(dut, f"gives__{i}", Give) for i in range(parameters()["givers"])]
    assert takes
    await start(dut)
    await gives[0].send([{"semaphore": 7, "count": 2047}] * 32 + [{"semaphore": 7, "count": 31}])
    await RisingEdge(dut.clk)
    await gives[-1].send([{"semaphore": 7, "count": 1}])
    for _ in range(3):
        await RisingEdge(dut.clk)
    assert read(dut.error) and read(dut.error_semaphore) == 7
    await RisingEdge(dut.clk)
    await RisingEdge(dut.clk)
    assert not read(dut.error) and read(dut.counts) == 65535 << 7 * 16
