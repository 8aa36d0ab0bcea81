# amaranth: UnusedElaboratable=no
"""The unified memory under traffic from all of its ports at once."""

import random
from itertools import pairwise
from typing import Any

import pytest
from amaranth.sim import Simulator

from systolith.rtl.memory import UnifiedMemory
from systolith.rtl.memory_port import PortAccess
from tests.memory_traffic import Traffic, drive

READS = {"feeder": False, "weights": True, "vector": False, "host": True}
WRITES = {"vector": False, "host": True}


def run(dut: UnifiedMemory, traffic: Traffic, cycles: int) -> dict[str, int]:
    """Run `traffic` on `dut` for `cycles` and until every answer is in; return the conflicts of each port."""
    conflicts = dict.fromkeys(dut.ports, 0)
    noise = random.Random(5)
    signals = {p: getattr(dut, p) for p in dut.ports}
    watched = [signals[p].request.ready for p in dut.ports]
    for p in dut.ports:
        if p[0] == "r":
            watched += [signals[p].response.valid, signals[p].response.payload]
    watched += [dut.conflicts, dut.error, dut.error_address, dut.error_port]

    async def bench(ctx: Any) -> None:
        for cycle in range(cycles + 20):
            asking = traffic.requests() if cycle < cycles else traffic.asking
            for p in dut.ports:
                valid, payload = drive(p, asking[p], noise)
                ctx.set(signals[p].request.valid, valid)
                ctx.set(signals[p].request.payload, payload)
            values = list((await ctx.tick().sample(*watched))[2:])
            ready = dict(zip(dut.ports, values, strict=False))
            rest = iter(values[len(dut.ports):-4])
            answers = {p: next(rest) if valid else next(rest) * 0 - 1 for p in dut.ports if p[0] == "r"
                       for valid in [next(rest)]}
            for index, p in enumerate(dut.ports):
                refused = bool(asking[p]) and not ready[p]
                assert values[-4] >> index & 1 == refused
                conflicts[p] += refused
            traffic.step(ready, {p: None if a < 0 else a for p, a in answers.items()})
            error = traffic.expected_error(dut.ports)
            assert (tuple(values[-2:]) if values[-3] else None) == error
        assert not any(traffic.asking.values()) and not any(traffic.due.values())

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    return conflicts


@pytest.mark.parametrize("size, banks, word", [(256, 4, 4), (640, 2, 16), (1024, 8, 8), (96, 4, 8)])
@pytest.mark.parametrize("beyond", [False, True])
def test_traffic(size: int, banks: int, word: int, beyond: bool) -> None:
    """Answers, order of effects, errors and bounded waiting under random traffic."""
    dut = UnifiedMemory(size, banks, word, READS, WRITES, "feeder")
    traffic = Traffic(size, word, {p: (READS if p[0] == "r" else WRITES)[p[2:]] for p in dut.ports},
                      {f"r_{name}": n for name, n in dut.latencies.items()}, "r_feeder", seed=size, beyond=beyond)
    conflicts = run(dut, traffic, 1200)
    assert min(traffic.granted.values()) > 50
    assert conflicts["r_feeder"] == 0 and all(conflicts[p] for p in dut.ports if p != "r_feeder")
    assert bool(traffic.errors) == beyond


@pytest.mark.parametrize("stride", [1, 3, 8, 64, 128])
def test_sustained(stride: int) -> None:
    """One unaligned access a cycle beside the feeder's, also where the stride is a power of two."""
    dut = UnifiedMemory(2048, 8, 8, READS, WRITES, "feeder")
    granted = []

    async def bench(ctx: Any) -> None:
        ctx.set(dut.r_feeder.request.valid, 1)
        ctx.set(dut.r_vector.request.valid, 1)
        for i in range(200):
            ctx.set(dut.r_feeder.request.payload, i * stride % 2040)
            ctx.set(dut.r_vector.request.payload, len(granted) * stride % 2040)
            if (await ctx.tick().sample(dut.r_vector.request.ready))[2]:
                granted.append(i)

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    assert len(granted) > 180


@pytest.mark.parametrize("banks", [2, 4, 8, 16])
def test_place(banks: int) -> None:
    """Words have places of their own, neighbours different banks, and a stride of a row of banks visits all."""
    dut = UnifiedMemory(16 * 16 * banks, banks, 16, {"f": False}, {}, "f")
    places = [dut.place(16 * w)[:2] for w in range(16 * banks)]
    assert len(set(places)) == len(places)
    assert all(a[0] != b[0] for a, b in pairwise(places))
    if banks > 2:
        assert len({bank for bank, _ in places[::banks]}) == min(16, banks)


@pytest.mark.parametrize("banks", [2, 4, 16])
def test_place_is_what_the_ports_do(banks: int) -> None:
    """`place` agrees with the hardware for both words of an access."""
    size, word = 12 * 4 * banks, 4
    memory = UnifiedMemory(size, banks, word, {"f": False}, {}, "f")
    dut = PortAccess(size, banks, word, aligned=False, writes=False)

    async def bench(ctx: Any) -> None:
        ctx.set(dut.go, 1)
        for address in range(size - word):
            ctx.set(dut.address, address)
            await ctx.tick()
            bank, row, byte = memory.place(address)
            assert (ctx.get(dut.low), ctx.get(dut.low_row), ctx.get(dut.offset)) == (1 << bank, row, byte)
            if byte:
                bank, row, _ = memory.place(address + word)
                assert (ctx.get(dut.high), ctx.get(dut.high_row)) == (1 << bank, row)
            else:
                assert ctx.get(dut.high) == 0

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()


@pytest.mark.parametrize("change, message", [
    ({"banks": 3}, "banks must be a power of two from 2 on, not 3"),
    ({"word_bytes": 1}, "word_bytes must be a power of two from 2 on, not 1"),
    ({"size_bytes": 100}, "size_bytes must be a multiple of 16 from 32 to 16777216, not 100"),
    ({"first": "x"}, "first must name a reading port"),
])
def test_refused(change: dict[str, Any], message: str) -> None:
    """Sizes that cannot work are refused with the reason."""
    good = {"size_bytes": 64, "banks": 4, "word_bytes": 4, "reads": {"f": False}, "writes": {}, "first": "f"}
    with pytest.raises(ValueError, match=message):
        UnifiedMemory(**{**good, **change})  # type: ignore[arg-type]
