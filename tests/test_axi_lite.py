"""The AXI4-Lite bridge: random traffic on five channels that stall on their own, against a dictionary."""

import random

import pytest

from systolith.rtl.axi_lite import OKAY, SLVERR, AxiLite, AxiLiteBridge
from tests.serial_line import until
from tests.streams import receive, simulate, stalls


async def drive(ctx, port, channel, values, stall):
    """Send `values` (dicts by signal) on a channel."""
    for value in values:
        for _ in range(next(stall)):
            await ctx.tick()
        for name, number in value.items():
            ctx.set(getattr(port, channel + name), number)
        ctx.set(getattr(port, f"{channel}valid"), 1)
        await ctx.tick().until(getattr(port, f"{channel}ready"))
        ctx.set(getattr(port, f"{channel}valid"), 0)
        for name in value:
            ctx.set(getattr(port, channel + name), 0)


async def collect(ctx, port, channel, names, count, stall, clock=None):
    """Take `count` values from a channel; each must stay as it is while it waits."""
    taken = []
    valid, ready = getattr(port, f"{channel}valid"), getattr(port, f"{channel}ready")
    signals = [getattr(port, channel + name) for name in names]
    while len(taken) < count:
        offered, idle = None, next(stall)
        while True:
            ctx.set(ready, idle <= 0)
            _, _, v, *values = await ctx.tick().sample(valid, *signals)
            assert offered is None or (v and values == offered)
            offered = values if v else None
            if v and idle <= 0:
                taken.append(tuple(values))
                break
            idle -= 1
    ctx.set(ready, 0)
    return taken


def target(bus, memory, log, seed):
    """The registers: words at 0x1000 to 0x10FF, errors elsewhere."""
    async def serve(ctx):
        stall = stalls(seed)
        while True:
            request = (await receive(ctx, bus.request, 1, stall, patience=100000))[0]
            error = not 0x1000 <= request["address"] < 0x1100
            log.append((request["write"], request["address"], request["data"]))
            if request["write"] and not error:
                memory[request["address"]] = request["data"]
            data = 0 if request["write"] or error else memory.get(request["address"], 0)
            for _ in range(next(stall)):
                await ctx.tick()
            ctx.set(bus.response.payload, {"data": data, "error": error})
            ctx.set(bus.response.valid, 1)
            await until(ctx, bus.response.ready)
            ctx.set(bus.response.valid, 0)
    return serve


def address(rng):
    return rng.choice((0x1000 + 4 * rng.randrange(64), 0x1000 + 4 * rng.randrange(64), 0x2000, 0xFFFFFFFC))


@pytest.mark.parametrize("seed", [1, 2])
def test_writes_then_reads(seed: int) -> None:
    rng = random.Random(seed)
    dut = AxiLiteBridge()
    writes = [(address(rng), rng.getrandbits(32), rng.choice((15, 15, 15, 0, 3, 8))) for _ in range(60)]
    reads = [address(rng) for _ in range(60)]
    expected, responses, bus_writes = {}, [], []
    for where, data, strobe in writes:
        if strobe == 15:
            bus_writes.append((1, where, data))
        good = 0x1000 <= where < 0x1100
        responses.append((OKAY if strobe == 0 or (strobe == 15 and good) else SLVERR,))
        if strobe == 15 and good:
            expected[where] = data
    answers = [(expected.get(a, 0), OKAY) if 0x1000 <= a < 0x1100 else (0, SLVERR) for a in reads]
    memory, log = {}, []
    axi = dut.axi

    async def b_then_reads(ctx):
        assert await collect(ctx, axi, "b", ["resp"], len(writes), stalls(seed + 3)) == responses
        assert memory == expected and log == bus_writes
        await drive(ctx, axi, "ar", [{"addr": a, "prot": 5} for a in reads], stalls(seed + 4))

    async def r(ctx):
        assert await collect(ctx, axi, "r", ["data", "resp"], len(reads), stalls(seed + 5)) == answers
    simulate(dut, lambda ctx: drive(ctx, axi, "aw", [{"addr": w[0], "prot": 2} for w in writes], stalls(seed + 1, 0.6)),
             lambda ctx: drive(ctx, axi, "w", [{"data": w[1], "strb": w[2]} for w in writes], stalls(seed + 2, 0.6)),
             b_then_reads, r, background=[target(dut.bus, memory, log, seed + 6)])


def test_reads_and_writes_go_in_turns() -> None:
    dut = AxiLiteBridge(13)
    log = []
    axi = dut.axi

    zero = iter(lambda: 0, 1)
    n = 20
    simulate(dut, lambda ctx: drive(ctx, axi, "aw", [{"addr": 0x1000}] * n, zero),
             lambda ctx: drive(ctx, axi, "w", [{"data": i, "strb": 15} for i in range(n)], zero),
             lambda ctx: drive(ctx, axi, "ar", [{"addr": 0x1004}] * n, zero),
             lambda ctx: collect(ctx, axi, "b", ["resp"], n, zero),
             lambda ctx: collect(ctx, axi, "r", ["data", "resp"], n, zero),
             background=[target(dut.bus, {}, log, 1)])
    kinds = [write for write, _, _ in log]
    assert kinds.count(1) == kinds.count(0) == n
    assert all(a != b for a, b in zip(kinds[1:], kinds[2:-1], strict=False)), kinds


def test_refuses_what_cannot_work() -> None:
    with pytest.raises(ValueError, match="address_bits must be from 3 to 32, not 33"):
        AxiLite(33)
