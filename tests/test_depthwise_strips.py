"""Plans and strips of DEPTHWISE instructions, and what is read for a strip, against plain Python."""

import random
from typing import Any

import pytest
from amaranth import Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from systolith.rtl.depthwise_outputs import output_lanes
from systolith.rtl.depthwise_setup import PLAN, DepthwiseSetup
from systolith.rtl.depthwise_strips import STRIP, DepthwiseStrips, Product
from systolith.rtl.depthwise_walk import DepthwiseWalk, Kind
from systolith.rtl.isa import DEPTHWISE, Instruction
from tests.depthwise_cases import LEGAL, MODULUS, UNUSUAL, DepthwiseCases, DepthwiseProgram, Strip, strips
from tests.streams import receive, send, simulate, stalls

COLS, WORD = 6, 8


class Chain(wiring.Component):
    """Set-up and strips, one after the other; `slot` counts the instructions taken."""

    def __init__(self, lanes: int) -> None:
        self.lanes = lanes
        super().__init__({"i": In(stream.Signature(DEPTHWISE.layout())), "o": Out(stream.Signature(STRIP))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.setup = setup = DepthwiseSetup(COLS, WORD, self.lanes)
        m.submodules.strips = strips = DepthwiseStrips(output_lanes(COLS, self.lanes))
        connect(m, flipped(self.i), setup.i)
        connect(m, setup.o, strips.i)
        connect(m, strips.o, flipped(self.o))
        with m.If(strips.i.valid & strips.i.ready):
            m.d.sync += strips.slot.eq(strips.slot + 1)
        return m


def instructions(seed: int, count: int = 12) -> list[Instruction]:
    """Random ones, and those with unusual fields."""
    cases = DepthwiseCases(seed, COLS, WORD)
    return [cases.instruction(**fields) for fields in
            [{}] * count + [LEGAL | fields for fields in UNUSUAL]]


def words(program: list[Instruction]) -> list[Any]:
    return DepthwiseProgram(program, DepthwiseCases(0, COLS, WORD).memory).words()


@pytest.mark.parametrize("lanes", [1, 2, 4, 8])
def test_plans(lanes: int) -> None:
    program = instructions(lanes)
    dut = DepthwiseSetup(COLS, WORD, lanes)
    expected = []
    for i in program:
        first = strips(i, lanes)[0]
        most = max(n for n in (1, 2, 4, 8) if n <= lanes and (n == 1 or (n - 1) * i.y_step + first.window[0] <= 15))
        expected.append({
            "window_y": first.window[0], "window_x": first.window[1], "taps": i.ky * i.kx,
            "log_rows": most.bit_length() - 1, "wide": int(first.wide), "step": first.step,
            "skip": max(i.x_step - first.window[1], 0)})
    bits = PLAN.size - sum(PLAN[name].width for name in expected[0])

    async def plans(ctx: Any) -> None:
        got = await receive(ctx, dut.o, len(program), stalls(2))
        assert [{name: plan[name] for name in expected[0]} for plan in got] == expected
        assert bits == DEPTHWISE.layout().size

    simulate(dut, lambda ctx: send(ctx, dut.i, words(program), stalls(1)), plans)


def fetched(strip: Strip, slot: int) -> dict[str, int]:
    """Fields of `FetchStrip`; without those that mean nothing."""
    i = strip.instruction
    skip = max(i.x_step - strip.window[1], 0)
    out = {
        "first": int(strip.t == strip.y == 0), "constants": int(strip.y == 0), "slot": slot, "pad": i.pad % 256,
        "b": (i.b + strip.t * i.b_tile) % MODULUS, "taps": i.ky * i.kx, "rows": len(strip.inside), "a_row": i.a_row,
        "a_pixel": i.a_pixel, "a_jump": (skip + 1) * i.a_pixel % MODULUS, "a_end": i.a_end, "a_ring": i.a_ring,
        "x_start": i.x_start, "width": i.width, "rows_x": i.rows_x if strip.step else 1,
        "window_x": strip.window[1], "step": strip.step, "skip": skip}
    if strip.inside:
        row = strip.iy + strip.inside[0]
        out["low"] = strip.inside[0]
        out["a"] = (i.a + strip.t * i.a_tile + row * i.a_row + i.x_start * i.a_pixel) % MODULUS
    return out


def computed(strip: Strip, slot: int) -> dict[str, int]:
    """Fields of `TileStrip`; without those that mean nothing."""
    i = strip.instruction
    elems = i.elems_last if strip.t == i.tiles - 1 else i.elems
    chunk = output_lanes(COLS, strip.lanes)
    out = {"slot": slot, "group_last": int(strip.last), "chunks": (elems - 1) // chunk, "rows": strip.rows,
           "log_rows": strip.log_rows, "wide": int(strip.wide), "ky": i.ky, "kx": i.kx, "x_step": i.x_step,
           "window_x": strip.window[1], "step": strip.step, "x_start": i.x_start, "width": i.width,
           "rows_x": i.rows_x, "y_dilation": i.y_dilation % 16, "x_dilation": i.x_dilation % 16,
           "y_step": i.y_step % 16}
    if strip.inside:
        out |= {"low": strip.inside.start, "high": strip.inside.stop}
    return out


def stored(strip: Strip) -> dict[str, int]:
    """Fields of `StoreStrip`."""
    i = strip.instruction
    last = strip.t == i.tiles - 1
    return {"c": (i.c + strip.t * i.c_tile + strip.y * i.c_row) % MODULUS, "c_row": i.c_row, "c_pixel": i.c_pixel,
            "c_end": i.c_end, "c_ring": i.c_ring, "rows": strip.rows, "rows_x": i.rows_x,
            "count": i.elems_last if last else i.elems, "final": int(last and strip.last)}


@pytest.mark.parametrize("lanes", [1, 2, 4, 8])
def test_strips(lanes: int) -> None:
    program = instructions(10 + lanes)
    program[0].values |= {"y_start": 32767, "rows_y": 40, "y_step": 255, "height": 65535}
    program[1].values |= {"y_start": -32768, "rows_y": 40, "y_step": 255, "height": 5}
    program[2].values |= {"x_start": -32768, "a_pixel": 0xFFFFFF}
    cases = DepthwiseCases(lanes, COLS, WORD)
    program += [cases.instruction(rows_y=rows, ky=2, y_dilation=1, y_step=1) for rows in range(1, 17)]
    wanted = [(strip, number % 4) for number, i in enumerate(program) for strip in strips(i, lanes)]
    dut = Chain(lanes)

    async def taken(ctx: Any) -> None:
        got = await receive(ctx, dut.o, len(wanted), stalls(2))
        for strip, (model, slot) in zip(got, wanted, strict=True):
            for part, expected in (("fetch", fetched(model, slot)), ("tiles", computed(model, slot)),
                                   ("stores", stored(model))):
                found = {name: strip[part][name] for name in expected}
                assert found == expected, (part, model)
            assert model.inside or strip["tiles"]["low"] >= strip["tiles"]["high"]

    simulate(dut, lambda ctx: send(ctx, dut.i, words(program), stalls(1)), taken)


def test_products() -> None:
    dut = Product()
    rng = random.Random(1)

    async def bench(ctx: Any) -> None:
        for factor in [0, 1, -1, 65535, -65536, 32767, *(rng.randrange(-65536, 65536) for _ in range(50))]:
            base, pitch = rng.randrange(MODULUS), rng.randrange(MODULUS)
            for port, value in ((dut.base, base), (dut.pitch, pitch), (dut.factor, factor), (dut.start, 1)):
                ctx.set(port, value)
            await ctx.tick()
            ctx.set(dut.start, 0)
            for _ in range(factor.bit_length() + 2):
                if not ctx.get(dut.busy):
                    break
                await ctx.tick()
            assert not ctx.get(dut.busy) and ctx.get(dut.total) == (base + factor * pitch) % MODULUS

    simulate(dut, bench)


def read(walked: list[tuple[Strip, int]]) -> list[dict[str, Any]]:
    """The words of strips (with their slots) in order; columns are numbered from 0 on, groups as well.

    "complete": columns that are complete before the word; "column": with it, if it is the last of its own.
    """
    out: list[dict[str, Any]] = []
    column, group = 0, -1
    for strip, slot in walked:
        i = strip.instruction
        taps = i.ky * i.kx
        start = i.b + strip.t * i.b_tile
        if strip.y == 0:
            group += 1
            if strip.t == 0:
                out.append({"address": start, "kind": Kind.WINDOW, "place": slot + (15 << 5), "padding": 1,
                            "pad": i.pad % 256, "column": column, "complete": column, "group": group})
            places = [(Kind.WEIGHTS, k + (group % 4 << 6)) for k in range(taps)]
            places += [(Kind.PARAMETERS, k + (group % 4 << 4)) for k in range(7)]
            out += [{"address": (start + k * WORD) % MODULUS, "kind": kind, "place": place, "padding": 0,
                     "column": column, "complete": column, "group": group} for k, (kind, place) in enumerate(places)]
        for ix in strip.columns():
            rows = strip.inside if 0 <= ix < i.width else range(0)
            for row in rows:
                at = (i.a + strip.t * i.a_tile + (strip.iy + row) * i.a_row + ix * i.a_pixel) % MODULUS
                out.append({"address": at - i.a_ring if at >= i.a_end else at, "kind": Kind.WINDOW,
                            "place": column % 32 + (row << 5), "padding": 0, "column": column + (row == rows[-1]),
                            "complete": column, "group": group})
            column += 1
    return out


@pytest.mark.parametrize("seed, free_often", [(0, 0.9), (1, 0.3), (2, 0.05)])
def test_walk(seed: int, free_often: float) -> None:
    """Words in order; none for a column or a group for which there is no room yet."""
    walked = [(strip, number % 4) for number, i in enumerate(instructions(20 + seed)) for strip in strips(i, 4)]
    expected = read(walked)
    dut = DepthwiseWalk(WORD, 7)
    rng = random.Random(seed)
    pause = stalls(seed)

    async def taken(ctx: Any) -> None:
        free = released = done = groups = 0
        for number, word in enumerate(expected):
            for _ in range(3000):
                ctx.set(dut.o.ready, next(pause) == 0)
                if rng.random() < free_often and free < done:
                    free += 1
                release = int(rng.random() < free_often / 9 and released < groups)
                released += release
                ctx.set(dut.release, release)
                ctx.set(dut.free, free % 64)
                _, _, valid, ready, payload, column = await ctx.tick().sample(
                    dut.o.valid, dut.o.ready, dut.o.payload, dut.column)
                done += (column - done) % 64  # outside columns come without a word
                assert done - free <= 32
                if valid and ready:
                    break
            else:
                raise AssertionError(f"word {number} does not come")
            found = {name: payload.tag[name] for name in ("kind", "place", "padding")}
            assert {"address": payload.address, **found} == {name: word[name] for name in ("address", *found)}, number
            assert payload.tag.columns == word["column"] % 64
            assert "pad" not in word or payload.tag.pad == word["pad"]
            assert word["group"] - released < 4
            groups = word["group"]

    simulate(dut, lambda ctx: send(ctx, dut.i, [fetched(*one) for one in walked], stalls(9), 100000), taken)


def test_walk_is_as_fast_as_it_says() -> None:
    """A word a cycle but for two a strip, one more a group, and one for each column outside."""
    case = DepthwiseCases(1, COLS, WORD).instruction(
        ky=3, kx=3, y_dilation=1, x_dilation=1, y_start=-1, x_start=-1, y_step=1, x_step=1, height=9, width=9, rows_y=9,
        rows_x=9, tiles=3)
    walked = [(strip, 0) for strip in strips(case, 4)]
    expected = read(walked)
    dut = DepthwiseWalk(WORD, 7)
    cycles = 0

    async def taken(ctx: Any) -> None:
        nonlocal cycles
        got = 0
        ctx.set(dut.o.ready, 1)
        while got < len(expected):
            _, _, valid, column = await ctx.tick().sample(dut.o.valid, dut.column)
            ctx.set(dut.free, column)
            got, cycles = got + valid, cycles + 1

    simulate(dut, lambda ctx: send(ctx, dut.i, [fetched(*one) for one in walked]), taken)
    assert cycles <= len(expected) + 9 * (2 + 2) + 3 + 3


def test_all_used() -> None:
    """The cases reach what they are for."""
    seen = [strip for seed in range(6) for i in instructions(seed, 30) for strip in strips(i, 4)]
    assert {strip.rows for strip in seen} == {1, 2, 3, 4}
    assert any(strip.wide and strip.rows == 1 for strip in seen) and any(not strip.inside for strip in seen)
    assert any(strip.instruction.x_step > strip.window[1] for strip in seen)
    assert any(strip.inside and strip.inside.start > 0 for strip in seen)

