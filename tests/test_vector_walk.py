"""Plans and loops: every step, address and output of random instructions, in order."""

from typing import Any

import numpy as np
import pytest
from amaranth import Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from systolith.rtl.isa import ACCUMULATORS, INT8, INT32, MEMORY, VECTOR, Instruction
from systolith.rtl.vector_address import Step, Store
from systolith.rtl.vector_setup import Job, VectorSetup
from systolith.rtl.vector_walk import VectorWalk
from tests.streams import check, send, simulate, stalls
from tests.vector_cases import Cases

MODULUS = 1 << 24


class Front(wiring.Component):
    """Set-up and loops together."""

    def __init__(self, cols: int, word_bytes: int, lanes: int) -> None:
        self._sizes = cols, word_bytes, lanes
        super().__init__({
            "i": In(stream.Signature(VECTOR.layout())), "job": Out(stream.Signature(Job)),
            "step": Out(stream.Signature(Step)), "store": Out(stream.Signature(Store)),
            "fetch": Out(stream.Signature(24)), "active": Out(1),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.setup = setup = VectorSetup(*self._sizes)
        m.submodules.walk = walk = VectorWalk()
        m.d.comb += [setup.table.ready.eq(1), self.active.eq(walk.active)]
        connect(m, flipped(self.i), setup.i)
        connect(m, setup.o, walk.i)
        for name, part in (("job", setup), ("step", walk), ("store", walk), ("fetch", walk)):
            connect(m, getattr(part, name), flipped(getattr(self, name)))
        return m


def in_ring(address: int, end: int, size: int) -> int:
    """The address modulo 2**24, in its ring."""
    address = int(address) % MODULUS
    return (address - size if size and address >= end else address) % MODULUS


def expand(i: Instruction, word_bytes: int, lanes: int) -> tuple[list[Any], list[Any], list[int]]:
    """Steps, stores and addresses of an instruction, from its definition."""
    steps, stores, fetches = [], [], []
    memory = i.source == MEMORY
    size_in, size_out = 1 << i.in_type, 1 << i.out_type
    n = min(lanes, word_bytes // max(size_in if memory else 0, size_out))
    for t in range(i.tiles):
        elems = i.elems_last if t == i.tiles - 1 else i.elems
        for y, x in np.ndindex(i.ny, i.nx):
            for e in range(0, elems, n):
                window = list(np.ndindex(i.wy, i.wx, 1 + i.operands))
                for number, (wy, wx, operand) in enumerate(window):
                    iy, ix = i.y_start + y * i.y_step + wy * i.wy_step, i.x_start + x * i.x_step + wx * i.wx_step
                    inside = not memory or (0 <= iy < i.height and 0 <= ix < i.width)
                    begins = (e, y, x) == (0, 0, 0) and number == 0 and (t == 0 or not memory)
                    steps.append({
                        "memory": int(memory), "inside": int(inside), "first": int(number == 0),
                        "last": int(number == len(window) - 1), "operand": operand, "swap": int(begins),
                        "row_end": int(e + n >= elems), "block_end": int((y, x) == (i.ny - 1, i.nx - 1)),
                        "column": e % 128,
                        "in_type": i.in_type, "reduce": i.reduce, "rounding": i.rounding, "slot": 0})
                    if memory and inside:
                        base, tile, row, pixel, *ring = (
                            (i.a, i.a_tile, i.a_row, i.a_pixel, i.a_end, i.a_ring),
                            (i.b, i.b_tile, i.b_row, i.b_pixel, i.b_end, i.b_ring))[operand]
                        fetches.append(in_ring(base + t * tile + iy * row + ix * pixel + e * size_in, *ring))
                stores.append({
                    "address": in_ring(i.c + t * i.c_tile + y * i.c_row + x * i.c_pixel + e * size_out, i.c_end,
                                       i.c_ring),
                    "count": min(n, elems - e) * size_out, "final": 0})
    stores[-1]["final"] = 1
    return steps, stores, fetches


@pytest.mark.parametrize("cols, word_bytes, lanes", [(4, 4, 2), (13, 16, 16), (6, 8, 1)])
def test_loops(cols: int, word_bytes: int, lanes: int) -> None:
    cases = Cases(lanes, cols, word_bytes)
    instructions = [cases.instruction() for _ in range(11)]
    instructions.insert(4, cases.instruction(
        source=MEMORY, elems=257, elems_last=769, tiles=2, ny=1, nx=2, wy=1, wx=1, height=1, width=1, in_type=INT8))
    rng = np.random.default_rng(lanes)
    for instruction in instructions:  # addresses may be anything here, and positions far outside
        for name in ("a", "b", "c", "a_row", "a_pixel", "b_tile", "b_row", "b_pixel", "c_tile", "c_row", "c_pixel"):
            if rng.random() < 0.3:
                instruction.values[name] = int(rng.integers(0, MODULUS))
        if rng.random() < 0.5:
            instruction.values |= {name: int(rng.integers(-1 << 15, 1 << 15)) if name.endswith("start") else
                                   int(rng.integers(0, 256)) for name in ("y_start", "x_start", "y_step", "wx_step")}
            instruction.values |= {name: int(rng.integers(0, 1 << 16)) for name in ("height", "width")}
        _, stores, fetches = expand(instruction, word_bytes, lanes)
        places = {"a": fetches, "b": fetches, "c": [store["address"] for store in stores]}
        for letter, addresses in places.items():  # rings that end where something starts, or anywhere
            end = int(rng.choice(addresses)) if addresses and rng.random() < 0.7 else int(rng.integers(0, MODULUS))
            size = int(rng.choice([0, 1, MODULUS - 1, rng.integers(0, MODULUS)]))
            instruction.values |= {f"{letter}_end": end, f"{letter}_ring": size}
    parts = [expand(i, word_bytes, lanes) for i in instructions]
    steps, stores, fetches = ([value for part in parts for value in part[k]] for k in range(3))
    jobs = [{"params": i.params, "memory": int(i.source == MEMORY), "operands": i.operands, "tiles": i.tiles}
            for i in instructions]
    words = [sum(w << 32 * k for k, w in enumerate(i.encode())) for i in instructions]
    dut = Front(cols, word_bytes, lanes)
    simulate(dut, lambda ctx: send(ctx, dut.i, [VECTOR.layout().from_bits(w) for w in words], stalls(1), 30_000),
             lambda ctx: check(ctx, dut.job, jobs, stalls(2), 30_000),
             lambda ctx: check(ctx, dut.step, steps, stalls(3), 30_000),
             lambda ctx: check(ctx, dut.store, stores, stalls(4), 30_000),
             lambda ctx: check(ctx, dut.fetch, fetches, stalls(5), 30_000))


def test_steps_follow_without_gaps() -> None:
    """A step every cycle, and one cycle without from one instruction to the next."""
    values = {"elems": 4, "elems_last": 4, "tiles": 1, "wy": 1, "wx": 1, "ny": 5, "nx": 4, "out_type": INT32, "high": 1}
    word = sum(w << 32 * k for k, w in enumerate(VECTOR(source=ACCUMULATORS, **values).encode()))
    dut = Front(4, 4, 4)

    async def count(ctx: Any) -> None:
        for port in (dut.job, dut.step, dut.store, dut.fetch):
            ctx.set(port.ready, 1)
        await ctx.tick().until(dut.step.valid)
        steps = 4 * 5 * 4
        for index in range(1, 4 * steps + 3):
            _, _, valid = await ctx.tick().sample(dut.step.valid)
            assert valid == (index % (steps + 1) != steps)

    simulate(dut, lambda ctx: send(ctx, dut.i, [VECTOR.layout().from_bits(word)] * 4), count)


def test_active_until_the_last_step_is_taken() -> None:
    values = {"elems": 1, "elems_last": 1, "tiles": 1, "wy": 1, "wx": 1, "ny": 1, "nx": 1, "high": 1}
    word = sum(w << 32 * k for k, w in enumerate(VECTOR(source=ACCUMULATORS, **values).encode()))
    dut = Front(4, 4, 4)

    async def bench(ctx: Any) -> None:
        ctx.set(dut.job.ready, 1)
        ctx.set(dut.store.ready, 1)
        await ctx.tick().until(dut.active)
        for _ in range(20):
            assert ctx.get(dut.active)
            await ctx.tick()
        assert ctx.get(dut.step.valid)
        ctx.set(dut.step.ready, 1)
        await ctx.tick()
        assert not ctx.get(dut.active)

    simulate(dut, bench, lambda ctx: send(ctx, dut.i, [VECTOR.layout().from_bits(word)]))
