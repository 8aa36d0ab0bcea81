"""Words come in the order of the addresses, and never more than there is room for."""

import random
from typing import Any

import pytest

from systolith.rtl.vector_reader import ReadAhead
from tests.streams import check, read_server, send, simulate, stalls


@pytest.mark.parametrize("depth, latency, often", [(1, 1, 0.3), (4, 7, 0.3), (16, 3, 0.3), (16, 5, 0.7)])
def test_order_and_room(depth: int, latency: int, often: float) -> None:
    rng = random.Random(depth)
    memory = bytearray(rng.randbytes(256))
    addresses = [rng.randrange(250) for _ in range(150)]
    words = [int.from_bytes(memory[a:a + 4], "little") for a in addresses]
    dut = ReadAhead(4, depth)
    simulate(dut, lambda ctx: send(ctx, dut.i, addresses, stalls(1, often)),
             lambda ctx: check(ctx, dut.o, words, stalls(2, often)),
             background=[read_server(dut.port, memory, latency, stalls(3, often))])


def test_a_word_every_cycle() -> None:
    memory = bytearray(range(256))
    dut = ReadAhead(4, 8)

    async def count(ctx: Any) -> None:
        await ctx.tick().until(dut.o.valid)
        ctx.set(dut.o.ready, 1)
        for _ in range(100):
            _, _, valid = await ctx.tick().sample(dut.o.valid)
            assert valid

    simulate(dut, count, background=[lambda ctx: send(ctx, dut.i, [4] * 200), read_server(dut.port, memory, 5)])


def test_depth() -> None:
    with pytest.raises(ValueError, match="depth must be at least 1, not 0"):
        ReadAhead(4, 0)
