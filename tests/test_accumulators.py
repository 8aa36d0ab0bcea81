"""Accumulators by themselves: slanted sums in, finished rows out, whatever the delay between entry and wave."""

import re
from collections import deque
from typing import Any

import numpy as np
import pytest

from systolith.rtl.accumulators import Accumulators
from tests.streams import check, silent, simulate, stalls


def blocks(seed: int, cols: int, sizes: list[tuple[int, int]], width: int) -> tuple[list[Any], list[Any]]:
    """Rows with their sums, `(swap, begin, first, last, index, sums)`, and the expected payloads of `o`."""
    rng = np.random.default_rng(seed)
    limit = 1 << width - 1
    rows: list[Any] = []
    expected: list[Any] = []
    for length, tiles in sizes:
        sums = rng.integers(-limit, limit, (tiles, length, cols))
        for tile in range(tiles):
            rows += [(index == 0, index == tile == 0, tile == 0, tile == tiles - 1 and index == length - 1, index,
                      sums[tile, index].tolist()) for index in range(length)]
        total = (sums.sum(0) + (1 << 31)) % (1 << 32) - (1 << 31)
        expected += [{"data": row.tolist(), "last": int(i == length - 1)} for i, row in enumerate(total)]
    return rows, expected


def feed(dut: Accumulators, rows: list[Any], delay: int, done: list[int], stall: Any = None) -> Any:
    """A bench that enters `rows` as the array does: the wave `delay` cycles later, column c after c more."""
    async def bench(ctx: Any) -> None:
        pipe: deque[Any] = deque([None] * (delay + dut.cols + 2), maxlen=delay + dut.cols + 2)
        waiting = deque(rows)
        idle, refused = 0, 0
        while waiting or any(pipe):
            row = waiting[0] if waiting and idle == 0 else None
            if row:
                ctx.set(dut.entry, dict(zip(("swap", "begin", "first", "last", "index"), row[:5], strict=True)))
            may = bool(row) and ctx.get(dut.open)
            refused = refused + 1 if row and not may else 0
            assert refused < 2000, "the entry stays closed"
            ctx.set(dut.enter, int(may))
            pipe.appendleft((row, ctx.get(dut.half)) if may else None)
            if may:
                waiting.popleft()
                idle = next(stall) if stall else 0
            else:
                idle = max(0, idle - 1)
            wave = pipe[delay]
            ctx.set(dut.wave, {"valid": 0} if wave is None else {
                "valid": 1, "half": wave[1], "first": wave[0][2], "last": wave[0][3], "index": wave[0][4]})
            slanted = [pipe[delay + col] for col in range(dut.cols)]
            ctx.set(dut.sums, [entry[0][5][col] if entry else -1 for col, entry in enumerate(slanted)])
            done.append(ctx.get(dut.block_done))
            await ctx.tick()
        ctx.set(dut.enter, 0)
        ctx.set(dut.wave, {"valid": 0})
    return bench


@pytest.mark.parametrize("cols, depth, width, delay", [(4, 8, 18, 7), (1, 5, 32, 1), (6, 16, 20, 12)])
@pytest.mark.parametrize("stall", [(False, False), (True, False), (False, True), (True, True)])
def test_sums(cols: int, depth: int, width: int, delay: int, stall: tuple[bool, bool]) -> None:
    dut = Accumulators(depth, cols, width)
    rng = np.random.default_rng(delay)
    sizes = [(int(n), int(k)) for n, k in zip(rng.integers(1, depth + 1, 14), rng.integers(1, 4, 14), strict=True)]
    sizes += [(depth, 1), (1, 1), (depth, 1), (depth, 2), (1, 4), (2, 4), (3, 4)]  # tiles shorter than the pipeline
    rows, expected = blocks(delay, cols, sizes, width)
    done: list[int] = []

    async def output(ctx: Any) -> None:
        await check(ctx, dut.o, expected, stalls(2) if stall[1] else None)
        await silent(ctx, dut.o, 40)
        assert not ctx.get(dut.active)

    simulate(dut, feed(dut, rows, delay, done, stalls(1) if stall[0] else None), output)
    assert sum(done) == len(sizes)


def test_timing() -> None:
    """`block_done` comes cols + 2 cycles after the last wave, the first row 3 cycles later, then a row a cycle."""
    dut = Accumulators(8, 3)
    rows, _ = blocks(1, 3, [(5, 1), (8, 1), (8, 1)], 32)
    done: list[int] = []
    seen: list[int] = []

    async def output(ctx: Any) -> None:
        ctx.set(dut.o.ready, 1)
        for _ in range(60):
            _, _, valid = await ctx.tick().sample(dut.o.valid)
            seen.append(valid)

    delay = 2
    simulate(dut, feed(dut, rows, delay, done), output)
    first = done.index(1)
    assert first == 4 + delay + dut.cols + 2
    assert [cycle for cycle, valid in enumerate(seen) if valid] == list(range(first + 3, first + 3 + 5)) + list(
        range(first + 3 + 8, first + 3 + 8 + 16))


def test_both_halves_are_kept() -> None:
    """Nobody takes the output: two blocks fit, and a third gets only the places of the rows that have left."""
    dut = Accumulators(4, 2)
    rows, expected = blocks(3, 2, [(4, 1), (3, 2), (4, 2)], 32)
    done: list[int] = []

    async def output(ctx: Any) -> None:
        await ctx.tick().repeat(300)
        assert sum(done) == 2
        await check(ctx, dut.o, expected[:-1])
        await ctx.tick().repeat(10)
        assert ctx.get(dut.active)  # until the very last row is taken
        await check(ctx, dut.o, expected[-1:])
        assert not ctx.get(dut.active)

    simulate(dut, feed(dut, rows, 5, done), output)


@pytest.mark.parametrize("arguments, message", [
    ((1, 4), "depth must be at least 2, not 1"), ((4, 0), "cols must be at least 1, not 0"),
    ((4, 4, 33), "width must be from 1 to 32, not 33")])
def test_refuses(arguments: Any, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        Accumulators(*arguments)
