"""The feeder against numpy: rows, padding, flags, requests, and the pace that it promises."""

import random
from functools import partial
from typing import Any

import numpy as np
import pytest

from systolith.rtl.feeder import Feeder
from systolith.rtl.isa import ARRAY, Instruction
from tests.array_instructions import REGION, fed_rows, feed_payload, random_fields, random_ring, requests
from tests.streams import check, read_server, send, silent, simulate, stalls

SIZES = [(4, 4), (5, 8), (8, 8)]


def run(rows: int, word_bytes: int, instructions: list[Instruction], seed: int, stall: tuple[bool, bool, bool],
        latency: int = 4, bits: int = 8) -> None:
    """Instructions through a feeder; stall: whether instructions, memory and output stall."""
    dut = Feeder(rows, word_bytes, 32, bits)
    memory = random.Random(seed).randbytes(4 * REGION)
    wanted = [row for i in instructions for row in fed_rows(i, np.frombuffer(memory, np.uint8), rows)]
    patterns = [stalls(seed + k) if on else None for k, on in enumerate(stall)]
    log: list[int] = []
    done = []

    async def output(ctx: Any) -> None:
        await check(ctx, dut.o, wanted, patterns[2])
        await silent(ctx, dut.o)
        assert not ctx.get(dut.busy) and not ctx.get(dut.error)
        assert log == [address for i in instructions for address in requests(i, rows)]
        assert len(done) == len(instructions)

    async def watch(ctx: Any) -> None:
        while True:
            _, _, pulse = await ctx.tick().sample(dut.done)
            if pulse:
                done.append(len(log))

    values = [feed_payload(i) for i in instructions]
    simulate(dut, partial(send, stream=dut.i, values=values, stall=patterns[0]), output,
             background=[read_server(dut.memory, bytearray(memory), latency, patterns[1], log), watch])
    total, bounds = 0, []
    for i in instructions:
        total += len(requests(i, rows))
        bounds.append(total)
    assert all(count <= bound for count, bound in zip(done, bounds, strict=True))


def program(seed: int, rows: int, count: int, products: bool = False) -> list[Instruction]:
    rng = random.Random(seed)
    return [ARRAY(a=(a := REGION + 128 + rng.randint(0, 20)), **random_fields(rng, rows, 32, products=products),
                  **random_ring(rng, a, 128)) for _ in range(count)]


@pytest.mark.parametrize("rows, word_bytes", SIZES)
@pytest.mark.parametrize("stall", [(False, False, False), (True, True, True)])
def test_rows(rows: int, word_bytes: int, stall: tuple[bool, bool, bool]) -> None:
    run(rows, word_bytes, program(rows, rows, 6), rows, stall)


@pytest.mark.parametrize("stall", [(False, True, False), (False, False, True)])
def test_one_side_stalls(stall: tuple[bool, bool, bool]) -> None:
    run(4, 4, program(17, 4, 6), 17, stall, latency=7)


@pytest.mark.parametrize("rows, word_bytes", SIZES)
@pytest.mark.parametrize("stalling", [False, True])
def test_centred(rows: int, word_bytes: int, stalling: bool) -> None:
    """Some instructions less their `pad`, others as they are."""
    instructions = program(rows + 30, rows, 10, products=True)
    assert {i.centred for i in instructions} == {0, 1}
    run(rows, word_bytes, instructions, rows, (stalling,) * 3, bits=9)


def test_far_positions() -> None:
    """Positions and rows far outside on both sides, the largest steps; an image without a byte."""
    base = dict(rows_y=2, rows_x=2, ky=2, kx=2, kc=2, tiles=1, pad=-7, height=3, row_bytes=20, row_pitch=20, a=512)
    far = dict(x_step=1 << 23, kx_step=1 << 22, kc_step=1 << 21, y_step=255, y_dilation=255)
    run(4, 4, [ARRAY(**base, **far, x_start=-(1 << 23), y_start=-(1 << 15)), ARRAY(**base, x_start=-3, y_start=-2),
               ARRAY(**base, **far, x_start=17, y_start=2),
               ARRAY(**base | dict(height=65535, row_pitch=0), x_start=0, y_start=32767),
               ARRAY(**base | dict(row_bytes=0), x_start=-2),
               # rows that start before, at and past the end of the ring, also left of the image and past 2**24
               ARRAY(**base, x_start=-3, y_step=1, y_dilation=1, x_step=3, a_end=532, a_ring=25),
               ARRAY(**base | dict(a=(1 << 24) - 40, height=9), y_start=2, y_step=1, x_start=-1, x_step=2, a_end=20,
                     a_ring=3),
               ARRAY(**base | dict(a=(1 << 24) - 10, height=9), y_start=1, y_step=1, y_dilation=2, x_start=-4, x_step=5,
                     a_end=50, a_ring=40)],
        3, (False, False, False))


@pytest.mark.parametrize("centred", [0, 1])
def test_pace(centred: int) -> None:
    """A row a cycle from a memory that grants every cycle, one cycle lost between instructions."""
    instructions = [ARRAY(rows_y=3, rows_x=4, ky=2, kx=2, kc=2, tiles=2, height=9, row_bytes=60, row_pitch=60, x_step=8,
                          kx_step=8, kc_step=4, y_step=1, y_dilation=1, a=64, centred=centred, pad=-128)
                    for _ in range(3)]
    dut = Feeder(4, 4, 32, 8 + centred)
    cycles: list[int] = []

    async def output(ctx: Any) -> None:
        ctx.set(dut.o.ready, 1)
        cycle = 0
        while len(cycles) < 3 * 192:
            _, _, valid = await ctx.tick().sample(dut.o.valid)
            cycle += 1
            if valid:
                cycles.append(cycle)

    simulate(dut, partial(send, stream=dut.i, values=[feed_payload(i) for i in instructions]), output,
             background=[read_server(dut.memory, bytearray(1024), 5)])
    assert cycles[-1] - cycles[0] == 3 * 192 - 1 + 2
    assert cycles[0] == 1 + 7 + 5


def test_busy_until_the_last_row_is_taken() -> None:
    dut = Feeder(4, 4, 8)
    one = ARRAY(rows_y=1, rows_x=1, ky=1, kx=1, kc=1, tiles=1, height=1, row_bytes=4, a=64)

    async def bench(ctx: Any) -> None:
        await send(ctx, dut.i, [feed_payload(one)])
        for cycle in range(40):
            assert ctx.get(dut.busy)
            ctx.set(dut.o.ready, cycle > 30)
            if ctx.get(dut.o.valid) and cycle > 30:
                break
            await ctx.tick()
        await ctx.tick()
        assert not ctx.get(dut.busy)

    simulate(dut, bench, background=[read_server(dut.memory, bytearray(128))])


def test_too_many_rows() -> None:
    """A block larger than the accumulators: the error comes, and no row past the end."""
    dut = Feeder(4, 4, 8)
    i = ARRAY(rows_y=3, rows_x=3, ky=1, kx=1, kc=1, tiles=1, height=3, row_bytes=4, row_pitch=4, y_step=1, a=64)

    async def output(ctx: Any) -> None:
        await check(ctx, dut.o, fed_rows(i, np.zeros(1024, np.uint8), 4)[:8])
        await silent(ctx, dut.o)
        assert ctx.get(dut.error)

    simulate(dut, partial(send, stream=dut.i, values=[feed_payload(i)]), output,
             background=[read_server(dut.memory, bytearray(1024))])


@pytest.mark.parametrize("arguments, message", [
    ((0, 4, 8), "rows must be at least 1, not 0"),
    ((5, 4, 8), r"word_bytes must be at least rows \(5\), not 4"),
    ((4, 4, 0), "accumulator_rows must be from 1 to 65536, not 0"),
])
def test_arguments(arguments: tuple[int, int, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Feeder(*arguments)
