"""Two clients of a port: each gets the answers to its own requests, in order, and none is left waiting."""

import random
from typing import Any

import pytest

from systolith.rtl.vector_port import SharedPort
from tests.streams import read_server, receive, send, simulate, stalls


@pytest.mark.parametrize("latency, depth, often", [(1, 1, 0.3), (5, 16, 0.3), (7, 4, 0.6), (5, 16, 0)])
def test_answers(latency: int, depth: int, often: float) -> None:
    rng = random.Random(depth)
    memory = bytearray(rng.randbytes(256))
    asked = [[rng.randrange(63) * 4 for _ in range(count)] for count in (150, 90)]
    dut = SharedPort(4, depth)

    async def client(ctx: Any, index: int) -> None:
        await send(ctx, dut.clients[index].request, asked[index], stalls(index, often))

    async def answers(ctx: Any, index: int) -> None:
        got = await receive(ctx, dut.clients[index].response, len(asked[index]))
        assert got == [int.from_bytes(memory[at:at + 4], "little") for at in asked[index]]

    simulate(dut, lambda ctx: client(ctx, 0), lambda ctx: client(ctx, 1), lambda ctx: answers(ctx, 0),
             lambda ctx: answers(ctx, 1), background=[read_server(dut.port, memory, latency, stalls(3, often))])


def test_in_turns() -> None:
    """Both ask all the time: one after the other, a request every cycle."""
    dut = SharedPort(4)
    log: list[int] = []

    async def check(ctx: Any) -> None:
        await ctx.tick().repeat(60)
        assert len(log) >= 58
        assert {a // 128 + b // 128 for a, b in zip(log, log[1:], strict=False)} == {1}

    simulate(dut, check, background=[read_server(dut.port, bytearray(256), 5, None, log),
                                     lambda ctx: send(ctx, dut.clients[0].request, [0] * 99),
                                     lambda ctx: send(ctx, dut.clients[1].request, [128] * 99)])
