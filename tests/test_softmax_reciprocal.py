"""The sum of a row and its reciprocal, against Python's integers."""

import random
from typing import Any

import pytest

from systolith.rtl.isa import SOFTMAX_ELEMS, SOFTMAX_ENTRY_BITS
from systolith.rtl.softmax_reciprocal import CYCLES, Reciprocal
from systolith.rtl.softmax_sum import SUM_BITS, RowSum
from tests.streams import check, send, simulate, stalls


def _sums() -> list[int]:
    """All powers of two and their neighbours, sums whose quotient lies next to a tie, and random ones."""
    rng = random.Random(1)
    sums = {s for log in range(SUM_BITS) for s in ((1 << log) - 1, 1 << log, (1 << log) + 1, (2 << log) - 1)}
    for _ in range(100):
        log = rng.randrange(25, SUM_BITS)
        quotient = 2 * rng.randrange(1 << 23, 1 << 24) + 1  # 2**(log + 25) / S is it, or a little more or less
        sums |= {(1 << log + 25) // quotient + step for step in (0, 1)}
    sums |= {rng.getrandbits(rng.randint(1, SUM_BITS)) for _ in range(100)}
    return sorted(s for s in sums if 0 < s <= (SOFTMAX_ELEMS << SOFTMAX_ENTRY_BITS))


def _normal(s: int) -> dict[str, int]:
    return {"value": s << SUM_BITS - s.bit_length(), "log": s.bit_length() - 1}


def _factor(s: int) -> dict[str, int]:
    log = s.bit_length() - 1
    return {"reciprocal": (2 ** (log + 25) // s + 1) // 2, "log": log}


def test_reciprocals() -> None:
    dut, sums = Reciprocal(), [s for s in _sums() if s.bit_length() <= SUM_BITS]
    random.Random(2).shuffle(sums)
    assert len(sums) > 300
    simulate(dut, lambda ctx: send(ctx, dut.i, map(_normal, sums), stalls(1)),
             lambda ctx: check(ctx, dut.o, map(_factor, sums), stalls(2)))


def test_a_division_takes_its_cycles() -> None:
    dut = Reciprocal()

    async def count(ctx: Any) -> None:
        ctx.set(dut.o.ready, 1)
        valid = [(await ctx.tick().sample(dut.o.valid))[-1] for _ in range(6 * CYCLES + 1)]
        assert [cycle for cycle, on in enumerate(valid) if on] == [CYCLES * k for k in range(1, 7)]

    simulate(dut, count, lambda ctx: send(ctx, dut.i, [_normal(3)] * 7))


def test_the_next_division_runs_while_a_result_waits() -> None:
    dut = Reciprocal()

    async def take(ctx: Any) -> None:
        for _ in range(3 * CYCLES):
            await ctx.tick()
        ctx.set(dut.o.ready, 1)
        valid = [(await ctx.tick().sample(dut.o.valid))[-1] for _ in range(3)]
        assert valid == [1, 1, 0]

    simulate(dut, take, lambda ctx: send(ctx, dut.i, [_normal(5)] * 3))


@pytest.mark.parametrize("lanes", [1, 4, 8])
def test_sums(lanes: int) -> None:
    """Rows of all lengths follow each other at once; between chunks there may be nothing."""
    rng = random.Random(lanes)
    rows = [[[rng.getrandbits(SOFTMAX_ENTRY_BITS) >> rng.choice((0, 0, 5, 24)) for _ in range(lanes)]
             for _ in range(rng.choice((1, 1, 2, 9)))] for _ in range(60)]
    rows.append([[(1 << SOFTMAX_ENTRY_BITS) - 1] * lanes] * (SOFTMAX_ELEMS // lanes))
    rows = [row for row in rows if any(map(any, row))]
    dut = RowSum(lanes)
    got = []

    async def drive(ctx: Any) -> None:
        for row in rows:
            for number, chunk in enumerate(row):
                ctx.set(dut.i.values, sum(value << SOFTMAX_ENTRY_BITS * lane for lane, value in enumerate(chunk)))
                ctx.set(dut.i.place, {"valid": 1, "first": number == 0, "last": number == len(row) - 1, "final": 0})
                await ctx.tick()
                while rng.random() < 0.2:
                    ctx.set(dut.i.place, {"valid": 0, "first": rng.randrange(2), "last": rng.randrange(2), "final": 0})
                    await ctx.tick()
        ctx.set(dut.i.place, {"valid": 0, "first": 0, "last": 0, "final": 0})
        for _ in range(20):
            await ctx.tick()

    async def watch(ctx: Any) -> None:
        async for _, _, valid, o in ctx.tick().sample(dut.valid, dut.o):
            if valid:
                got.append({"value": o.value, "log": o.log})

    simulate(dut, drive, background=[watch])
    assert got == [_normal(sum(map(sum, row))) for row in rows]
