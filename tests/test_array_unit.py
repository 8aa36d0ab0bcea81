"""The array unit against the numpy model: whole instructions, semaphores with memory that changes, errors, pace."""

import random
from functools import partial
from typing import Any

import numpy as np
import pytest
from amaranth import ResetInserter, Signal

from systolith.rtl.array_unit import ArrayUnit, Completion
from systolith.rtl.isa import ARRAY
from systolith.sim.golden.array import execute_array
from tests.array_instructions import Program
from tests.streams import check, plain, read_server, send, silent, simulate, stalls

SIZES = [(4, 4, 4, 16), (5, 3, 8, 32), (4, 8, 8, 64)]


def accumulator_rows(blocks: list[np.ndarray]) -> list[dict[str, object]]:
    """Blocks as they come out of the array."""
    return [dict(data=row, last=int(index == len(block) - 1))
            for block in blocks for index, row in enumerate(block.tolist())]


class Surroundings:
    """Semaphores and memories of a `Program`, as benches; `delay`: stall pattern of the grants, or None."""

    def __init__(self, dut: ArrayUnit, program: Program, seed: int, busy: bool, latency: int = 4) -> None:
        self.dut, self.program = dut, program
        self.given: list[dict[str, int]] = []
        self.taken = 0
        self.retired: list[int] = []
        pattern = [stalls(seed + k) if busy else None for k in range(6)]
        self.instruction_stall, self.output_stall, self._take_stall, self._give_stall = pattern[:4]
        memory = program.memory
        self.background = [read_server(dut.input, memory, latency, pattern[4]),
                           read_server(dut.weights, memory, latency + 1, pattern[5]),
                           self.takes, self.gives, self.watch]

    async def takes(self, ctx: Any) -> None:
        port, program = self.dut.take, self.program
        offered = None
        while True:
            for _ in range(next(self._take_stall) if self._take_stall else 0):
                await ctx.tick()
            ready = self.taken < len(program.takes) and program.may_take(self.taken, self.given)
            ctx.set(port.ready, ready)
            _, _, valid, payload = await ctx.tick().sample(port.valid, port.payload)
            ctx.set(port.ready, 0)
            got = plain(payload)
            assert offered is None or (valid and got == offered), f"the take {offered} became {got}"
            offered = got if valid and not ready else None
            if valid:
                assert self.taken < len(program.takes), f"surplus take {got}"
                assert got == program.takes[self.taken]
            if valid and ready:
                program.taken(self.taken)
                self.taken += 1

    async def gives(self, ctx: Any) -> None:
        port = self.dut.give
        while True:
            for _ in range(next(self._give_stall) if self._give_stall else 0):
                await ctx.tick()
            ctx.set(port.ready, 1)
            _, _, valid, payload = await ctx.tick().sample(port.valid, port.payload)
            ctx.set(port.ready, 0)
            if valid:
                self.given.append(plain(payload))
                self.program.given(self.given[-1])

    async def watch(self, ctx: Any) -> None:
        while True:
            _, _, valid, tag = await ctx.tick().sample(self.dut.retired.valid, self.dut.retired.tag)
            if valid:
                self.retired.append(tag)


def run(rows: int, cols: int, word_bytes: int, depth: int, seed: int, busy: bool, count: int = 4,
        products: bool = False) -> None:
    dut = ArrayUnit(rows, cols, word_bytes, depth, activation_products=products)
    program = Program(seed, rows, cols, word_bytes, depth, count, products)
    around = Surroundings(dut, program, seed, busy)

    async def output(ctx: Any) -> None:
        await check(ctx, dut.o, accumulator_rows(program.blocks), around.output_stall)
        await silent(ctx, dut.o, 150)
        assert not ctx.get(dut.busy) and not ctx.get(dut.error)

    values = [i.values for i in program.instructions]
    simulate(dut, partial(send, stream=dut.instruction, values=values, stall=around.instruction_stall), output,
             background=around.background)
    assert around.taken == len(program.takes)
    by_value = partial(sorted, key=lambda give: (give["semaphore"], give["count"]))
    assert by_value(around.given) == by_value(program.gives)
    signals = [give["count"] for give in around.given if give["semaphore"] == 5]
    assert signals == sorted(signals)
    assert around.retired == [i.tag for i in program.instructions]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("busy", [False, True])
def test_program(size: tuple[int, int, int, int], busy: bool) -> None:
    run(*size, seed=sum(size), busy=busy)


@pytest.mark.parametrize("seed", range(3))
def test_more_programs(seed: int) -> None:
    run(4, 4, 4, 16, seed=100 + seed, busy=True, count=5)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("seed", range(3))
def test_products_of_activations(size: tuple[int, int, int, int], seed: int) -> None:
    """Strided and centred instructions among others."""
    run(*size, seed=200 + seed, busy=seed > 0, count=6, products=True)


def test_tiny_instructions() -> None:
    """More instructions under way than are remembered: one row, one tile each, a long way through the columns."""
    dut = ArrayUnit(4, 24, 32, 8)
    memory = random.Random(1).randbytes(1024)
    program = [ARRAY(rows_y=1, rows_x=1, ky=1, kx=1, kc=1, tiles=1, height=1, row_bytes=4, a=4 * n,
                     b=128 + 32 * n, tag=n)
               for n in range(24)]
    blocks = [block for i in program for block in execute_array(i, np.frombuffer(memory, np.uint8), 4, 24, 32)]
    retired: list[int] = []

    async def output(ctx: Any) -> None:
        await ctx.tick().repeat(400)
        await check(ctx, dut.o, accumulator_rows(blocks))
        await silent(ctx, dut.o)
        assert retired == list(range(24)) and not ctx.get(dut.busy)

    async def watch(ctx: Any) -> None:
        while True:
            _, _, valid, tag = await ctx.tick().sample(dut.retired.valid, dut.retired.tag)
            if valid:
                retired.append(tag)

    simulate(dut, partial(send, stream=dut.instruction, values=[i.values for i in program]), output,
             background=[watch, read_server(dut.input, bytearray(memory)), read_server(dut.weights, bytearray(memory))])


def test_pace() -> None:
    """7 rows in 32 K tiles and several tiles of channels, twice: the array takes a row nearly every cycle."""
    dut = ArrayUnit(4, 4, 4, 16)
    memory = bytearray(4096)
    instruction = ARRAY(rows_y=1, rows_x=7, ky=1, kx=2, kc=16, tiles=3, height=1, row_bytes=512, x_step=64, kx_step=64,
                        kc_step=4, b=1024, ready=1, free=2)
    rows = 2 * 3 * 32 * 7
    taken: list[int] = []

    async def watch(ctx: Any) -> None:
        ctx.set(dut.o.ready, 1)
        ctx.set(dut.give.ready, 1)
        cycle = 0
        while len(taken) < rows:
            ctx.set(dut.take.ready, cycle % 2)  # semaphores grant every second cycle at best
            _, _, busy = await ctx.tick().sample(dut.events.busy)
            cycle += 1
            if busy:
                taken.append(cycle)

    simulate(dut, partial(send, stream=dut.instruction, values=[instruction.values] * 2), watch,
             background=[read_server(dut.input, memory, 5), read_server(dut.weights, memory, 5)])
    assert taken[-1] - taken[0] <= rows, f"{taken[-1] - taken[0] - rows + 1} bubbles"


STRIDED = dict(strided=1, b_row=4, b_kc=8, b_tile=12)
BASE = dict(rows_y=1, rows_x=2, ky=1, kx=1, kc=1, tiles=1, height=1, row_bytes=64, x_step=4, b=64)


@pytest.mark.parametrize("change, products", [
    *((change, True) for change in (
        dict(rows_y=0), dict(rows_x=0), dict(ky=0), dict(kx=0), dict(kc=0), dict(tiles=0),
        dict(b=66), dict(ring_bytes=6), dict(ring=2, ring_bytes=8), dict(rows_y=4, rows_x=5),
        STRIDED | dict(ky=2), STRIDED | dict(kx=2), STRIDED | dict(b_row=2), STRIDED | dict(b_kc=6, b_tile=0),
        STRIDED | dict(b_tile=1), STRIDED | dict(b=62))),
    (dict(b=66), False), (STRIDED, False), (dict(strided=1), False), (dict(centred=1), False)])
def test_errors_and_reset(change: dict[str, int], products: bool) -> None:
    """An instruction that cannot be executed raises the error, and after a reset the unit works as new."""
    dut = ArrayUnit(4, 4, 4, 16, activation_products=products)
    reset = Signal()
    memory = bytearray(range(256))
    good = ARRAY(**BASE)
    wanted = accumulator_rows(list(execute_array(good, np.frombuffer(memory, np.uint8), 4, 4, 4)))

    async def bench(ctx: Any) -> None:
        ctx.set(dut.instruction.payload, ARRAY(**BASE | change).values)
        ctx.set(dut.instruction.valid, 1)
        for _ in range(100):
            await ctx.tick()
            if ctx.get(dut.error):
                break
        await ctx.tick().repeat(10)
        assert ctx.get(dut.error) and not ctx.get(dut.o.valid)
        ctx.set(dut.instruction.valid, 0)
        ctx.set(reset, 1)
        await ctx.tick().repeat(8)  # answers under way come to nothing
        ctx.set(reset, 0)
        assert not ctx.get(dut.error) and not ctx.get(dut.busy)

    async def after(ctx: Any) -> None:
        await bench(ctx)
        await send(ctx, dut.instruction, [good.values])
        await check(ctx, dut.o, wanted)

    simulate(ResetInserter(reset)(dut), after,
             background=[read_server(dut.input, memory), read_server(dut.weights, memory)])


def test_instructions_under_way() -> None:
    """`Completion` takes no more instructions than it can remember, and loses none."""
    dut = Completion(4)
    endings = [dict(signals=dict(signal0=3, signal0_count=n + 1), tag=n, tiles=1 + n % 3) for n in range(12)]
    accepted, retired = 0, []

    async def watch(ctx: Any) -> None:
        nonlocal accepted
        while True:
            _, _, valid, ready, done, tag = await ctx.tick().sample(
                dut.i.valid, dut.i.ready, dut.retired.valid, dut.retired.tag)
            accepted += valid & ready
            if done:
                retired.append(tag)

    async def pulse(ctx: Any, *signals: Any) -> None:
        for signal in signals:
            ctx.set(signal, 1)
        await ctx.tick()
        for signal in signals:
            ctx.set(signal, 0)
        await ctx.tick().repeat(4)

    async def bench(ctx: Any) -> None:
        await ctx.tick().repeat(30)
        assert accepted == 4  # signals hold it up
        for _ in range(4):
            await pulse(ctx, dut.input_read, dut.weights_read)
        await ctx.tick().repeat(20)
        assert accepted == 4  # blocks do
        for number, ending in enumerate(endings):
            for _ in range(ending["tiles"]):
                assert len(retired) == number
                await pulse(ctx, dut.block_done)
            if number + 4 < len(endings):
                await pulse(ctx, dut.input_read, dut.weights_read)
        assert retired == list(range(12)) and not ctx.get(dut.busy)

    gives = [dict(semaphore=3, count=n + 1) for n in range(12)]
    simulate(dut, partial(send, stream=dut.i, values=endings), partial(check, stream=dut.give, expected=gives), bench,
             background=[watch])
