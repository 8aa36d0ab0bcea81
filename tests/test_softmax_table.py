"""Loading of tables: every entry to its place, and no table over one in use."""

from typing import Any

import numpy as np
import pytest

from systolith.rtl.softmax_table import TableLoader
from tests.streams import read_server, send, simulate, stalls

COUNT = 5


@pytest.mark.parametrize("word_bytes", [4, 16, 64])
def test_loads(word_bytes: int) -> None:
    """The user of the tables checks each when it is said to be there and when it releases it."""
    numbers = np.random.default_rng(word_bytes)
    memory = numbers.integers(0, 256, 16384, np.uint8)
    addresses = [1024 * int(k) for k in numbers.permutation(16)[:COUNT]]
    wanted = [(memory[at:at + 1024].view("<u4") % (1 << 25)).tolist() for at in addresses]
    dut = TableLoader(word_bytes)
    tables: list[list[int]] = [[0] * 256, [0] * 256]

    async def watch(ctx: Any) -> None:
        async for _, _, write in ctx.tick().sample(dut.write):
            if write.valid:
                tables[write.table][write.index] = write.entry

    async def pulse(ctx: Any, *signals: Any) -> None:
        for signal in signals:
            ctx.set(signal, 1)
        await ctx.tick()
        for signal in signals:
            ctx.set(signal, 0)

    async def use(ctx: Any) -> None:
        """The second pass is done with table k, then comes to k + 1, and the third is done with k long after that."""
        for number in range(COUNT):
            await ctx.tick().until(dut.loaded)
            assert tables[number % 2] == wanted[number]
            await pulse(ctx, dut.begun)
            if number:
                for _ in range(400):
                    await ctx.tick()
                assert tables[(number - 1) % 2] == wanted[number - 1], "a table in use was overwritten"
                assert not ctx.get(dut.loaded)
                await pulse(ctx, dut.released)
        for _ in range(600):
            assert not ctx.get(dut.loaded)
            await ctx.tick()

    simulate(dut, use, lambda ctx: send(ctx, dut.i, addresses, stalls(1)),
             background=[watch, read_server(dut.port, bytearray(memory.tobytes()), 5, stalls(2, 0.1))])


@pytest.mark.parametrize("word_bytes", [4, 8, 16, 32])
def test_an_entry_every_cycle(word_bytes: int) -> None:
    """Behind a memory of 7 cycles."""
    dut = TableLoader(word_bytes)

    async def count(ctx: Any) -> None:
        valid = [(await ctx.tick().sample(dut.write))[-1].valid for _ in range(300)]
        assert sum(valid) == 256 and all(valid[valid.index(1):valid.index(1) + 256])

    simulate(dut, count, lambda ctx: send(ctx, dut.i, [0]),
             background=[read_server(dut.port, bytearray(1024), 7)])
