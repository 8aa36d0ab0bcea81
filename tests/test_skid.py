"""The stream register: every element once, in order, one a cycle, and no path through it."""

import random
from typing import Any

import pytest

from systolith.rtl.skid import Skid
from tests.streams import check, send, simulate, stalls


def values(seed: int, count: int = 300) -> list[int]:
    """Random 16-bit payloads."""
    rng = random.Random(seed)
    return [rng.getrandbits(16) for _ in range(count)]


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_order(seed: int) -> None:
    dut, sent = Skid(16), values(seed)
    simulate(dut, lambda ctx: send(ctx, dut.i, sent, stalls(seed)),
             lambda ctx: check(ctx, dut.o, sent, stalls(seed + 10)))


def test_pace_and_registers() -> None:
    """One element a cycle; `ready` and `valid` change with the clock only; it holds two."""
    dut = Skid(16)

    async def bench(ctx: Any) -> None:
        ctx.set(dut.o.ready, 1)
        ctx.set(dut.i.valid, 1)
        assert not ctx.get(dut.o.valid)
        for number in range(20):
            ctx.set(dut.i.payload, number)
            assert ctx.get(dut.i.ready)
            await ctx.tick()
            assert ctx.get(dut.o.valid) and ctx.get(dut.o.payload) == number
        ctx.set(dut.o.ready, 0)
        assert ctx.get(dut.i.ready)  # from a register: the refusal is seen a cycle later
        await ctx.tick()
        assert not ctx.get(dut.i.ready)

    simulate(dut, bench)
