"""The weight loader: order, rings, semaphores, back-pressure, pace."""

import random
from functools import partial
from typing import Any

import pytest

from systolith.rtl.isa import ARRAY, Instruction
from systolith.rtl.weights import WeightLoader
from tests.array_instructions import weight_tiles
from tests.streams import check, read_server, receive, send, silent, simulate, stalls

MEMORY = random.Random(5).randbytes(4096)


def program(seed: int, rows: int, word_bytes: int, count: int, strides: bool = False,
            square: bool = False) -> list[Instruction]:
    rng = random.Random(seed)
    out = []
    for _ in range(count):
        if strides and rng.random() < 0.6:
            counts = dict(tiles=rng.randint(1, 4), ky=1, kx=1, kc=rng.randint(1, 4))
            steps = {name: word_bytes * rng.choice((0, 1, rng.randint(0, 12), (1 << 24) // word_bytes - 1))
                     for name in ("b_row", "b_kc", "b_tile")}
            out.append(ARRAY(b=word_bytes * rng.randint(20, 100), strided=1,
                             transposed=square and rng.random() < 0.6, ready=rng.choice((0, 3, 21)),
                             free=rng.choice((0, 20, 7)), **counts, **steps))
            continue
        counts = dict(tiles=rng.randint(1, 3), ky=rng.randint(1, 2), kx=rng.randint(1, 2), kc=rng.randint(1, 3))
        ring, size = word_bytes * rng.randint(0, 60), rng.choice((0, 2 * rows, 3 * rows, rows + 1)) * word_bytes
        b = ring + (word_bytes * rng.randrange(size // word_bytes) if size else 0)
        out.append(ARRAY(b=b, ring=ring, ring_bytes=size, ready=rng.choice((0, 3, 21)),
                         free=rng.choice((0, 20, 7)), **counts))
    return out


def addresses(i: Instruction, rows: int, word_bytes: int) -> list[int]:
    if i.strided:
        return [(i.b + tile * i.b_tile + kc * i.b_kc + r * i.b_row) % (1 << 24)
                for tile in range(i.tiles) for kc in range(i.kc) for r in range(rows)]
    out, at = [], i.b
    for _ in range(weight_tiles(i) * rows):
        out.append(at)
        at += word_bytes
        if i.ring_bytes and at == i.ring + i.ring_bytes:
            at = i.ring
    return out


def row(address: int, cols: int) -> list[int]:
    at = address % len(MEMORY)
    return [byte - 256 if byte > 127 else byte for byte in MEMORY[at:at + cols]]


def words_out(instructions: list[Instruction], rows: int, cols: int, word_bytes: int) -> list[list[int]]:
    """Rows of weights as they leave the loader."""
    out = []
    for i in instructions:
        words = [row(address, cols) for address in addresses(i, rows, word_bytes)]
        for at in range(0, len(words), rows):
            tile = words[at:at + rows]
            out += [list(column) for column in zip(*tile, strict=True)] if i.transposed else tile
    return out


@pytest.mark.parametrize("rows, cols, word_bytes", [(4, 4, 4), (5, 3, 8), (1, 4, 4), (8, 8, 8)])
@pytest.mark.parametrize("busy", [False, True])
@pytest.mark.parametrize("strides", [False, True])
def test_program(rows: int, cols: int, word_bytes: int, busy: bool, strides: bool) -> None:
    """Everything stalls at random, or nothing. No tile is read before its take, nor given back before it is read."""
    dut = WeightLoader(rows, cols, word_bytes, strides)
    instructions = program(rows, rows, word_bytes, 12 if strides else 8, strides, rows == cols == word_bytes)
    pattern = [stalls(rows + k) if busy else None for k in range(5)]
    wanted = [address for i in instructions for address in addresses(i, rows, word_bytes)]
    log: list[int] = []
    events: list[tuple[str, int, int]] = []  # kind, semaphore, words granted by then
    done: list[int] = []

    async def semaphore(ctx: Any, stream: Any, kind: str, count: int, stall: Any) -> None:
        for _ in range(count):
            [got] = await receive(ctx, stream, 1, stall)
            assert got["count"] == 1
            events.append((kind, got["semaphore"], len(log)))
        await silent(ctx, stream)

    async def output(ctx: Any) -> None:
        await check(ctx, dut.o, words_out(instructions, rows, cols, word_bytes), pattern[2])
        await silent(ctx, dut.o)
        assert not ctx.get(dut.busy) and not ctx.get(dut.taking)

    async def watch(ctx: Any) -> None:
        while True:
            _, _, pulse = await ctx.tick().sample(dut.done)
            if pulse:
                done.append(len(log))

    tiles = [weight_tiles(i) for i in instructions]
    simulate(dut, partial(send, stream=dut.i, values=[i.values for i in instructions], stall=pattern[0]), output,
             partial(semaphore, stream=dut.take, kind="take", stall=pattern[3],
                     count=sum(weight_tiles(i) for i in instructions if i.ready)),
             partial(semaphore, stream=dut.give, kind="give", stall=pattern[4],
                     count=sum(weight_tiles(i) for i in instructions if i.free)),
             background=[watch, read_server(dut.memory, bytearray(MEMORY), 5, pattern[1], log)])
    assert log == wanted
    takes, gives = ([e for e in events if e[0] == kind] for kind in ("take", "give"))
    words, ends = 0, []
    for n, i in zip(tiles, instructions, strict=True):
        for _ in range(n):
            if i.ready:
                _, number, granted = takes.pop(0)
                assert number == i.ready and granted <= words
            words += rows
            if i.free:
                _, number, granted = gives.pop(0)
                assert number == i.free and granted >= words
        ends.append(words)
    assert len(done) == len(ends) and all(seen in (end - 1, end) for seen, end in zip(done, ends, strict=True))


def test_reads_ahead_two_tiles() -> None:
    """With nobody to take them, two tiles and a word are read, and no more."""
    dut = WeightLoader(4, 4, 4)
    log: list[int] = []

    async def wait(ctx: Any) -> None:
        await ctx.tick().repeat(60)
        assert len(log) == 9
        await check(ctx, dut.o, [row(4 * n, 4) for n in range(40)])

    simulate(dut, partial(send, stream=dut.i, values=[ARRAY(tiles=10, ky=1, kx=1, kc=1).values]), wait,
             background=[read_server(dut.memory, bytearray(MEMORY), 5, None, log)])


@pytest.mark.parametrize("strided", [False, True])
def test_pace(strided: bool) -> None:
    """A word a cycle, takes and gives included, and one cycle lost between instructions."""
    dut = WeightLoader(4, 4, 4, strided)
    cycles: list[int] = []

    async def output(ctx: Any) -> None:
        for stream in (dut.o, dut.take, dut.give):
            ctx.set(stream.ready, 1)
        cycle = 0
        while len(cycles) < 80:
            _, _, valid = await ctx.tick().sample(dut.o.valid)
            cycle += 1
            if valid:
                cycles.append(cycle)

    instruction = ARRAY(tiles=5, ky=1, kx=2, kc=1, ready=1, free=2) if not strided else ARRAY(
        tiles=5, ky=1, kx=1, kc=2, ready=1, free=2, strided=1, b_row=24, b_kc=4, b_tile=128)
    simulate(dut, partial(send, stream=dut.i, values=[instruction.values] * 2), output,
             background=[read_server(dut.memory, bytearray(MEMORY), 5)])
    assert cycles[-1] - cycles[0] == 79 + 2  # the first take of the second instruction costs a cycle, too


@pytest.mark.parametrize("arguments, message", [
    ((0, 4, 4), "rows must be at least 1, not 0"),
    ((4, 5, 4), r"cols must be from 1 to word_bytes \(4\), not 5"),
    ((4, 4, 6), "word_bytes must be a power of two, not 6"),
])
def test_arguments(arguments: tuple[int, int, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        WeightLoader(*arguments)
