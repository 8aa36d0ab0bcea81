"""Both ends of a stream, and a memory, for tests in Amaranth's simulator.

Testbenches are `async` functions of `ctx`; `simulate` runs several of them on one design:

    simulate(dut, lambda ctx: send(ctx, dut.i, values, stalls(1)),
                  lambda ctx: check(ctx, dut.o, expected, stalls(2)))

A stall pattern is an iterator of numbers: the idle cycles before each transfer. Every wait is bounded, so a
design that hangs fails its test instead of hanging it.
"""

import random
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Iterator
from typing import Any

from amaranth import Value
from amaranth.lib import data
from amaranth.sim import Simulator

PATIENCE = 5000
"""Cycles without a transfer after which `send` and `receive` give up."""

Stall = Iterator[int]
Bench = Callable[[Any], Awaitable[None]]


def stalls(seed: int, often: float = 0.3, long: int = 40) -> Stall:
    """Idle cycles before each transfer: mostly none, `often` a few, now and then up to `long` (longer than a burst)."""
    rng = random.Random(seed)
    while True:
        if rng.random() >= often:
            yield 0
        else:
            yield rng.randint(1, 3) if rng.random() < 0.85 else rng.randint(4, long)


def plain(value: Any) -> Any:
    """A payload as plain Python: a struct becomes a dict, an array a list, the rest stays."""
    if not isinstance(value, data.Const):
        return value
    layout = value.shape()
    if isinstance(layout, data.ArrayLayout):
        return [plain(value[index]) for index in range(layout.length)]
    return {name: plain(value[name]) for name, _ in layout}


async def send(ctx: Any, stream: Any, values: Iterable[Any], stall: Stall | None = None,
               patience: int = PATIENCE) -> None:
    """Send each of `values` (ints, dicts, lists or layout constants); the payload is noise while `valid` is 0."""
    bits = Value.cast(stream.payload)
    noise = random.Random(0)
    for number, value in enumerate(values):
        for _ in range(next(stall) if stall else 0):
            ctx.set(bits, noise.getrandbits(len(bits)) if len(bits) else 0)
            await ctx.tick()
        ctx.set(stream.payload, value)
        ctx.set(stream.valid, 1)
        for _ in range(patience):
            _, _, ready = await ctx.tick().sample(stream.ready)
            if ready:
                break
        else:
            raise AssertionError(f"transfer {number} was refused for {patience} cycles")
        ctx.set(stream.valid, 0)


async def receive(ctx: Any, stream: Any, count: int, stall: Stall | None = None,
                  patience: int = PATIENCE) -> list[Any]:
    """Take `count` payloads, as `plain` values. Fails when an offered payload changes or goes before it was taken."""
    taken: list[Any] = []
    offered = None
    while len(taken) < count:
        idle = next(stall) if stall else 0
        for cycle in range(idle + patience):
            ready = cycle >= idle
            if not getattr(stream.signature, "always_ready", False):
                ctx.set(stream.ready, ready)
            _, _, valid, payload = await ctx.tick().sample(stream.valid, stream.payload)
            if offered is not None:
                assert valid, f"transfer {len(taken)} was withdrawn before it was taken"
                assert plain(payload) == plain(offered), \
                    f"payload {len(taken)} changed while it waited: {plain(offered)} became {plain(payload)}"
            offered = payload if valid and not ready else None
            if valid and ready:
                taken.append(plain(payload))
                break
        else:
            raise AssertionError(f"nothing came for {patience} cycles; {len(taken)} of {count} have come")
    if not getattr(stream.signature, "always_ready", False):
        ctx.set(stream.ready, 0)
    return taken


async def check(ctx: Any, stream: Any, expected: Iterable[Any], stall: Stall | None = None,
                patience: int = PATIENCE) -> None:
    """Receive as many payloads as `expected` has and compare them."""
    wanted = list(expected)
    got = await receive(ctx, stream, len(wanted), stall, patience)
    for number, (g, w) in enumerate(zip(got, wanted, strict=True)):
        assert g == w, f"payload {number} is {g}, expected {w}"


async def silent(ctx: Any, stream: Any, cycles: int = 50) -> None:
    """Fail when anything is offered during `cycles`: no surplus output."""
    for _ in range(cycles):
        _, _, valid, payload = await ctx.tick().sample(stream.valid, stream.payload)
        assert not valid, f"surplus payload {plain(payload)}"


def read_server(port: Any, memory: bytearray, latency: int = 4, stall: Stall | None = None,
                log: list[int] | None = None) -> Bench:
    """A memory behind a `MemoryReadPort`, as a background testbench: answers `latency` cycles after the grant.

    `log` collects the addresses granted. The request must stay stable while it waits; addresses wrap at the end.
    """
    word_bytes = len(Value.cast(port.response.payload)) // 8

    async def serve(ctx: Any) -> None:
        pipe: deque[int | None] = deque([None] * (latency - 1))
        idle, offered = next(stall) if stall else 0, None
        while True:
            ready = idle <= 0
            ctx.set(port.request.ready, ready)
            _, _, valid, address = await ctx.tick().sample(port.request.valid, port.request.payload)
            assert offered is None or (valid and address == offered), "a read request changed while it waited"
            offered = address if valid and not ready else None
            word = None
            if valid and ready:
                if log is not None:
                    log.append(address)
                word = int.from_bytes((memory[(address + i) % len(memory)] for i in range(word_bytes)), "little")
                idle = next(stall) if stall else 0
            else:
                idle -= 1
            pipe.append(word)
            answer = pipe.popleft()
            ctx.set(port.response.valid, answer is not None)
            ctx.set(port.response.payload, answer if answer is not None else (1 << 8 * word_bytes) - 1)
    return serve


def write_server(port: Any, memory: bytearray, stall: Stall | None = None, log: list[int] | None = None) -> Bench:
    """A memory behind a `MemoryWritePort`, as a background testbench; `log` collects the addresses granted."""
    async def serve(ctx: Any) -> None:
        idle, offered = next(stall) if stall else 0, None
        while True:
            ready = idle <= 0
            ctx.set(port.request.ready, ready)
            _, _, valid, request = await ctx.tick().sample(port.request.valid, port.request.payload)
            wanted = plain(request)
            assert offered is None or (valid and wanted == offered), "a write request changed while it waited"
            offered = wanted if valid and not ready else None
            if valid and ready:
                if log is not None:
                    log.append(wanted["address"])
                for i in range(len(port.request.payload.mask)):
                    if wanted["mask"] >> i & 1:
                        memory[(wanted["address"] + i) % len(memory)] = wanted["data"] >> 8 * i & 255
                idle = next(stall) if stall else 0
            else:
                idle -= 1
    return serve


def _coroutine(bench: Bench) -> Any:
    """The simulator takes `async` functions only; a lambda that makes a coroutine is none."""
    async def run(ctx: Any) -> None:
        await bench(ctx)
    return run


def simulate(dut: Any, *benches: Bench, background: Iterable[Bench] = (), deadline: int = 200_000,
             vcd: str | None = None) -> None:
    """Run `benches` on `dut` until all have ended; `background` ones may run for ever.

    Fails after `deadline` cycles. `vcd`: file for the waveforms.
    """
    simulator = Simulator(dut)
    simulator.add_clock(1e-6)

    async def watch(ctx: Any) -> None:
        for _ in range(deadline):
            await ctx.tick()
        raise AssertionError(f"the test has not ended after {deadline} cycles")

    for bench in benches:
        simulator.add_testbench(_coroutine(bench))
    for bench in background:
        simulator.add_testbench(_coroutine(bench), background=True)
    simulator.add_testbench(watch, background=True)
    if vcd is None:
        simulator.run()
    else:
        with simulator.write_vcd(vcd):
            simulator.run()
