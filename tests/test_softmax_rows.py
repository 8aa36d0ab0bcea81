"""Rows in steps of words, and in chunks; which row is announced with what."""

from typing import Any

import numpy as np
import pytest

from systolith.rtl.softmax_maximum import RowMaximum
from systolith.rtl.softmax_reader import RowReader
from systolith.rtl.softmax_rows import RowWalk, place_bits
from tests.streams import check, read_server, receive, send, silent, simulate, stalls

JOBS = [{"base": 100, "pitch": 50, "rows": 3, "elems": 33}, {"base": 7, "pitch": 0, "rows": 2, "elems": 8},
        {"base": (1 << 24) - 5, "pitch": (1 << 24) - 20, "rows": 2, "elems": 1},
        {"base": 1, "pitch": 9, "rows": 1, "elems": 4096}, {"base": 60, "pitch": 16, "rows": 5, "elems": 16}]


def test_runs() -> None:
    wanted = []
    for job in JOBS:
        for row in range(job["rows"]):
            for at in range(0, job["elems"], 8):
                count = min(8, job["elems"] - at)
                last = at + count == job["elems"]
                wanted.append({"address": (job["base"] + row * job["pitch"] + at) % (1 << 24), "count": count,
                               "last": last, "final": last and row == job["rows"] - 1})
    dut = RowWalk(8)

    async def out(ctx: Any) -> None:
        await check(ctx, dut.o, wanted, stalls(2))
        await silent(ctx, dut.o)

    simulate(dut, lambda ctx: send(ctx, dut.i, JOBS, stalls(1)), out)


def test_a_run_every_cycle() -> None:
    """... but for the cycle that takes a job."""
    dut = RowWalk(8)
    job = {"base": 0, "pitch": 20, "rows": 10, "elems": 20}

    async def count(ctx: Any) -> None:
        ctx.set(dut.o.ready, 1)
        valid = [(await ctx.tick().sample(dut.o.valid))[-1] for _ in range(64)]
        assert valid[:63] == [0, *[1] * 30, 0, *[1] * 30, 0]

    simulate(dut, count, lambda ctx: send(ctx, dut.i, [job, job]))


@pytest.mark.parametrize("word_bytes, lanes", [(4, 1), (4, 4), (16, 2), (16, 8)])
def test_chunks(word_bytes: int, lanes: int) -> None:
    memory = bytearray(np.random.default_rng(lanes).integers(0, 256, 8192, np.uint8).tobytes())
    jobs = [dict(job, base=job["base"] % 3000, pitch=job["pitch"] % 100, elems=min(job["elems"], 300)) for job in JOBS]
    wanted = []
    for job in jobs:
        for row in range(job["rows"]):
            at = job["base"] + row * job["pitch"]
            for start in range(0, job["elems"], lanes):
                left = job["elems"] - start
                wanted.append((memory[at + start:at + start + min(lanes, left)], left <= lanes,
                               left <= lanes and row == job["rows"] - 1))
    dut = RowReader(word_bytes, lanes)

    async def out(ctx: Any) -> None:
        for number, chunk in enumerate(await receive(ctx, dut.o, len(wanted), stalls(3))):
            values, last, final = wanted[number]
            got = chunk["values"].to_bytes(lanes, "little")
            assert chunk["keep"] == (1 << len(values)) - 1 and got[:len(values)] == values, number
            assert (chunk["last"], chunk["final"]) == (last, final), number

    simulate(dut, lambda ctx: send(ctx, dut.i, jobs, stalls(1)), out,
             background=[read_server(dut.port, memory, 5, stalls(2))])


@pytest.mark.parametrize("lanes", [1, 2, 8])
def test_maxima(lanes: int) -> None:
    """Rows are announced in order with their largest value, and never overwrite what has not been read."""
    numbers = np.random.default_rng(lanes)
    depth = 1 << place_bits(lanes)
    chunks, wanted, end = [], [], -1
    for number in range(30):
        elems = int(numbers.choice([1, 5, 60, 700])) if number < 20 else 1  # at last many short ones at once
        valid = int(numbers.choice([1, elems, numbers.integers(1, elems + 1)]))
        row = numbers.integers(-128, numbers.integers(-127, 129), elems)
        begin, end = end + 1, end + -(-elems // lanes)
        for start in range(0, elems, lanes):
            part = row[start:start + lanes]
            noise = numbers.integers(0, 256, lanes - len(part))  # past the end: must not count
            values = [*(part % 256).tolist(), *noise.tolist()]
            chunks.append({"values": int.from_bytes(bytes(values), "little"),
                           "keep": (1 << min(lanes, max(0, valid - start))) - 1,
                           "last": start + lanes >= elems, "final": start + lanes >= elems and number % 7 == 6})
        wanted.append({"maximum": int(row[:valid].max()), "end": end % depth, "final": chunks[-1]["final"],
                       "valid_end": (begin + (valid - 1) // lanes) % depth, "keep": (1 << (valid - 1) % lanes + 1) - 1})
    dut = RowMaximum(lanes)
    written, read = [], 0

    async def out(ctx: Any) -> None:
        nonlocal read
        stall = stalls(2, 0.6)
        for row in wanted:
            got = (await receive(ctx, dut.o, 1, stall))[0]
            assert got == row
            for _ in range(next(stall)):  # announced, but still to be read
                await ctx.tick()
            while read % depth != row["end"]:
                read += 1
            read += 1
            ctx.set(dut.read, read % (2 * depth))

    async def watch(ctx: Any) -> None:
        async for _, _, write in ctx.tick().sample(dut.write):
            if write.valid:
                assert write.place == len(written) % depth and len(written) < read + depth
                written.append(int(write["values"]))

    simulate(dut, lambda ctx: send(ctx, dut.i, chunks, stalls(1)), out, background=[watch])
    assert written == [chunk["values"] for chunk in chunks]
