"""The first error stays; which one wins; the watchdog."""

import itertools

import pytest

from systolith.rtl.errors import ErrorCode
from systolith.rtl.faults import Faults
from tests.streams import plain, simulate

UNITS = {1: "move_in", 2: "array"}
SOURCES = [  # in the order in which they win
    ({"memory_error": 1, "memory_address": 0x123456}, (ErrorCode.ADDRESS_OUT_OF_RANGE, 0x123456)),
    ({"stream": {"code": ErrorCode.OUT_OF_PAGES, "information": 0x77}}, (ErrorCode.OUT_OF_PAGES, 0x77)),
    ({"unit_error": {"move_in": 1, "array": 1}}, (ErrorCode.ILLEGAL_OPERAND, 1)),
    ({"semaphore_error": 1, "semaphore_number": 7}, (ErrorCode.SEMAPHORE_OVERFLOW, 7)),
    ({"sequencer": {"code": ErrorCode.LOOP_NESTING, "information": 0x40}}, (ErrorCode.LOOP_NESTING, 0x40)),
]
NOTHING = {"memory_error": 0, "memory_address": 0x55, "stream": {"code": 0, "information": 98},
           "unit_error": {"move_in": 0, "array": 0}, "semaphore_error": 0, "semaphore_number": 3,
           "sequencer": {"code": 0, "information": 99}}


def put(ctx, dut, values):
    for name, value in (NOTHING | values).items():
        ctx.set(getattr(dut, name), value)


def fault(ctx, dut):
    kept = plain(ctx.get(dut.fault))
    return kept["code"], kept["information"]


@pytest.mark.parametrize("first, second", list(itertools.combinations(range(len(SOURCES)), 2)))
def test_priority_and_clear(first: int, second: int) -> None:
    dut = Faults(UNITS, 100)

    async def bench(ctx):
        both = SOURCES[second][0] | SOURCES[first][0]
        put(ctx, dut, both)
        await ctx.tick()
        assert fault(ctx, dut) == (0, 0) and not ctx.get(dut.stop)  # not running
        ctx.set(dut.running, 1)
        assert ctx.get(dut.stop)
        await ctx.tick()
        ctx.set(dut.running, 0)  # as the sequencer does
        assert fault(ctx, dut) == SOURCES[first][1]
        put(ctx, dut, SOURCES[second][0])
        await ctx.tick().repeat(3)
        assert fault(ctx, dut) == SOURCES[first][1]
        put(ctx, dut, {})
        ctx.set(dut.clear, 1)
        await ctx.tick()
        assert fault(ctx, dut) == (0, 0)
        ctx.set(dut.clear, 0)
        put(ctx, dut, SOURCES[second][0])
        ctx.set(dut.running, 1)
        await ctx.tick()
        assert fault(ctx, dut) == SOURCES[second][1]
    simulate(dut, bench)


def test_watchdog() -> None:
    dut = Faults(UNITS, 20)

    async def bench(ctx):
        ctx.set(dut.waiting, 0b10110)
        await ctx.tick().repeat(60)
        ctx.set(dut.running, 1)
        for _ in range(4):
            await ctx.tick().repeat(19)
            assert not ctx.get(dut.stop)
            ctx.set(dut.progress, 1)
            await ctx.tick()
            ctx.set(dut.progress, 0)
        await ctx.tick().repeat(19)
        assert not ctx.get(dut.stop)
        await ctx.tick()
        assert ctx.get(dut.stop)
        await ctx.tick()
        assert fault(ctx, dut) == (ErrorCode.TIMEOUT, 0b10110)
    simulate(dut, bench)


def test_refuses_what_cannot_work() -> None:
    with pytest.raises(ValueError, match="watchdog_cycles must be at least 16, not 15"):
        Faults(UNITS, 15)
