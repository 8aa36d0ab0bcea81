"""Sums of tiles to bytes, and where these go: output lanes, parameters and stores against the numpy model."""

import random
from typing import Any

import numpy as np
import pytest

from systolith.rtl.depthwise_outputs import TURNS, DepthwiseOutputs, output_lanes
from systolith.rtl.depthwise_stores import DepthwiseStores
from systolith.rtl.depthwise_sums import SUM_BITS
from systolith.rtl.depthwise_walk import Kind
from systolith.rtl.isa import DOUBLE, EVEN, SINGLE
from systolith.sim.golden.rescale import rescale
from systolith.sim.golden.vector import pack_parameters
from tests.depthwise_cases import INT32, DepthwiseCases, strips
from tests.streams import check, receive, send, simulate, stalls
from tests.test_depthwise_strips import COLS, WORD, stored

SIZES = [(4, 4, 4), (3, 4, 1), (1, 4, 8), (5, 8, 4), (4, 8, 8), (8, 32, 4), (2, 64, 1), (13, 16, 2), (16, 16, 1),
         (16, 16, 4), (32, 32, 4)]


@pytest.mark.parametrize("cols, word_bytes, strip", SIZES)
def test_tiles(cols: int, word_bytes: int, strip: int) -> None:
    """Tiles as close together as they may come, each with a group's parameters and an instruction's settings."""
    numbers, rng = np.random.default_rng(cols + strip), random.Random(cols + strip)
    lanes = output_lanes(cols, strip)
    dut = DepthwiseOutputs(cols, word_bytes, strip, 64)
    settings = [{"rounding": (SINGLE, DOUBLE, EVEN)[k % 3], "zero_point": rng.choice((0, -7, 60, -60)),
                 "low": -128 + 9 * k, "high": 127 - 5 * k} for k in range(4)]
    sets = []
    for _ in range(4):
        multiplier = numbers.integers(INT32.min, INT32.max, cols) >> numbers.integers(0, 20, cols)
        bits = np.array([abs(int(n)).bit_length() for n in multiplier])
        sets.append((numbers.integers(-1 << 20, 1 << 20, cols), multiplier, np.clip(bits + 14, 0, 62)))
    sets[3] = sets[3][0] & -4096, np.full(cols, 32), np.full(cols, 18)  # every other one is a tie
    tiles, expected = [], []
    for _ in range(40):
        log_rows = rng.randrange(strip.bit_length())
        rows = rng.randint((1 << log_rows) // 2 + 1, 1 << log_rows)
        columns, elems = rng.randint(1, strip >> log_rows), rng.choice((cols, rng.randint(1, cols)))
        end = {"rows": rows, "columns": columns, "log_rows": log_rows, "chunks": (elems - 1) // lanes,
               "slot": rng.randrange(4), "buffer": rng.randrange(4), "release": rng.randrange(2)}
        sums = numbers.integers(-(1 << 20), (1 << 20) + 1, (strip, cols))
        sums = sums & -4096 if end["buffer"] == 3 else sums
        tiles.append((end, sums))
        bias, multiplier, shift = sets[end["buffer"]]
        s = settings[end["slot"]]
        y = rescale((sums + bias).astype(np.int32), multiplier, shift, rounding=s["rounding"],
                    zero_point=s["zero_point"], low=s["low"], high=s["high"])
        expected += [(elems, y[(x << log_rows) + row]) for x in range(columns) for row in range(rows)]
    kept = sum(int(((y > -90) & (y < 100)).sum()) for _, y in expected)
    assert kept > len(expected) * cols / 3, "too many outputs saturate"

    async def bench(ctx: Any) -> None:
        await _prepare(ctx, dut, settings, sets, cols, word_bytes)
        coming: list[Any] = [None, None]  # sums, two cycles after their `ends`
        released = 0
        for end, sums in tiles:
            turns = end["rows"] * end["columns"] * (end["chunks"] + 1)
            assert turns <= TURNS
            for cycle in range(turns + rng.choice((0, 0, 3))):
                ctx.set(dut.ends, cycle == 0)
                ctx.set(dut.end, end)
                coming.append(sums.reshape(-1).tolist() if cycle == 0 else None)
                now = coming.pop(0)
                if now:
                    ctx.set(dut.sums, now)
                released += ctx.get(dut.release)
                await ctx.tick()
        ctx.set(dut.ends, 0)
        for now in coming:
            if now:
                ctx.set(dut.sums, now)
            await ctx.tick()
        for _ in range(TURNS):
            released += ctx.get(dut.release)
            await ctx.tick()
        assert released >= sum(end["release"] for end, _ in tiles) - 1 > 1

    async def taken(ctx: Any) -> None:
        got = await receive(ctx, dut.o, len(expected), None)
        for number, (word, (elems, y)) in enumerate(zip(got, expected, strict=True)):
            found = np.frombuffer(word.to_bytes(word_bytes, "little"), np.int8)[:elems]
            np.testing.assert_array_equal(found, y[:elems], err_msg=str(number))

    simulate(dut, bench, taken)


async def _prepare(ctx: Any, dut: DepthwiseOutputs, settings: list[dict[str, int]], sets: list[Any], cols: int,
                   word_bytes: int) -> None:
    """Settings of the slots, parameters of the buffers."""
    for slot, values in enumerate(settings):
        for port, value in ((dut.slot, slot), (dut.settings, values), (dut.set, 1)):
            ctx.set(port, value)
        await ctx.tick()
    ctx.set(dut.set, 0)
    for buffer, values in enumerate(sets):
        words = pack_parameters(*values, cols, word_bytes).reshape(-1, word_bytes)
        for index, word in enumerate(words):
            ctx.set(dut.arrival, {"valid": 1, "kind": Kind.PARAMETERS, "place": index + (buffer << 4)})
            ctx.set(dut.word, int.from_bytes(word.tobytes(), "little"))
            await ctx.tick()
    for kind in (Kind.WEIGHTS, Kind.WINDOW):  # words for others
        ctx.set(dut.arrival, {"valid": 1, "kind": kind, "place": 0})
        await ctx.tick()
    ctx.set(dut.arrival, {"valid": 0, "kind": Kind.PARAMETERS, "place": 0})


@pytest.mark.parametrize("cols, strip, lanes", [(16, 4, 8), (32, 4, 16), (16, 8, 16), (16, 1, 2), (5, 8, 8), (4, 1, 1)])
def test_output_lanes(cols: int, strip: int, lanes: int) -> None:
    assert output_lanes(cols, strip) == lanes
    assert strip * -(-cols // lanes) <= TURNS < strip * -(-cols // (lanes / 2)) or lanes == 1


def test_sums_hold_every_window() -> None:
    assert 64 * 128 * 128 < 1 << SUM_BITS - 1


def test_stores() -> None:
    """An address a pixel, column by column; one a cycle."""
    cases = DepthwiseCases(4, COLS, WORD)
    walked = [strip for _ in range(20) for strip in strips(cases.instruction(), 4)]
    expected = []
    for strip in walked:
        i, fields = strip.instruction, stored(strip)
        for x in range(i.rows_x):
            for y in range(strip.rows):
                at = (fields["c"] + x * i.c_pixel + y * i.c_row) % (1 << 24)
                final = fields["final"] and x == i.rows_x - 1 and y == strip.rows - 1
                expected.append({"address": at - i.c_ring if i.c_ring and at >= i.c_end else at,
                                 "count": fields["count"], "final": int(final)})
    assert any(strip.instruction.c_ring for strip in walked)
    for seed in (None, 1):
        dut = DepthwiseStores()
        stall = (stalls(1), stalls(2)) if seed else (None, None)
        simulate(dut, lambda ctx, dut=dut, stall=stall: send(ctx, dut.i, [stored(s) for s in walked], stall[0]),
                 lambda ctx, dut=dut, stall=stall: check(ctx, dut.o, expected, stall[1]),
                 deadline=20000 if seed else len(expected) + 2 * len(walked) + 5)
