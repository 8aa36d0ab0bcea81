"""A plan's products are those of steps and strides, modulo 2**24, and come in the promised time."""

import random
from typing import Any

import pytest

from systolith.rtl.isa import ACCUMULATORS, MEMORY, VECTOR
from systolith.rtl.vector_setup import VectorSetup
from tests.streams import receive, send, simulate, stalls

MODULUS = 1 << 24
LEGAL = {"tiles": 1, "ny": 1, "nx": 1, "wy": 1, "wx": 1, "elems": 4, "elems_last": 4, "high": 9}


def test_products() -> None:
    rng = random.Random(3)
    instructions = []
    for _ in range(40):
        f = LEGAL | {name: rng.choice((0, MODULUS - 1, rng.randrange(MODULUS)))
                     for name in ("a", "b", "a_row", "a_pixel", "b_row", "b_pixel")}
        f |= {name: rng.choice((-1 << 15, (1 << 15) - 1, rng.randint(-9, 9))) for name in ("y_start", "x_start")}
        f |= {name: rng.choice((0, 255, rng.randrange(256))) for name in ("y_step", "x_step", "wy_step", "wx_step")}
        instructions.append(VECTOR(**f, source=MEMORY, operands=rng.randrange(2), in_type=rng.randrange(3),
                                   out_type=rng.randrange(3)))
    dut = VectorSetup(4, 16, 8)

    async def check(ctx: Any) -> None:
        for i, plan in zip(instructions, await receive(ctx, dut.o, len(instructions), stalls(2)), strict=True):
            assert plan["group"] == min(3, 4 - max(i.in_type, i.out_type))
            for letter, walk in zip("ab"[:1 + i.operands], plan["walks"], strict=False):
                row, pixel = (i.values[f"{letter}_{name}"] for name in ("row", "pixel"))
                assert walk == {
                    "base": (i.values[letter] + i.y_start * row + i.x_start * pixel) % MODULUS,
                    "y": i.y_step * row % MODULUS, "wy": i.wy_step * row % MODULUS,
                    "x": i.x_step * pixel % MODULUS, "wx": i.wx_step * pixel % MODULUS}

    words = [VECTOR.layout().from_bits(sum(w << 32 * k for k, w in enumerate(i.encode()))) for i in instructions]
    simulate(dut, lambda ctx: send(ctx, dut.i, words, stalls(1)), check,
             lambda ctx: receive(ctx, dut.job, len(instructions), stalls(3)))


def test_a_plan_waits_for_its_table() -> None:
    """The table's address comes once, and no plan before it is taken; without a look-up there is none."""
    dut = VectorSetup(4, 4, 4)
    instructions = [VECTOR(**LEGAL, source=ACCUMULATORS, lookup=lookup, low=-128, table=64 * (k + 1))
                    for k, lookup in enumerate((1, 0, 1, 1))]
    words = [VECTOR.layout().from_bits(sum(w << 32 * k for k, w in enumerate(i.encode()))) for i in instructions]

    async def bench(ctx: Any) -> None:
        ctx.set(dut.job.ready, 1)
        for instruction in instructions:
            if instruction.lookup:
                await ctx.tick().until(dut.table.valid)
                for _ in range(30):
                    await ctx.tick()
                    assert ctx.get(dut.table.valid) and not ctx.get(dut.o.valid)
                assert await receive(ctx, dut.table, 1) == [instruction.table]
            (plan,) = await receive(ctx, dut.o, 1)
            assert plan["instruction"]["table"] == instruction.table
            assert not ctx.get(dut.table.valid)

    simulate(dut, bench, background=[lambda ctx: send(ctx, dut.i, words)])


@pytest.mark.parametrize("fields, cycles", [
    ({"source": MEMORY}, 12), ({"source": MEMORY, "operands": 1}, 18), ({"source": ACCUMULATORS}, 2),
])
def test_time(fields: dict[str, int], cycles: int) -> None:
    word = sum(w << 32 * k for k, w in enumerate(VECTOR(**LEGAL, **fields).encode()))
    dut = VectorSetup(4, 4, 4)

    async def bench(ctx: Any) -> None:
        ctx.set(dut.job.ready, 1)
        await send(ctx, dut.i, [VECTOR.layout().from_bits(word)])  # returns after the edge that takes it
        passed = 1
        while not ctx.get(dut.o.valid):
            await ctx.tick()
            passed += 1
        assert passed == cycles

    simulate(dut, bench)
