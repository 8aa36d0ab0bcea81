"""The fetcher against a copy of the memory: the right words after jumps at any time, and no read that is not needed."""

import random

import pytest

from systolith.rtl.fetch import Fetcher
from tests.streams import read_server, receive, simulate, stalls

MEMORY = 1024


def image(seed: int) -> tuple[bytearray, list[int]]:
    text = random.Random(seed).randbytes(MEMORY)
    return bytearray(text), [int.from_bytes(text[i:i + 4], "little") for i in range(0, MEMORY, 4)]


async def jump(ctx, dut, address):
    ctx.set(dut.target, address)
    ctx.set(dut.jump, 1)
    await ctx.tick()
    ctx.set(dut.jump, 0)


@pytest.mark.parametrize("word_bytes, stalled", [(4, False), (4, True), (8, True), (16, False), (128, True)])
def test_words_after_jumps(word_bytes: int, stalled: bool) -> None:
    """Jumps also while reads are refused or under way, and quickly one after the other."""
    dut = Fetcher(word_bytes, MEMORY)
    memory, words = image(word_bytes)
    rng = random.Random(word_bytes)

    async def bench(ctx):
        for _ in range(40):
            address = 4 * rng.randrange(MEMORY // 4)
            for _ in range(rng.choice((0, 0, 1, 3))):
                await jump(ctx, dut, 4 * rng.randrange(MEMORY // 4))
                for _ in range(rng.randrange(12)):
                    await ctx.tick()
            await jump(ctx, dut, address)
            count = min(rng.choice((0, 1, 5, 40)), MEMORY // 4 - address // 4)
            got = await receive(ctx, dut.o, count, stalls(rng.randrange(99)) if stalled else None, patience=400)
            assert got == words[address // 4:address // 4 + count]
    simulate(dut, bench, background=[read_server(dut.memory, memory, 5, stalls(3, long=20) if stalled else None)])


@pytest.mark.parametrize("word_bytes", [4, 16, 64, 128])
def test_a_word_a_cycle_and_the_latency_of_a_jump(word_bytes: int) -> None:
    dut = Fetcher(word_bytes, MEMORY)
    memory, _ = image(1)
    latency = 5

    async def bench(ctx):
        await jump(ctx, dut, 0)
        ctx.set(dut.o.ready, 1)
        when = []
        for cycle in range(MEMORY // 4 + 30):
            _, _, valid = await ctx.tick().sample(dut.o.valid)
            when += [cycle] if valid else []
        assert when == list(range(when[0], when[0] + MEMORY // 4))
        assert when[0] + 1 <= latency + 5
    simulate(dut, bench, background=[read_server(dut.memory, memory, latency)])


def test_the_end_of_the_memory_and_how_far_it_reads_ahead() -> None:
    dut = Fetcher(8, MEMORY)
    memory, words = image(1)
    log: list[int] = []

    async def bench(ctx):
        await jump(ctx, dut, 100)
        await ctx.tick().repeat(200)
        assert 96 in log and max(log) <= 100 + 64 + 8 and len(log) <= 9
        assert not ctx.get(dut.past_end)
        await jump(ctx, dut, MEMORY - 12)
        assert await receive(ctx, dut.o, 3) == words[-3:]
        await ctx.tick().repeat(30)
        assert ctx.get(dut.past_end) and not ctx.get(dut.o.valid) and max(log) == MEMORY - 8
        for address in (MEMORY, 0xFFFFFC):
            await jump(ctx, dut, address)
            await ctx.tick()
            assert ctx.get(dut.past_end)
        ctx.set(dut.stop, 1)
        await jump(ctx, dut, 0)  # the stop wins
        ctx.set(dut.stop, 0)
        log.clear()
        await ctx.tick().repeat(30)
        assert not ctx.get(dut.past_end) and not ctx.get(dut.o.valid) and not log
    simulate(dut, bench, background=[read_server(dut.memory, memory, log=log)])
