"""Semaphores against a model that checks every grant in the cycle in which it happens."""

import random

import pytest

from systolith.rtl.isa import SEMAPHORES
from systolith.rtl.semaphores import Semaphores
from tests.streams import send, simulate, stalls


def watcher(dut, counts, log=None):
    """Follows every grant and give: a grant beyond what was given, or a counter that differs in the end, fails."""
    async def watch(ctx):
        ports = [*dut.takes, *dut.gives]
        signals = [s for p in ports for s in (p.valid, p.ready, p.payload)]
        cycle, changed = 0, 0
        while True:
            _, _, *values, shown, error = await ctx.tick().sample(*signals, dut.counts, dut.error)
            assert not error
            granted = 0
            given = []
            for index in range(len(ports)):
                valid, ready, payload = values[3 * index:3 * index + 3]
                if not (valid and ready):
                    continue
                changed = cycle
                number, count = payload.semaphore, payload.count
                if index < len(dut.takes):
                    granted += 1
                    if number:
                        assert counts[number] >= count, f"take of {count} from {number}, which holds {counts[number]}"
                        counts[number] -= count
                    if log is not None:
                        log.append((cycle, index))
                elif number:
                    given.append((number, count))
            for number, delta in given:
                counts[number] += delta
            assert granted <= 1
            if cycle > changed + 4:  # what was given has reached the counters, and what was taken is granted
                assert [shown[i] for i in range(SEMAPHORES)] == counts
            cycle += 1
    return watch


@pytest.mark.parametrize("takers, givers, seed", [(1, 1, 1), (5, 4, 2), (7, 6, 3)])
def test_what_is_given_is_taken_once(takers: int, givers: int, seed: int) -> None:
    """Random traffic in balance: every take is granted in the end, and the counts return to what is left over."""
    dut = Semaphores(takers, givers)
    rng = random.Random(seed)
    numbers = list(range(1, 1 + takers))
    # Every taker has a semaphore of its own and takes in total what is given to it: nothing can block for ever.
    takes = {t: [rng.randint(0, 5) for _ in range(60)] for t in range(takers)}
    gives: list[list[dict[str, int]]] = [[] for _ in range(givers)]
    for t in range(takers):
        left = sum(takes[t])
        while left:
            n = min(left, rng.randint(1, 6))
            left -= n
            gives[rng.randrange(givers)].append({"semaphore": numbers[t], "count": n})
    for index in range(givers):
        gives[index] += [{"semaphore": SEMAPHORES - 1, "count": 3}, {"semaphore": 0, "count": 9}]
        rng.shuffle(gives[index])
    counts = [0] * SEMAPHORES

    def taker(t):
        values = [{"semaphore": numbers[t], "count": n} for n in takes[t]]
        return lambda ctx: send(ctx, dut.takes[t], values, stalls(seed + t, long=10))

    def giver(index):
        return lambda ctx: send(ctx, dut.gives[index], gives[index], stalls(seed + 50 + index))
    simulate(dut, *map(taker, range(takers)), *map(giver, range(givers)), background=[watcher(dut, counts)])
    assert counts == [0] * (SEMAPHORES - 1) + [3 * givers]


def test_shared_semaphores() -> None:
    """Takers of one semaphore never take the same count twice."""
    dut = Semaphores(4, 3)
    counts = [0] * SEMAPHORES
    takes = [{"semaphore": 5, "count": 2}] * 30
    gives = [{"semaphore": 5, "count": 1}] * 80

    def taker(t):
        return lambda ctx: send(ctx, dut.takes[t], takes, stalls(t))

    def giver(index):
        return lambda ctx: send(ctx, dut.gives[index], gives, stalls(20 + index))
    simulate(dut, *map(taker, range(4)), *map(giver, range(3)), background=[watcher(dut, counts)])
    assert counts[5] == 0


def test_fairness() -> None:
    """Four takers that always ask and could always be granted are granted every five cycles, each."""
    dut = Semaphores(4, 1)
    log: list[tuple[int, int]] = []

    async def bench(ctx):
        await send(ctx, dut.gives[0], [{"semaphore": 1, "count": 4000}] * 3)
        for port in dut.takes:
            ctx.set(port.payload, {"semaphore": 1, "count": 1})
            ctx.set(port.valid, 1)
        await ctx.tick().repeat(403)
    simulate(dut, bench, background=[watcher(dut, [0] * SEMAPHORES, log)])
    shares = [sum(index == taker for _, index in log) for taker in range(4)]
    assert min(shares) >= 79 and max(shares) - min(shares) <= 1, shares


def test_a_refused_take_holds_up_no_other() -> None:
    dut = Semaphores(3, 1)
    log: list[tuple[int, int]] = []

    async def bench(ctx):
        for t in (0, 2):
            ctx.set(dut.takes[t].payload, {"semaphore": 3, "count": 1})
            ctx.set(dut.takes[t].valid, 1)
        await send(ctx, dut.gives[0], [{"semaphore": 4, "count": 100}])
        await send(ctx, dut.takes[1], [{"semaphore": 4, "count": 1}] * 100)
    simulate(dut, bench, background=[watcher(dut, [0] * SEMAPHORES, log)], deadline=600)
    assert [index for _, index in log] == [1] * 100


@pytest.mark.parametrize("offset", range(6))
def test_latency_and_no_lost_wake_up(offset: int) -> None:
    """A take is granted five to seven cycles after the give, wherever that finds it."""
    dut = Semaphores(2, 1)

    async def bench(ctx):
        await ctx.tick().repeat(3)
        ctx.set(dut.takes[1].payload, {"semaphore": 9, "count": 2})
        ctx.set(dut.takes[1].valid, 1)
        for _ in range(offset):
            await ctx.tick()
        ctx.set(dut.gives[0].payload, {"semaphore": 9, "count": 2})
        ctx.set(dut.gives[0].valid, 1)
        for cycle in range(10):
            _, _, ready = await ctx.tick().sample(dut.takes[1].ready)
            ctx.set(dut.gives[0].valid, 0)
            if ready:
                assert cycle in (5, 6, 7)
                return
        raise AssertionError("the take was not granted")
    simulate(dut, bench)


def test_overflow_and_none() -> None:
    dut = Semaphores(1, 1)

    async def bench(ctx):
        await send(ctx, dut.gives[0], [{"semaphore": 7, "count": 2047}] * 32 + [{"semaphore": 7, "count": 31}])
        await ctx.tick().repeat(4)
        assert ctx.get(dut.counts[7]) == 65535 and not ctx.get(dut.error)
        await send(ctx, dut.gives[0], [{"semaphore": 7, "count": 1}])
        await ctx.tick().repeat(2)
        assert ctx.get(dut.error) and ctx.get(dut.error_semaphore) == 7
        await ctx.tick()
        assert ctx.get(dut.counts[7]) == 65535 and not ctx.get(dut.error)
        await send(ctx, dut.gives[0], [{"semaphore": 0, "count": 2047}] * 20)
        await send(ctx, dut.takes[0], [{"semaphore": 0, "count": 2047}], patience=30)
        assert ctx.get(dut.counts[0]) == 0 and not ctx.get(dut.error)
    simulate(dut, bench)


def test_semaphores_that_are_not_there() -> None:
    """Gives are errors, takes wait; the ones with the same low bits keep their counts."""
    dut = Semaphores(1, 1, 16)

    async def bench(ctx):
        await send(ctx, dut.gives[0], [{"semaphore": 3, "count": 5}, {"semaphore": 19, "count": 1}])
        await ctx.tick().repeat(2)
        assert ctx.get(dut.error) and ctx.get(dut.error_semaphore) == 19
        ctx.set(dut.takes[0].payload, {"semaphore": 19, "count": 2})
        ctx.set(dut.takes[0].valid, 1)
        for _ in range(20):
            await ctx.tick()
            assert not ctx.get(dut.takes[0].ready)
        assert ctx.get(dut.counts[3]) == 5
    simulate(dut, bench)


def test_refuses_what_cannot_work() -> None:
    with pytest.raises(ValueError, match="semaphores must be a power of two up to 32, not 24"):
        Semaphores(1, 1, 24)
    with pytest.raises(ValueError, match="takers must be at least 1, not 0"):
        Semaphores(0, 1)
    with pytest.raises(ValueError, match="givers must be at least 1, not 0"):
        Semaphores(1, 0)
