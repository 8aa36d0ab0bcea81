"""Tiles and taps of strips: which place of the window each lane reads, when, against plain Python."""

import random
from typing import Any

import pytest
from amaranth import Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from systolith.rtl.depthwise_strips import TileStrip
from systolith.rtl.depthwise_taps import DepthwiseTaps, tap_layout
from systolith.rtl.depthwise_tiles import DepthwiseTiles
from systolith.rtl.depthwise_walk import COLUMN_BITS
from tests.depthwise_cases import LEGAL, UNUSUAL, DepthwiseCases, Strip, strips
from tests.streams import plain, send, simulate, stalls
from tests.test_depthwise_strips import COLS, WORD, computed

ROOM = 16


class Chain(wiring.Component):
    """Tiles and taps, one after the other."""

    def __init__(self, lanes: int) -> None:
        self.lanes = lanes
        super().__init__({
            "i": In(stream.Signature(TileStrip)), "columns": In(COLUMN_BITS), "free": Out(COLUMN_BITS), "taken": In(1),
            "o": Out(tap_layout(lanes)), "entered": Out(1), "blocked": Out(1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.tiles = tiles = DepthwiseTiles(self.lanes)
        m.submodules.taps = taps = DepthwiseTaps(self.lanes, ROOM)
        connect(m, flipped(self.i), tiles.i)
        connect(m, tiles.o, taps.i)
        m.d.comb += [taps.columns.eq(self.columns), taps.taken.eq(self.taken)]
        m.d.comb += [getattr(self, name).eq(getattr(taps, name)) for name in ("free", "o", "entered", "blocked")]
        return m


def tiles(walked: list[tuple[Strip, int]], lanes: int) -> list[dict[str, Any]]:
    """The tiles of strips: what each lane reads at each tap, columns needed and freed, and what goes with the end."""
    out, first, group = [], 0, 0
    for strip, slot in walked:
        i, step = strip.instruction, strip.step
        wide = lanes >> strip.log_rows if strip.wide else 1
        for x in range(0, i.rows_x, wide):
            columns = min(wide, i.rows_x - x)
            at = first + x * step
            last = x + columns == i.rows_x
            pixels = [(v % (1 << strip.log_rows), v >> strip.log_rows) for v in range(lanes)]
            taps = []
            for tap in range(i.ky * i.kx):
                ky, kx = divmod(tap, i.kx)
                places: list[int | None] = []
                for row, column in pixels:
                    wy, wx = row * i.y_step + ky * i.y_dilation, column * step + kx * i.x_dilation
                    ix = i.x_start + x * i.x_step + wx
                    place = (at + wx) % 32 + (wy << 5)
                    place = place if wy in strip.inside and 0 <= ix < i.width else slot + (15 << 5)
                    places.append(place if row < strip.rows and column < columns else None)
                taps.append((places, tap + (group % 4 << 6)))
            needs = at + (columns - 1) * step + strip.window[1]
            end = {"rows": strip.rows, "columns": columns, "log_rows": strip.log_rows, "slot": slot,
                   "chunks": computed(strip, slot)["chunks"], "buffer": group % 4, "release": int(last and strip.last)}
            out.append({"taps": taps, "needs": needs, "frees": needs if last else at + wide * step, "end": end})
            group += end["release"]
        first = out[-1]["needs"]
    return out


def walk(seed: int, lanes: int) -> list[tuple[Strip, int]]:
    """Strips of random and of unusual instructions, with their slots."""
    cases = DepthwiseCases(seed, COLS, WORD)
    program = [cases.instruction(**fields) for fields in [{}] * 16 + [LEGAL | fields for fields in UNUSUAL]]
    return [(strip, number % 4) for number, i in enumerate(program) for strip in strips(i, lanes)]


@pytest.mark.parametrize("lanes, here_often, taken_often", [
    (1, 0.5, 0.9), (2, 0.9, 0.1), (4, 0.05, 0.9), (4, 0.9, 0.9), (8, 0.9, 0.5)])
def test_taps(lanes: int, here_often: float, taken_often: float) -> None:
    """Every tap, in order; none of a tile whose columns are not there or for whose outputs there is no room."""
    walked = walk(lanes, lanes)
    expected = tiles(walked, lanes)
    dut = Chain(lanes)
    rng = random.Random(lanes)

    async def bench(ctx: Any) -> None:
        tile = tap = waiting = 0
        here = room_used = frees = freed = 0
        history: list[int] = []  # what `columns` was, a cycle each
        ends: list[tuple[int, int]] = []  # cycle of a last tap, turns that its outputs take
        for cycle in range(200_000):
            taken = int(room_used > 0 and waiting > 0 and rng.random() < taken_often)
            waiting, room_used = waiting - taken, room_used - taken
            here += int(rng.random() < here_often and here < frees + 32)
            ctx.set(dut.taken, taken)
            ctx.set(dut.columns, here % 64)
            history.append(here)
            _, _, o, free = await ctx.tick().sample(dut.o, dut.free)
            if o.valid:
                wanted = expected[tile]
                places, weights = wanted["taps"][tap]
                if tap == 0:
                    room_used += wanted["end"]["rows"] * wanted["end"]["columns"]
                    assert room_used <= ROOM
                    assert history[-3] >= wanted["needs"], "a tile has begun before its columns are there"
                found = [place if place_wanted is not None else None
                         for place, place_wanted in zip(plain(o.windows), places, strict=True)]
                assert (found, o.weights) == (places, weights), (tile, tap)
                tap += 1
                assert o.last == (tap == len(wanted["taps"]))
                if o.last:
                    end = wanted["end"]
                    assert plain(o.end) == end
                    turns = end["rows"] * end["columns"] * (end["chunks"] + 1)
                    assert not ends or cycle - ends[-1][0] >= ends[-1][1], "the output lanes are not done"
                    ends.append((cycle, turns))
                    waiting += end["rows"] * end["columns"]
                    frees, tile, tap = wanted["frees"], tile + 1, 0
            assert freed == frees % 64, "columns are freed with the last tap, a cycle before it shows"
            freed = free
            if tile == len(expected):
                break
        assert tile == len(expected)
        for _ in range(10):
            _, _, o, free = await ctx.tick().sample(dut.o, dut.free)
            assert not o.valid
        assert free == frees % 64

    simulate(dut, bench, background=[
        lambda ctx: send(ctx, dut.i, [computed(*one) for one in walked], stalls(3, 0.1), 100_000)])


def test_a_tap_every_cycle() -> None:
    """Tiles follow each other without a gap where the outputs are no slower."""
    cases = DepthwiseCases(1, COLS, WORD)
    case = cases.instruction(ky=3, kx=3, y_dilation=1, x_dilation=1, y_step=1, x_step=1, rows_y=8, rows_x=9, tiles=1,
                             elems=2, elems_last=2)
    walked = [(strip, 0) for strip in strips(case, 4)]
    dut = Chain(4)
    entered: list[int] = []

    async def bench(ctx: Any) -> None:
        pixels = 0
        for _ in range(220):
            ctx.set(dut.columns, (ctx.get(dut.free) + 20) % 64)
            if ctx.get(dut.o.valid) and ctx.get(dut.o.last):
                pixels += 4
            ctx.set(dut.taken, pixels > 0)
            pixels -= pixels > 0
            entered.append(ctx.get(dut.entered))
            await ctx.tick()

    simulate(dut, bench, background=[lambda ctx: send(ctx, dut.i, [computed(*one) for one in walked])])
    first = entered.index(1)
    assert sum(entered[first:first + 8 * 9]) >= 8 * 9 - 4


def test_room_for_a_tile() -> None:
    with pytest.raises(ValueError, match=r"room must be at least strip \(8\), not 7"):
        DepthwiseTaps(8, 7)
