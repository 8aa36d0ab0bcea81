"""The pager against its model: every answer, the cycle in which it comes, and every figure."""

import random
from collections.abc import Callable
from typing import Any

import pytest
from amaranth import ResetInserter, Signal

from systolith.rtl.pager import Pager
from systolith.rtl.pager_ports import PageRequestKind as Kind
from systolith.rtl.pager_ports import PagerError
from systolith.sim.golden.pager import PagerModel
from tests.pager_traffic import FIGURES, Follower, Traffic, request, wild
from tests.streams import plain, receive, send, simulate, stalls


def follow(dut: Pager, follower: Follower) -> Callable[[Any], Any]:
    """A background testbench that lets `follower` see every cycle."""
    async def watch(ctx):
        ports = [*dut.requests, *dut.responses]
        signals = [s for port in ports for s in (port.valid, port.ready, port.payload)]
        while True:
            _, _, *values = await ctx.tick().sample(*signals, *(getattr(dut, name) for name in FIGURES))
            seen = [tuple(values[3 * i:3 * i + 3]) for i in range(len(ports))]
            requests = [(valid, ready, plain(payload)) for valid, ready, payload in seen[:len(dut.requests)]]
            responses = [(valid, ready, tuple(plain(payload).values()))
                         for valid, ready, payload in seen[len(dut.requests):]]
            follower.cycle(requests, responses, dict(zip(FIGURES, map(int, values[3 * len(ports):]), strict=True)))
    return watch


async def ask(ctx: Any, dut: Pager, client: int, asked: dict[str, int], *stall: Any) -> tuple[int, int, int]:
    """Send a request and return page, ok and end."""
    waits = [iter([next(s)]) for s in stall] or [None, None]
    await send(ctx, dut.requests[client], [asked], waits[0])
    answer, = await receive(ctx, dut.responses[client], 1, waits[1])
    return answer["page"], answer["ok"], answer["end"]


def legal_client(dut: Pager, client: int, traffic: Traffic, seed: int, calm: bool) -> Callable[[Any], Any]:
    """A client that does what `traffic` says; `calm`: without stalls."""
    def pattern(number: int) -> Any:
        return stalls(seed + number, often=0.0 if calm else 0.3, long=60)

    async def run(ctx):
        before, after = pattern(client), pattern(50 + client)
        while not traffic.finished:
            asked = traffic.next()
            if asked is None:
                await ctx.tick()
            else:
                traffic.done(asked, *await ask(ctx, dut, client, asked, before, after))
    return run


def limited(dut: Pager, limit: int) -> Callable[[Any], Any]:
    async def run(ctx):
        ctx.set(dut.limit, limit)
    return run


SIZES = [  # pages, outside, streams, readers, clients, limit
    (1, 0, 1, 1, 1, 1),
    (1, 1, 2, 2, 3, 9),
    (3, 0, 2, 1, 2, 2),
    (5, 3, 3, 2, 4, 5),
    (7, 1, 5, 4, 5, 4),
    (2, 9, 3, 3, 2, 0),
    (16, 16, 4, 4, 6, 13),
    (13, 0, 6, 2, 8, 13),
    (40, 24, 8, 4, 3, 60),
]


@pytest.mark.parametrize("calm", [False, True])
@pytest.mark.parametrize("size", SIZES, ids=lambda size: "-".join(map(str, size)))
def test_traffic(size: tuple[int, ...], calm: bool) -> None:
    """Writers and readers of many streams, one after the other in the same pages: all as the model, nothing is left."""
    pages, outside, streams, readers, clients, limit = size
    dut = Pager(pages, outside, streams, readers, clients)
    model = PagerModel(pages, outside, streams, readers, limit)
    follower = Follower(model, clients)
    traffic = Traffic(streams, readers, 500, sum(size), longest=4 + pages)
    simulate(dut, limited(dut, limit), *(legal_client(dut, c, traffic, 7, calm) for c in range(clients)),
             background=[follow(dut, follower)])
    assert model.used == model.used_outside == 0 and not model.open and model.code == 0
    assert follower.served > 300
    assert model.chip.high_water == min(limit, pages) or pages > 20


@pytest.mark.parametrize("seed", range(8))
def test_anything(seed: int) -> None:
    """Requests without sense: the same answers, the first error is kept, and the tables stay whole.

    Clients send their next request before they take the answer.
    """
    size = random.Random(seed)
    pages, outside = size.randint(1, 9), size.randint(0, 4)
    streams, readers, clients = size.randint(1, 3), size.randint(1, 4), size.randint(1, 3)
    dut = Pager(pages, outside, streams, readers, clients)
    follower = Follower(PagerModel(pages, outside, streams, readers), clients)

    def sender(index: int) -> Callable[[Any], Any]:
        rng = random.Random(100 * seed + index)
        requests = [wild(rng, streams) for _ in range(400 // clients)]
        return lambda ctx: send(ctx, dut.requests[index], requests, stalls(index))

    def receiver(index: int) -> Callable[[Any], Any]:
        return lambda ctx: receive(ctx, dut.responses[index], 400 // clients, stalls(9 + index))
    simulate(dut, limited(dut, pages), *map(sender, range(clients)), *map(receiver, range(clients)),
             background=[follow(dut, follower)])
    assert follower.model.code != 0


MISUSE = [
    (PagerError.BAD_REQUEST, [], request(5, 0)),
    (PagerError.BAD_REQUEST, [], request(7, 0)),
    (PagerError.BAD_REQUEST, [], request(Kind.OPEN, 3, count=1)),
    (PagerError.BAD_REQUEST, [], request(Kind.OPEN, 63, count=1)),
    (PagerError.STREAM_IN_USE, [request(Kind.OPEN, 1, count=1)], request(Kind.OPEN, 1, count=1)),
    (PagerError.BAD_COUNT, [], request(Kind.OPEN, 1, count=0)),
    (PagerError.BAD_COUNT, [], request(Kind.OPEN, 1, count=4)),
    *((PagerError.STREAM_NOT_OPEN, [request(Kind.OPEN, 1, count=1)], request(kind, 2)) for kind in range(1, 5)),
    *((PagerError.STREAM_FINISHED, [request(Kind.OPEN, 2, count=1), request(Kind.FINISH, 2)], request(kind, 2))
      for kind in (Kind.EXTEND, Kind.FINISH)),
    *((PagerError.NO_SUCH_READER, [request(Kind.OPEN, 2, count=2)], request(kind, 2, reader))
      for kind in (Kind.FOLLOW, Kind.DROP) for reader in (2, 3)),
    *((PagerError.NO_SUCH_READER, [request(Kind.OPEN, 2, count=3), request(Kind.DROP, 2, 1)], request(kind, 2, 1))
      for kind in (Kind.FOLLOW, Kind.DROP)),
]


@pytest.mark.parametrize("code, before, asked", MISUSE)
def test_misuse(code: PagerError, before: list[dict[str, int]], asked: dict[str, int]) -> None:
    """Each misuse has its code, until reset; what came before still works, and a later one does not change the code."""
    dut = Pager(3, 0, 3, 3, 1)
    follower = Follower(PagerModel(3, 0, 3, 3), 1)

    async def bench(ctx):
        for good in before:
            assert (await ask(ctx, dut, 0, good))[1] and not ctx.get(dut.error)
        assert await ask(ctx, dut, 0, asked) == (0, 0, 0)
        assert ctx.get(dut.error) and ctx.get(dut.code) == code
        other = request(6, 0) if code != PagerError.BAD_REQUEST else request(Kind.EXTEND, 0)
        assert not (await ask(ctx, dut, 0, other))[1] and ctx.get(dut.code) == code
        for good in (request(Kind.OPEN, 0, count=1), request(Kind.EXTEND, 0), request(Kind.FOLLOW, 0)):
            assert (await ask(ctx, dut, 0, good))[1]
    simulate(dut, limited(dut, 3), bench, background=[follow(dut, follower)])
    assert follower.model.code == code


def test_reset_makes_everything_free() -> None:
    """A reset at any moment: the pager then gives the same pages as in the beginning."""
    rst = Signal()
    dut = Pager(5, 2, 2, 2, 2)
    wrapped = ResetInserter(rst)(dut)

    async def bench(ctx):
        ctx.set(dut.limit, 5)
        for cycles in range(60):
            answers = []
            for asked in [request(Kind.OPEN, 0, count=2), *[request(Kind.EXTEND, 0)] * 8, request(Kind.FOLLOW, 0, 1),
                          request(Kind.DROP, 0, 0), request(7, 0), request(Kind.FOLLOW, 0, 1)]:
                answers.append(await ask(ctx, dut, 0, asked))
            assert [page for page, _, _ in answers] == [0, 0, 1, 2, 3, 4, 5, 6, 0, 0, 0, 0, 1]
            assert ctx.get(dut.used) == 4 and ctx.get(dut.used_outside) == 2 and ctx.get(dut.refusals) == 1
            ctx.set(dut.requests[1].payload, request(Kind.DROP, 0, 1))
            ctx.set(dut.requests[1].valid, 1)
            for _ in range(cycles):
                _, _, ready = await ctx.tick().sample(dut.requests[1].ready)
                ctx.set(dut.requests[1].valid, ctx.get(dut.requests[1].valid) & (not ready))
            ctx.set(dut.requests[1].valid, 0)
            ctx.set(rst, 1)
            await ctx.tick()
            ctx.set(rst, 0)
            for name in FIGURES:
                assert ctx.get(getattr(dut, name)) == 0
            assert not ctx.get(dut.responses[1].valid)
    simulate(wrapped, bench)


def test_high_water() -> None:
    """The marks stay at the most, and begin anew from what is in use."""
    dut = Pager(4, 4, 1, 1, 1)

    async def bench(ctx):
        await ask(ctx, dut, 0, request(Kind.OPEN, 0, count=1))
        for _ in range(5):
            await ask(ctx, dut, 0, request(Kind.EXTEND, 0))
        for _ in range(5):
            await ask(ctx, dut, 0, request(Kind.FOLLOW, 0))
        await ctx.tick().repeat(5)
        assert [ctx.get(getattr(dut, name)) for name in FIGURES[:4]] == [0, 3, 1, 2]
        ctx.set(dut.clear_high_water, 1)
        await ctx.tick()
        ctx.set(dut.clear_high_water, 0)
        assert [ctx.get(getattr(dut, name)) for name in FIGURES[:4]] == [0, 0, 1, 1]
        await ask(ctx, dut, 0, request(Kind.EXTEND, 0))
        await ctx.tick()
        assert [ctx.get(getattr(dut, name)) for name in FIGURES[:4]] == [1, 1, 1, 1]
    simulate(dut, limited(dut, 3), bench)


def test_rate() -> None:
    """A writer and a reader that always ask get a page every 17 cycles."""
    dut = Pager(8, 0, 1, 1, 2)

    async def writer(ctx):
        ctx.set(dut.limit, 8)
        await ask(ctx, dut, 0, request(Kind.OPEN, 0, count=1))
        ctx.set(dut.requests[1].payload, request(Kind.FOLLOW, 0))
        for client in range(2):
            ctx.set(dut.responses[client].ready, 1)
            ctx.set(dut.requests[client].valid, 1)
        ctx.set(dut.requests[0].payload, request(Kind.EXTEND, 0))
        served = 0
        for _ in range(1700):
            _, _, valid, answer = await ctx.tick().sample(dut.responses[1].valid, dut.responses[1].payload)
            served += valid and answer.ok
        assert served >= 98 and ctx.get(dut.refusals) == 0
    simulate(dut, writer)


@pytest.mark.parametrize("arguments, words", [
    ((0, 0, 1, 1, 1), "pages must be at least 1, not 0"),
    ((1, -1, 1, 1, 1), "outside must be at least 0, not -1"),
    ((65535, 1, 1, 1, 1), r"pages \+ outside must be at most 65535, not 65536"),
    ((1, 0, 0, 1, 1), "streams must be from 1 to 64, not 0"),
    ((1, 0, 65, 1, 1), "streams must be from 1 to 64, not 65"),
    ((1, 0, 1, 5, 1), "readers must be from 1 to 4, not 5"),
    ((1, 0, 1, 0, 1), "readers must be from 1 to 4, not 0"),
    ((1, 0, 1, 1, 0), "clients must be at least 1, not 0"),
])
def test_refuses_what_cannot_work(arguments: tuple[int, ...], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Pager(*arguments)
