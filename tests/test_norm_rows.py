"""Rows in chunks, the sums of each, and words of outputs."""

from typing import Any

import numpy as np
import pytest

from systolith.rtl.norm_moments import RowMoments
from systolith.rtl.norm_pack import NormPack
from systolith.rtl.norm_reader import NormReader
from systolith.rtl.norm_rows import place_bits
from tests.streams import read_server, receive, send, simulate, stalls

JOBS = [(100, 50, 3, 33), (7, 0, 2, 8), (3000, 31, 2, 1), (1, 9, 1, 300), (60, 16, 5, 16), (9, 90, 2, 5)]
"""Base, pitch, rows and elements."""


@pytest.mark.parametrize("word_bytes, lanes", [(4, 1), (4, 2), (16, 2), (16, 8), (32, 4)])
def test_chunks(word_bytes: int, lanes: int) -> None:
    """Bytes and pairs of bytes in turn; a job's type does not change what is still on its way."""
    memory = bytearray(np.random.default_rng(lanes).integers(0, 256, 8192, np.uint8).tobytes())
    jobs, wanted = [], []
    for number, (base, pitch, rows, elems) in enumerate(JOBS * 2):
        size = 1 + (number % 3 == 1 or number > 8)
        jobs.append({"rows": {"base": base, "pitch": pitch, "rows": rows, "elems": size * elems}, "wide": size - 1})
        for row in range(rows):
            at = base + row * pitch
            values = np.frombuffer(memory[at:at + size * elems], f"<i{size}").tolist()
            for start in range(0, elems, lanes):
                left = elems - start
                wanted.append((values[start:start + lanes], left <= lanes, left <= lanes and row == rows - 1))
    dut = NormReader(word_bytes, lanes)

    async def out(ctx: Any) -> None:
        for number, chunk in enumerate(await receive(ctx, dut.o, len(wanted), stalls(3))):
            values, last, final = wanted[number]
            got = np.frombuffer(chunk["values"].to_bytes(2 * lanes, "little"), "<i2").tolist()
            assert chunk["keep"] == (1 << len(values)) - 1 and got[:len(values)] == values, number
            assert (chunk["last"], chunk["final"]) == (last, final), number

    simulate(dut, lambda ctx: send(ctx, dut.i, jobs, stalls(1)), out,
             background=[read_server(dut.port, memory, 5, stalls(2))])


@pytest.mark.parametrize("lanes", [1, 2, 8])
def test_moments(lanes: int) -> None:
    """Rows are announced in order with their sums, and never overwrite what has not been read."""
    numbers = np.random.default_rng(lanes)
    depth = 1 << place_bits(lanes)
    chunks, wanted, lengths = [], [], []
    for number in range(36):
        elems = int(numbers.choice([1, 5, 60, 500])) if number < 25 else 1  # at last many short ones at once
        row = numbers.integers(-32768, 32768, elems)
        if number in (3, 7):
            row = np.full(2048, -32768)  # the largest sums
            elems = 2048
        lengths.append(-(-elems // lanes))
        for start in range(0, elems, lanes):
            part = row[start:start + lanes]
            noise = numbers.integers(0, 65536, lanes - len(part))  # past the end: must not count
            values = np.concatenate([part % 65536, noise]).astype("<u2").tobytes()
            chunks.append({"values": int.from_bytes(values, "little"), "keep": (1 << len(part)) - 1,
                           "last": start + lanes >= elems, "final": start + lanes >= elems and number % 7 == 6})
        wanted.append({"sum": int(row.sum()), "squares": int((row.astype(np.int64)**2).sum()),
                       "final": int(number % 7 == 6)})
    dut = RowMoments(lanes)
    written, read = [], 0

    async def out(ctx: Any) -> None:
        nonlocal read
        stall = stalls(2, 0.6)
        for row, length in zip(wanted, lengths, strict=True):
            got = (await receive(ctx, dut.o, 1, stall, 20_000))[0]
            assert got == row
            for _ in range(next(stall)):  # announced, but still to be read
                await ctx.tick()
            assert len(written) >= read + length, "announced before it was written"
            read += length
            ctx.set(dut.read, read % (2 * depth))

    async def watch(ctx: Any) -> None:
        async for _, _, write in ctx.tick().sample(dut.write):
            if write.valid:
                assert write.place == len(written) % depth and len(written) < read + depth
                written.append(int(write["values"]))

    simulate(dut, lambda ctx: send(ctx, dut.i, chunks, stalls(1)), out, background=[watch])
    assert written == [chunk["values"] for chunk in chunks]


@pytest.mark.parametrize("word_bytes, lanes", [(4, 1), (4, 2), (16, 2), (16, 8)])
def test_words(word_bytes: int, lanes: int) -> None:
    """Chunks set out only when there is a place for their word; both types."""
    numbers = np.random.default_rng(word_bytes + lanes)
    late, depth = 7, 3
    for wide in (0, 1):
        dut = NormPack(word_bytes, lanes, depth)
        rows = [numbers.integers(-32768, 32768, int(numbers.choice([1, 3, 40]))) for _ in range(20)]
        chunks, wanted = [], []
        for row in rows:
            for start in range(0, len(row), lanes):
                part = np.resize(row[start:start + lanes], lanes)
                chunks.append((int.from_bytes(part.astype("<i2").tobytes(), "little"), start + lanes >= len(row)))
            raw = row.astype("<i2" if wide else "<i1").tobytes()
            wanted += [raw[at:at + word_bytes] for at in range(0, len(raw), word_bytes)]

        async def drive(ctx: Any, dut: NormPack = dut, chunks: list[tuple[int, bool]] = chunks, wide: int = wide,
                        ) -> None:
            ctx.set(dut.wide, wide)
            pipe: list[tuple[int, bool] | None] = [None] * late
            waiting = list(chunks)
            for _ in range(4000):
                goes = waiting.pop(0) if waiting and ctx.get(dut.enable) and numbers.random() < 0.8 else None
                comes = pipe.pop(0)
                pipe.append(goes)
                for place, chunk in ((dut.reads, goes), (dut.i.place, comes)):
                    noise = int(numbers.integers(2))
                    ctx.set(place, {"valid": chunk is not None, "last": chunk[1] if chunk else noise, "final": 0})
                ctx.set(dut.i["values"], comes[0] if comes else 0)
                await ctx.tick()

        async def out(ctx: Any, dut: NormPack = dut, wanted: list[bytes] = wanted) -> None:
            for number, word in enumerate(await receive(ctx, dut.o, len(wanted), stalls(4, 0.5))):
                assert word.to_bytes(word_bytes, "little")[:len(wanted[number])] == wanted[number], number

        simulate(dut, drive, out)
