# amaranth: UnusedElaboratable=no
"""The external port shared: every client gets its own beats and ends, in order, whatever the others do."""

import random

import pytest

from systolith.rtl.shared_port import SharedReads, SharedWrites
from tests.streams import receive, send, simulate, stalls
from tests.test_mover import external_reads, external_writes

WIDTH, SIZE = 4, 4096


def _bursts(rng: random.Random, count: int) -> list[dict[str, int]]:
    bursts = []
    for _ in range(count):
        beats = rng.choice((1, 1, 2, 3, 16, 40))
        bursts.append({"address": rng.randrange((SIZE - beats * WIDTH) // WIDTH) * WIDTH, "beats": beats - 1})
    return bursts


@pytest.mark.parametrize("clients, seed, slow", [(1, 1, True), (2, 2, False), (2, 3, True), (3, 4, True)])
def test_reads(clients: int, seed: int, slow: bool) -> None:
    rng = random.Random(seed)
    dut, store = SharedReads(WIDTH, clients), bytearray(rng.randbytes(SIZE))
    bursts = [_bursts(rng, 30) for _ in range(clients)]
    expected = [[int.from_bytes(store[b["address"] + WIDTH * n:][:WIDTH], "little")
                 for b in own for n in range(b["beats"] + 1)] for own in bursts]

    def stall(number: int):
        return stalls(10 * seed + number) if slow else None

    def asks(client: int):
        return lambda ctx: send(ctx, dut.requests[client], bursts[client], stall(client))

    def takes(client: int):
        async def bench(ctx):
            assert await receive(ctx, dut.data[client], len(expected[client]), stall(client + 3)) == expected[client]
        return bench
    simulate(dut, *map(asks, range(clients)), *map(takes, range(clients)),
             background=[external_reads(dut, store, 9, stall(7), stall(8), [])])


@pytest.mark.parametrize("clients, seed, slow", [(1, 1, True), (2, 2, False), (2, 3, True), (3, 4, True)])
def test_writes(clients: int, seed: int, slow: bool) -> None:
    rng = random.Random(seed)
    dut, store = SharedWrites(WIDTH, clients), bytearray(SIZE)
    part = SIZE // clients // WIDTH
    bursts = [[{"address": (client * part + 40 * (n % (part // 40))) * WIDTH, "beats": rng.choice((0, 1, 5, 39))}
               for n in range(25)] for client in range(clients)]  # each client in a part of its own
    beats = [[rng.getrandbits(8 * WIDTH) for b in own for _ in range(b["beats"] + 1)] for own in bursts]
    expected = bytearray(SIZE)
    for own, data in zip(bursts, beats, strict=True):
        left = iter(data)
        for b in own:
            for n in range(b["beats"] + 1):
                at = b["address"] + WIDTH * n
                expected[at:at + WIDTH] = next(left).to_bytes(WIDTH, "little")
    ends = [0] * clients
    order: list[int] = []

    def stall(number: int):
        return stalls(10 * seed + number) if slow else None

    def asks(client: int):
        return lambda ctx: send(ctx, dut.requests[client], bursts[client], stall(client))

    def gives(client: int):
        return lambda ctx: send(ctx, dut.data[client], beats[client], stall(client + 3))

    async def count(ctx):
        for _ in range(60000):
            _, _, done = await ctx.tick().sample(dut.done)
            for client in range(clients):
                ends[client] += done >> client & 1
            order.extend(client for client in range(clients) if done >> client & 1)
            if ends == [len(own) for own in bursts]:
                return
        raise AssertionError(f"ends of bursts are missing: {ends}")
    simulate(dut, *map(asks, range(clients)), *map(gives, range(clients)), count,
             background=[external_writes(dut, store, 9, stall(7), stall(8), [])])
    assert store == expected
    if clients > 1:
        assert len(set(order[:2 * clients])) == clients, "they take turns"
