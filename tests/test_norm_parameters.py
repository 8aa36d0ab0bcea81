"""Loading of parameters: every word to its place, and none over one in use."""

from collections import deque
from typing import Any

import numpy as np
import pytest

from systolith.rtl.isa import NORM_ELEMS
from systolith.rtl.norm_parameters import ParameterLoader
from tests.streams import read_server, send, simulate, stalls


@pytest.mark.parametrize("word_bytes, lanes", [(4, 1), (4, 2), (8, 4), (16, 4), (16, 1), (32, 16), (64, 2)])
def test_loads(word_bytes: int, lanes: int) -> None:
    """The user of the parameters checks each set when it is said to be there, and until it releases it."""
    numbers = np.random.default_rng(word_bytes + lanes)
    memory = numbers.integers(0, 256, 1 << 16, np.uint8)
    counts = [3, 600, 1, NORM_ELEMS - 600, lanes, NORM_ELEMS, 5, 7, 9, 2, 1000]
    jobs = [{"base": 128 * int(numbers.integers(0, 300)), "elems": count} for count in counts]
    dut = ParameterLoader(word_bytes, lanes)
    depth = NORM_ELEMS // lanes
    words = np.zeros(2 * NORM_ELEMS, np.int64)
    starts = np.cumsum([0, *(-(-count // lanes) for count in counts)]) % depth

    def whole(number: int) -> bool:
        job = jobs[number]
        wanted = memory[job["base"]:job["base"] + 8 * job["elems"]].view("<u4")
        at = (2 * lanes * int(starts[number]) + np.arange(2 * job["elems"])) % words.size
        return bool((words[at] == wanted).all())

    async def watch(ctx: Any) -> None:
        async for _, _, write in ctx.tick().sample(dut.write):
            for word in range(2 * lanes):
                if write["words"] >> word & 1:
                    words[2 * lanes * write.place + word] = write["values"] >> 32 * word & 0xFFFFFFFF

    async def use(ctx: Any) -> None:
        for number in range(len(jobs)):
            await ctx.tick().until(dut.loaded)
            assert whole(number), number
            for _ in range(int(numbers.choice([0, 3, 700]))):
                await ctx.tick()
            assert whole(number), f"{number} was overwritten in use"
            ctx.set(dut.released, 1)
            await ctx.tick()
            ctx.set(dut.released, 0)
        for _ in range(300):
            assert not ctx.get(dut.loaded)
            await ctx.tick()

    simulate(dut, use, lambda ctx: send(ctx, dut.i, jobs, stalls(1), 20_000),
             background=[watch, read_server(dut.port, bytearray(memory.tobytes()), 5, stalls(2, 0.1))])


@pytest.mark.parametrize("word_bytes, lanes, cycles", [(4, 2, 200), (8, 2, 100), (16, 4, 50), (32, 4, 25), (64, 2, 50)])
def test_a_word_or_a_chunk_every_cycle(word_bytes: int, lanes: int, cycles: int) -> None:
    """Behind a memory of 7 cycles; the next set follows at once, though the first is not released."""
    dut = ParameterLoader(word_bytes, lanes)
    written: deque[bool] = deque()

    async def count(ctx: Any) -> None:
        for _ in range(2 * cycles + 60):
            written.append(bool((await ctx.tick().sample(dut.write))[-1]["words"]))
        assert sum(written) == 2 * cycles
        first = written.index(True)
        assert all(list(written)[first:first + cycles]) and sum(list(written)[:first + 2 * cycles + 20]) == 2 * cycles

    simulate(dut, count, lambda ctx: send(ctx, dut.i, [{"base": 0, "elems": 100}] * 2),
             background=[read_server(dut.port, bytearray(1024), 7)])
