# amaranth: UnusedElaboratable=no
"""The transposer: tiles turned round and tiles passed on, in any order, with stalls; its rate."""

import random
from typing import Any

import pytest

from systolith.rtl.transposer import Transposer
from tests.streams import receive, send, simulate, stalls


def tiles(size: int, turned: list[bool], seed: int = 1) -> tuple[list[int], list[int]]:
    """Words in, and words out."""
    rng = random.Random(seed)
    given: list[int] = []
    wanted: list[int] = []
    for turn in turned:
        tile = [rng.randbytes(size) for _ in range(size)]
        given += [int.from_bytes(word, "little") for word in tile]
        wanted += [int.from_bytes(bytes(column) if turn else word, "little")
                   for column, word in zip(zip(*tile, strict=True), tile, strict=True)]
    return given, wanted


def run(size: int, turned: list[bool], stall: int | None) -> int:
    """Cycles until the last word is out."""
    dut: Any = Transposer(size)
    given, wanted = tiles(size, turned)
    cycles: list[int] = []

    async def feed(ctx: Any) -> None:
        await send(ctx, dut.i, given, None if stall is None else stalls(stall))

    async def mark(ctx: Any) -> None:
        taken = 0
        while True:
            ctx.set(dut.turn, turned[min(taken // size, len(turned) - 1)])
            _, _, valid, ready = await ctx.tick().sample(dut.i.valid, dut.i.ready)
            taken += valid and ready

    async def check(ctx: Any) -> None:
        assert await receive(ctx, dut.o, len(wanted), None if stall is None else stalls(stall + 1)) == wanted
        await ctx.tick().repeat(2)
        assert not ctx.get(dut.busy)

    async def count(ctx: Any) -> None:
        while True:
            await ctx.tick()
            cycles.append(1)
    simulate(dut, feed, check, background=[mark, count])
    return len(cycles)


@pytest.mark.parametrize("size", [2, 4, 8])
@pytest.mark.parametrize("stall", [None, 1, 2, 3])
def test_tiles(size: int, stall: int | None) -> None:
    """Every word, whatever comes before it."""
    rng = random.Random(size)
    run(size, [rng.random() < 0.7 for _ in range(30)], stall)


def test_rate() -> None:
    """A word a cycle: tiles that follow each other hide the way through the square."""
    assert run(8, [True] * 20, None) <= 8 * 21 + 8


def test_refused() -> None:
    with pytest.raises(ValueError, match="size must be at least 2, not 1"):
        Transposer(1)
