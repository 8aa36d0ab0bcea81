# amaranth: UnusedElaboratable=no
"""The timing model of external memory: data, latency, rate, and fairness between reads and writes."""

import random
from typing import Any

import pytest
from amaranth import Module
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In

from systolith.rtl.external import ExternalMemoryModel
from systolith.rtl.ports import ExternalPort
from tests.streams import Stall, check, receive, send, simulate, stalls

BITS = 12


class Stored(wiring.Component):
    """The model with a storage of `2**BITS` bytes; beat n starts as n."""

    def __init__(self, width: int, latency: int) -> None:
        self.width, self.latency = width, latency
        super().__init__({"port": In(ExternalPort(width))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.model = model = ExternalMemoryModel(self.width, self.latency, BITS)
        depth = (1 << BITS) // self.width
        init = [n & (1 << 8 * self.width) - 1 for n in range(depth)]
        m.submodules.store = store = memory.Memory(shape=8 * self.width, depth=depth, init=init)
        put, get = store.write_port(), store.read_port(domain="comb")
        shift = (self.width - 1).bit_length()
        m.d.comb += [
            get.addr.eq(model.store_address >> shift),
            model.store_read_data.eq(get.data),
            put.addr.eq(model.store_address >> shift),
            put.data.eq(model.store_write_data),
            put.en.eq(model.store_write),
        ]
        wiring.connect(m, wiring.flipped(self.port), model.port)
        return m


def bursts(count: int, width: int, seed: int) -> list[dict[str, int]]:
    """Random bursts; the high address bits are noise that the model ignores."""
    rng = random.Random(seed)
    return [{"address": rng.randrange(0, (1 << BITS) - 64 * width, width) | rng.getrandbits(8) << 24,
             "beats": rng.choice([0, 1, 7, 31])} for _ in range(count)]


def beats(burst: dict[str, int], width: int) -> range:
    """Numbers of a burst's beats."""
    start = burst["address"] % (1 << BITS) // width
    return range(start, start + burst["beats"] + 1)


@pytest.mark.parametrize("width, latency", [(2, 4), (8, 32)])
@pytest.mark.parametrize("seed", [None, 1, 2])
def test_write_and_read_back(width: int, latency: int, seed: int | None) -> None:
    """What was written is read once it is done; untouched beats keep what they had."""
    dut, port = (d := Stored(width, latency)), d.port
    writes, reads = bursts(12, width, 3), bursts(12, width, 4)
    rng = random.Random(5)
    store = [n & (1 << 8 * width) - 1 for n in range((1 << BITS) // width)]
    values = []
    for burst in writes:
        for n in beats(burst, width):
            store[n] = rng.getrandbits(8 * width)
            values.append(store[n])
    done = []

    def stall(n: int) -> Stall | None:
        return None if seed is None else stalls(10 * seed + n)

    async def count(ctx: Any) -> None:
        while True:
            done.append((await ctx.tick().sample(port.write_done))[2])

    async def write(ctx: Any) -> None:
        await send(ctx, port.write_request, writes, stall(1))

    async def read(ctx: Any) -> None:
        while sum(done) < len(writes):
            await ctx.tick()
        await send(ctx, port.read_request, reads + writes, stall(2))

    expected = [store[n] for b in reads + writes for n in beats(b, width)]
    simulate(dut, write, read, lambda ctx: send(ctx, port.write_data, values, stall(3)),
             lambda ctx: check(ctx, port.read_data, expected, stall(4)), background=[count])
    assert sum(done) == len(writes)


@pytest.mark.parametrize("latency", [4, 32])
def test_latency_and_rate(latency: int) -> None:
    """The first beat comes after exactly `latency` cycles, bursts follow without a gap."""
    dut, port = (d := Stored(4, latency)), d.port
    trace: list[int] = []

    async def read(ctx: Any) -> None:
        await send(ctx, port.read_request, [{"address": 64 * n, "beats": 15} for n in range(8)])

    async def watch(ctx: Any) -> None:
        ctx.set(port.read_data.ready, 1)
        for _ in range(200):
            trace.append((await ctx.tick().sample(port.read_data.valid))[2])
    simulate(dut, read, watch)
    assert trace == [0] * latency + [1] * 128 + [0] * (200 - 128 - latency)


def test_done_latency() -> None:
    """`write_done` pulses once, `latency` cycles after the last beat."""
    dut, port = (d := Stored(4, 10)), d.port
    trace: list[tuple[int, int]] = []

    async def watch(ctx: Any) -> None:
        for _ in range(60):
            _, _, valid, ready, done = await ctx.tick().sample(
                port.write_data.valid, port.write_data.ready, port.write_done)
            trace.append((valid & ready, done))
    simulate(dut, lambda ctx: send(ctx, port.write_request, [{"address": 0, "beats": 3}]),
             lambda ctx: send(ctx, port.write_data, range(4)), watch)
    last = max(cycle for cycle, (beat, _) in enumerate(trace) if beat)
    assert [cycle for cycle, (_, done) in enumerate(trace) if done] == [last + 10]


def test_shared() -> None:
    """Reads and writes share one beat a cycle, by bursts; neither waits for the other for ever."""
    dut, port = (d := Stored(4, 4)), d.port
    moved: list[tuple[int, int]] = []

    async def watch(ctx: Any) -> None:
        while True:
            _, _, rv, rr, wv, wr = await ctx.tick().sample(
                port.read_data.valid, port.read_data.ready, port.write_data.valid, port.write_data.ready)
            moved.append((rv & rr, wv & wr))
    asked = [{"address": 64 * n, "beats": 15} for n in range(12)]
    simulate(dut, lambda ctx: send(ctx, port.read_request, asked), lambda ctx: send(ctx, port.write_request, asked),
             lambda ctx: send(ctx, port.write_data, range(192)), lambda ctx: receive(ctx, port.read_data, 192),
             background=[watch])
    steady = moved[20:300]
    assert abs(sum(r + w for r, w in steady) - len(steady)) <= 1
    assert abs(sum(r for r, _ in steady) - sum(w for _, w in steady)) <= 32


@pytest.mark.parametrize("arguments, message", [
    ((3, 8, 8), "width"), ((4, 3, 8), "latency"), ((4, 8, 33), "address_bits")])
def test_refused(arguments: tuple[int, int, int], message: str) -> None:
    """Bad numbers are refused by name."""
    with pytest.raises(ValueError, match=message):
        ExternalMemoryModel(*arguments)
