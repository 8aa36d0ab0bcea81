"""Waits before, signals after an instruction, and the merge of streams, against lists."""

import random

import pytest

from systolith.rtl.isa import SYNC
from systolith.rtl.issue import Issue, Merge, Signaller
from tests.streams import check, plain, receive, send, simulate, stalls

SIGNALS = ("signal0", "signal0_count", "signal1", "signal1_count")


def instructions(count: int, seed: int) -> list[dict[str, int]]:
    """SYNC instructions of which each wait and signal is there, has no semaphore, or no count."""
    rng = random.Random(seed)

    def pair(name: str) -> dict[str, int]:
        kind = rng.randrange(4)
        return {name: 0 if kind == 0 else rng.randint(1, 15), f"{name}_count": 0 if kind == 1 else rng.randint(1, 2047)}
    return [{"opcode": SYNC.opcode, "length": SYNC.length, "tag": rng.getrandbits(16),
             **pair("wait0"), **pair("wait1"), **pair("signal0"), **pair("signal1")} for _ in range(count)]


def wanted(values: list[dict[str, int]], verb: str) -> list[dict[str, int]]:
    """The takes or gives of `values`, in order."""
    return [{"semaphore": v[f"{verb}{i}"], "count": v[f"{verb}{i}_count"]} for v in values for i in (0, 1)
            if v[f"{verb}{i}"] and v[f"{verb}{i}_count"]]


@pytest.mark.parametrize("seed", [1, 2])
def test_issue_takes_then_passes(seed: int) -> None:
    dut = Issue(SYNC.layout())
    values = instructions(60, seed)
    takes = wanted(values, "wait")
    simulate(dut, lambda ctx: send(ctx, dut.i, values, stalls(seed)),
             lambda ctx: check(ctx, dut.o, values, stalls(seed + 1, often=0.6)),
             lambda ctx: check(ctx, dut.take, takes, stalls(seed + 2)))


def test_issue_passes_nothing_before_its_waits() -> None:
    dut = Issue(SYNC.layout())
    value = instructions(1, 1)[0] | {"wait0": 3, "wait0_count": 2, "wait1": 4, "wait1_count": 1}

    async def bench(ctx):
        ctx.set(dut.o.ready, 1)
        ctx.set(dut.i.payload, value)
        assert not ctx.get(dut.waiting) and not ctx.get(dut.take.valid)
        ctx.set(dut.i.valid, 1)
        for semaphore in (3, 4):
            for _ in range(20):
                _, _, out, taken, waiting, take = await ctx.tick().sample(
                    dut.o.valid, dut.i.ready, dut.waiting, dut.take.payload.semaphore)
                assert not out and not taken and waiting and take == semaphore
            ctx.set(dut.take.ready, 1)
            await ctx.tick()
            ctx.set(dut.take.ready, 0)
        assert ctx.get(dut.o.valid) and ctx.get(dut.i.ready) and plain(ctx.get(dut.o.payload)) == value
    simulate(dut, bench)


def test_issue_without_waits_costs_nothing() -> None:
    dut = Issue(SYNC.layout())
    values = [v | {"wait0": 0, "wait1_count": 0} for v in instructions(50, 4)]
    cycles = 0

    async def count(ctx):
        nonlocal cycles
        while True:
            await ctx.tick()
            cycles += 1
    simulate(dut, lambda ctx: send(ctx, dut.i, values), lambda ctx: check(ctx, dut.o, values), background=[count])
    assert cycles <= len(values) + 1


@pytest.mark.parametrize("seed", [1, 2])
def test_signaller(seed: int) -> None:
    dut = Signaller()
    values = [{name: v[name] for name in SIGNALS} for v in instructions(80, seed)]
    simulate(dut, lambda ctx: send(ctx, dut.i, values, stalls(seed)),
             lambda ctx: check(ctx, dut.o, wanted(values, "signal"), stalls(seed + 1, often=0.5)))


def test_signaller_is_done_after_its_last_give() -> None:
    dut = Signaller()

    async def bench(ctx):
        for signals, gives in (((1, 2, 3, 4), 2), ((0, 2, 3, 4), 1), ((1, 2, 3, 0), 1), ((0, 0, 0, 0), 0)):
            ctx.set(dut.i.payload, dict(zip(SIGNALS, signals, strict=True)))
            ctx.set(dut.i.valid, 1)
            for number in range(gives):
                await ctx.tick().repeat(3)
                assert ctx.get(dut.o.valid) and not ctx.get(dut.i.ready)
                ctx.set(dut.o.ready, 1)
                assert ctx.get(dut.i.ready) == (number == gives - 1)
                await ctx.tick()
                ctx.set(dut.o.ready, 0)
            if not gives:
                assert ctx.get(dut.i.ready) and not ctx.get(dut.o.valid)
                await ctx.tick()
            ctx.set(dut.i.valid, 0)
            await ctx.tick()
    simulate(dut, bench)


@pytest.mark.parametrize("count", [1, 2, 5])
def test_merge_keeps_every_stream_in_order(count: int) -> None:
    dut = Merge(16, count)
    values = [[index << 8 | n for n in range(40)] for index in range(count)]
    got: list[int] = []

    async def take(ctx):
        got.extend(await receive(ctx, dut.o, 40 * count, stalls(9, often=0.5)))

    def source(index):
        return lambda ctx: send(ctx, dut.i[index], values[index], stalls(index))
    simulate(dut, take, *map(source, range(count)))
    for index in range(count):
        assert [v for v in got if v >> 8 == index] == values[index]


def test_merge_is_fair() -> None:
    """Streams that always have something are served in turns, one a cycle."""
    dut = Merge(8, 3)
    got: list[int] = []

    async def bench(ctx):
        for index in range(3):
            ctx.set(dut.i[index].payload, index)
            ctx.set(dut.i[index].valid, 1)
        ctx.set(dut.o.ready, 1)
        for _ in range(30):
            _, _, valid, value = await ctx.tick().sample(dut.o.valid, dut.o.payload)
            got.extend([value] if valid else [])
    simulate(dut, bench)
    assert got == [0, 1, 2] * 10


def test_merge_refuses_no_inputs() -> None:
    with pytest.raises(ValueError, match="count must be at least 1, not 0"):
        Merge(8, 0)
