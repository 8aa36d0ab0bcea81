# amaranth: UnusedElaboratable=no
"""The arbiter: exclusive banks, no needless refusal, bounded waiting."""

from typing import Any

import pytest
from amaranth.sim import Simulator
from hypothesis import given, settings
from hypothesis import strategies as st

from systolith.rtl.arbiter import Arbiter

BANKS = 4


def simulate(ports: int, first: int, patterns: list[list[int]]) -> list[tuple[list[int], int]]:
    """(banks asked by each port, -1 for none, and `ready`) a cycle; a refused port goes on asking for the same."""
    dut = Arbiter(ports, BANKS, first)
    trace = []

    async def bench(ctx: Any) -> None:
        asking = [-1] * ports
        for pattern in patterns:
            asking = [old if old >= 0 else new for old, new in zip(asking, pattern, strict=True)]
            for i, banks in enumerate(asking):
                ctx.set(dut.banks[i], banks if banks >= 0 else 15)
            ctx.set(dut.valid, sum((b >= 0) << i for i, b in enumerate(asking)))
            ready = (await ctx.tick().sample(dut.ready))[2]
            trace.append((asking, ready))
            asking = [-1 if ready >> i & 1 else b for i, b in enumerate(asking)]

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    return trace


def check(ports: int, first: int, patterns: list[list[int]]) -> None:
    """The promises of the class, on one run."""
    waited = [0] * ports
    for asking, ready in simulate(ports, first, patterns):
        granted = [i for i in range(ports) if asking[i] >= 0 and ready >> i & 1]
        used = 0
        for i in granted:
            assert not used & asking[i], "two ports have one bank"
            used |= asking[i]
        assert asking[first] < 0 or first in granted
        for i in range(ports):
            if asking[i] < 0 or i in granted:
                waited[i] = 0
                continue
            assert any(j != i and asking[j] > 0 and asking[j] & asking[i] for j in range(ports)), "refused by nobody"
            waited[i] += not (asking[first] > 0 and asking[first] & asking[i])
            assert waited[i] <= ports - 2, f"port {i} waits too long"
        if any(a > 0 for a in asking):
            assert granted, "nobody goes"


request = st.one_of(st.just(-1), st.sampled_from([0, 1, 2, 4, 8, 3, 6, 12, 9]))


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_promises(data: st.DataObject) -> None:
    """Any traffic of single banks and pairs of neighbours."""
    ports = data.draw(st.integers(3, 6))
    first = data.draw(st.integers(0, ports - 1))
    check(ports, first, data.draw(st.lists(st.lists(request, min_size=ports, max_size=ports), max_size=40)))


def test_all_for_one_bank() -> None:
    """Everyone wants the same bank all the time: the others share evenly, and exactly reach the bound."""
    ports = 5
    trace = simulate(ports, 0, [[-1, 1, 1, 1, 1]] * 40)
    assert [sum(ready >> i & 1 for _, ready in trace) for i in range(1, ports)] == [10] * 4
    check(ports, 0, [[-1, 1, 1, 1, 1]] * 40)


def test_the_faster_of_two_overtakes() -> None:
    """A port goes over the banks, one a cycle; another takes each of them for two cycles. The first one is held up only
    where it meets the other, not behind it for good."""
    asked, at, slow = [], 1, 0
    dut = Arbiter(3, BANKS, 0)

    async def bench(ctx: Any) -> None:
        nonlocal at, slow
        for cycle in range(400):
            writes = cycle >= 2 * slow
            ctx.set(dut.banks[1], 1 << at % BANKS)
            ctx.set(dut.banks[2], 1 << slow % BANKS)
            ctx.set(dut.valid, 2 | 4 * writes)
            ready = (await ctx.tick().sample(dut.ready))[2]
            at += ready >> 1 & 1
            slow += writes & ready >> 2 & 1
            asked.append(at)

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    assert at >= 340
    assert slow >= 195


def test_first_hides_its_losers() -> None:
    """A port that `first` refuses does not keep others from its second bank."""
    assert simulate(3, 0, [[1, 3, 2]])[0][1] & 0b101 == 0b101


@pytest.mark.parametrize("arguments, message", [((0, 2, 0), "ports"), ((2, 0, 0), "banks"), ((2, 2, 2), "first")])
def test_refused(arguments: tuple[int, int, int], message: str) -> None:
    """Bad sizes are refused by name."""
    with pytest.raises(ValueError, match=message):
        Arbiter(*arguments)
