"""Performance counters against numpy sums."""

import numpy as np
import pytest

from systolith.rtl.counters import Counters
from tests.streams import simulate


def test_counts_events_of_running_cycles() -> None:
    names = ["array_busy", "vector_busy", "conflicts"]
    dut = Counters(names)
    rng = np.random.default_rng(1)
    events = rng.integers(0, 2, (300, 3))
    running = rng.integers(0, 2, 300)

    async def bench(ctx):
        for _ in range(2):  # the second time after a clear
            for row, run in zip(events.tolist(), running.tolist(), strict=True):
                ctx.set(dut.events, dict(zip(names, row, strict=True)))
                ctx.set(dut.running, run)
                await ctx.tick()
            ctx.set(dut.running, 0)
            expected = [int(running.sum()), *(events * running[:, None]).sum(0).tolist()]
            assert [ctx.get(dut.values[i]) for i in range(4)] == expected
            for index, value in enumerate([*expected, 0, 0]):
                ctx.set(dut.index, index)
                await ctx.tick()
                assert ctx.get(dut.value) == value
            ctx.set(dut.running, 1)
            ctx.set(dut.clear, 1)
            await ctx.tick()
            ctx.set(dut.clear, 0)
            assert ctx.get(dut.values.as_value()) == 0
    simulate(dut, bench)


def test_saturates() -> None:
    dut = Counters(["event"], bits=5)

    async def bench(ctx):
        ctx.set(dut.running, 1)
        ctx.set(dut.events.event, 1)
        await ctx.tick().repeat(31)
        assert ctx.get(dut.values[0]) == ctx.get(dut.values[1]) == 31
        await ctx.tick().repeat(5)
        assert ctx.get(dut.values[0]) == ctx.get(dut.values[1]) == 31
    simulate(dut, bench)


@pytest.mark.parametrize("names", [["cycles"], ["a", "a"], ["no name"]])
def test_refuses_names_that_cannot_work(names: list[str]) -> None:
    with pytest.raises(ValueError, match="names must differ|cannot be called"):
        Counters(names)
