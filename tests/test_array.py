"""The systolic array against numpy: sums, order, back-pressure, and the cycles that it promises."""

import re
from functools import partial
from itertools import pairwise
from typing import Any

import pytest
from amaranth import ResetInserter, Signal

from systolith.rtl.array import SystolicArray
from systolith.rtl.multiply import Products
from tests.array_blocks import array_blocks
from tests.streams import check, send, silent, simulate, stalls

SIZES = [(4, 4, 16), (4, 1, 5), (5, 3, 9), (8, 4, 32), (1, 2, 6), (2, 3, 5)]


def run(dut: SystolicArray, seed: int, stall: tuple[bool, bool, bool], sizes: list[tuple[int, int]] | None = None,
        watch: Any = None) -> None:
    """Blocks through `dut`; stall: whether input, weights and output stall."""
    bits = dut.grid.activation_bits
    inputs, weights, expected = array_blocks(seed, dut.rows, dut.cols, dut.accumulator_rows, sizes, bits=bits)
    patterns = [stalls(seed + k) if on else None for k, on in enumerate(stall)]

    async def output(ctx: Any) -> None:
        await check(ctx, dut.o, expected, patterns[2])
        await silent(ctx, dut.o, 60)
        assert not ctx.get(dut.active)

    simulate(dut, partial(send, stream=dut.i, values=inputs, stall=patterns[0]),
             partial(send, stream=dut.weights, values=weights, stall=patterns[1]), output,
             background=[watch] if watch else [])


@pytest.mark.parametrize("rows, cols, depth", SIZES)
@pytest.mark.parametrize("stall", [(False, False, False), (True, True, True)])
def test_sums(rows: int, cols: int, depth: int, stall: tuple[bool, bool, bool]) -> None:
    run(SystolicArray(rows, cols, depth), rows + cols, stall)


@pytest.mark.parametrize("rows, cols, depth", SIZES)
def test_nine_bits(rows: int, cols: int, depth: int) -> None:
    run(SystolicArray(rows, cols, depth, activation_bits=9), rows + cols, (False, True, False))


@pytest.mark.parametrize("stall", [(True, False, False), (False, True, False), (False, False, True)])
def test_one_side_stalls(stall: tuple[bool, bool, bool]) -> None:
    run(SystolicArray(4, 4, 16), 7, stall)


def test_short_blocks() -> None:
    """Rows come back to the same accumulator as early as they can: few rows a block, many K tiles."""
    for stalling in (False, True):
        run(SystolicArray(4, 4, 16), 10, (stalling, False, False), [(1, 9), (2, 12), (3, 12), (4, 9), (2, 20)])
    run(SystolicArray(4, 4, 16), 8, (False, False, False), [(1, 5), (2, 4), (1, 1), (3, 2), (1, 6)])
    run(SystolicArray(4, 4, 16), 9, (False, False, True), [(1, 1)] * 12 + [(16, 1)] * 4 + [(2, 1), (16, 1), (1, 3)] * 2)


def taken_cycles(dut: SystolicArray, log: list[int], done: list[int]) -> Any:
    """Background bench: the cycles in which a row is taken, and those of `block_done`."""
    async def watch(ctx: Any) -> None:
        cycle = 0
        while True:
            _, _, valid, ready, block_done = await ctx.tick().sample(dut.i.valid, dut.i.ready, dut.block_done)
            if valid and ready:
                log.append(cycle)
            if block_done:
                done.append(cycle)
            cycle += 1
    return watch


@pytest.mark.parametrize("sizes, tile", [
    ([(4, 6)], 4),  # as many rows as the array has
    ([(2, 6)], 4),  # fewer: the weights' loading is what it costs
    ([(9, 3), (9, 2), (9, 3)], 9),  # more; no bubble between blocks
    ([(20, 1)] * 6, 20)])  # nor between blocks of one K tile, which must leave as fast as they come
def test_tile_costs(sizes: list[tuple[int, int]], tile: int) -> None:
    """A tile costs max(rows streamed, rows of the array) cycles, and a block is done when the timing says."""
    dut = SystolicArray(4, 4, 20)
    log: list[int] = []
    done: list[int] = []
    run(dut, 3, (False, False, False), sizes, taken_cycles(dut, log, done))
    starts, ends, at = [], [], 0
    for length, tiles in sizes:
        for _ in range(tiles):
            starts.append(log[at])
            at += length
        ends.append(log[at - 1])
    assert [b - a for a, b in pairwise(starts)] == [tile] * (len(starts) - 1)
    assert done == [end + dut.rows + Products.latency + 5 + dut.cols - 1 for end in ends]


def test_waits_for_weights() -> None:
    """A tile's first row is refused until the last of its weights comes, and taken in that cycle."""
    dut = SystolicArray(4, 2, 8)
    inputs, weights, expected = array_blocks(5, 4, 2, 8, [(8, 2)])

    async def bench(ctx: Any) -> None:
        for tile in range(2):
            await send(ctx, dut.weights, weights[4 * tile:][:3])
            ctx.set(dut.i.payload, inputs[8 * tile])
            ctx.set(dut.i.valid, 1)
            for last in (0, 0, 0, 1):
                ctx.set(dut.weights.payload, weights[4 * tile + 3])
                ctx.set(dut.weights.valid, last)
                _, _, ready, events = await ctx.tick().sample(dut.i.ready, dut.events)
                assert (ready, events.busy, events.wait_weights, events.wait_accumulators) == (last, last, 1 - last, 0)
            ctx.set(dut.weights.valid, 0)
            await send(ctx, dut.i, inputs[8 * tile + 1:][:7])
        await check(ctx, dut.o, expected)

    simulate(dut, bench)


def test_waits_for_accumulators() -> None:
    """With both halves full a third block enters only as far as rows have left; the event says why."""
    dut = SystolicArray(4, 2, 8)
    inputs, weights, expected = array_blocks(5, 4, 2, 8, [(8, 1)] * 3)

    async def bench(ctx: Any) -> None:
        log: list[int] = []
        for number in range(60):
            ctx.set(dut.i.payload, inputs[len(log)])
            ctx.set(dut.i.valid, 1)
            _, _, ready, events = await ctx.tick().sample(dut.i.ready, dut.events)
            if ready:
                log.append(number)
        assert len(log) == 8 + 8 + 2  # two rows of the first block are in the registers of the output
        assert (events.busy, events.wait_weights, events.wait_accumulators) == (0, 0, 1)
        assert ctx.get(dut.active)
        await check(ctx, dut.o, expected[:4])
        await send(ctx, dut.i, inputs[len(log):])

    async def output(ctx: Any) -> None:
        await ctx.tick().repeat(80)
        await check(ctx, dut.o, expected[4:])

    simulate(dut, bench, partial(send, stream=dut.weights, values=weights), output)


def test_reset_in_flight() -> None:
    """Whatever is on its way when the reset comes leaves no trace in what follows."""
    dut = SystolicArray(4, 4, 8)
    reset = Signal()
    inputs, weights, expected = array_blocks(6, 4, 4, 8, [(8, 2), (5, 1), (3, 3)])

    async def bench(ctx: Any) -> None:
        for cut in (3, 9, 17, 21, 40):
            ctx.set(dut.weights.valid, 1)
            ctx.set(dut.weights.payload, weights[1])
            for row in inputs[:cut]:
                ctx.set(dut.i.payload, row)
                ctx.set(dut.i.valid, 1)
                await ctx.tick().repeat(3)
            ctx.set(dut.i.valid, 0)
            ctx.set(dut.weights.valid, 0)
            ctx.set(reset, 1)
            await ctx.tick()
            ctx.set(reset, 0)
            assert not ctx.get(dut.active)
            done.append(0)
            await silent(ctx, dut.o, 1)
            while len(done) > 0:
                await ctx.tick()

    done: list[int] = []

    async def again(ctx: Any, stream: Any, values: Any) -> None:
        for _ in range(5):
            while not done:
                await ctx.tick()
            if stream is dut.o:
                await check(ctx, stream, values)
                done.clear()
            else:
                await send(ctx, stream, values)
                while done:
                    await ctx.tick()

    simulate(ResetInserter(reset)(dut), bench, partial(again, stream=dut.i, values=inputs),
             partial(again, stream=dut.weights, values=weights), partial(again, stream=dut.o, values=expected))


@pytest.mark.parametrize("arguments, message", [
    ((0, 4, 16), "rows must be from 1 to 128, not 0"), ((4, 0, 16), "cols must be from 1 to 128, not 0"),
    ((4, 4, 1), "accumulator_rows must be from 2 to 65536, not 1"),
    ((4, 4, 16, "x"), "multiplier must be one of generic, ecp5, ice40, not 'x'")])
def test_refuses(arguments: Any, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        SystolicArray(*arguments)
