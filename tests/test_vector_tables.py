"""Tables arrive whole in the slots that were asked for, and every lane finds its byte in every cycle."""

import random
from typing import Any

import pytest

from systolith.rtl.vector_address import SLOTS
from systolith.rtl.vector_tables import LOOKED_UP, ROWS, TableLoader, Tables
from tests.streams import PATIENCE, plain, read_server, send, simulate, stalls


@pytest.mark.parametrize("word_bytes, often", [(4, 0.3), (8, 0), (16, 0.3), (128, 0)])
def test_loader(word_bytes: int, often: float) -> None:
    rng = random.Random(word_bytes)
    memory = bytearray(rng.randbytes(4096))
    jobs = [{"address": word_bytes * rng.randrange(3840 // word_bytes), "slot": rng.randrange(SLOTS)} for _ in range(6)]
    dut = TableLoader(word_bytes)
    log: list[int] = []
    rows: list[dict[str, int]] = []

    async def watch(ctx: Any) -> None:
        while True:
            _, _, row = await ctx.tick().sample(dut.o)
            if row.enable:
                rows.append(plain(row))

    async def ask(ctx: Any) -> None:
        for number, job in enumerate(jobs, 1):
            await send(ctx, dut.i, [job], stalls(number))
            await ctx.tick().repeat(2)
            assert len(rows) == ROWS * number, "the table is not in its place in time"
            assert len(log) == 4 * ROWS // word_bytes * number
        await ctx.tick().repeat(30)

    simulate(dut, ask, background=[watch, read_server(dut.port, memory, 5, stalls(1, often), log)])
    expected = [{"enable": 1, "slot": job["slot"], "row": row,
                 "data": int.from_bytes(memory[job["address"] + 4 * row:][:4], "little")}
                for job in jobs for row in range(ROWS)]
    assert rows == expected
    assert log == [job["address"] + at for job in jobs for at in range(0, 4 * ROWS, word_bytes)]


@pytest.mark.parametrize("word_bytes, cycles", [(4, 100), (8, 76), (16, 76)])
def test_time_to_load(word_bytes: int, cycles: int) -> None:
    dut = TableLoader(word_bytes)
    passed = 0

    async def count(ctx: Any) -> None:
        nonlocal passed
        ctx.set(dut.i.valid, 1)
        while not ctx.get(dut.i.ready):
            await ctx.tick()
            passed += 1
            assert passed < PATIENCE
        assert passed <= cycles

    simulate(dut, count, background=[read_server(dut.port, bytearray(256), 7)])


def test_look_up() -> None:
    """Values of all lanes, other slots in between, while other tables are written."""
    lanes, rng = 3, random.Random(1)
    tables = [rng.randbytes(4 * ROWS) for _ in range(2 * SLOTS)]  # each slot's first and second
    dut = Tables(lanes)
    now = tables[:SLOTS]

    async def write(ctx: Any, slot: int, table: bytes) -> None:
        for row in range(ROWS):
            ctx.set(dut.write, {"enable": 1, "slot": slot, "row": row,
                                "data": int.from_bytes(table[4 * row:4 * row + 4], "little")})
            await ctx.tick()
        ctx.set(dut.write.enable, 0)

    async def look_up(ctx: Any, slots: list[int], cycles: int) -> None:
        under_way: list[list[int]] = []
        for _ in range(cycles):
            slot, values = rng.choice(slots), [rng.randint(-128, 127) for _ in range(lanes)]
            ctx.set(dut.slot, slot)
            ctx.set(dut.i, values)
            under_way.append([now[slot][value + 128] for value in values])
            await ctx.tick()
            if len(under_way) >= LOOKED_UP:
                assert plain(ctx.get(dut.o)) == under_way.pop(0)

    filled = [False]

    async def writer(ctx: Any) -> None:
        for slot in range(SLOTS):
            await write(ctx, slot, tables[slot])
        filled[0] = True
        await write(ctx, 3, tables[SLOTS + 3])
        now[3] = tables[SLOTS + 3]
        filled[0] = False

    async def reader(ctx: Any) -> None:
        while not filled[0]:
            await ctx.tick()
        await look_up(ctx, [0, 1, 2], 50)
        while filled[0]:
            await ctx.tick()
        await ctx.tick()
        await look_up(ctx, [0, 1, 2, 3], 600)

    simulate(dut, writer, reader)
