"""The pager under Icarus: the traffic of its pysim test, each answer and its cycle compared with the model."""

import random
from collections.abc import Iterator
from typing import Any

import cocotb

from systolith.rtl.pager import Pager
from systolith.rtl.pager_ports import PageRequest, PageResponse
from systolith.sim.golden.pager import PagerModel
from tb.harness import parameters
from tb.streams import Sink, Source, read, sample, stalls, start, unpack
from tests.pager_traffic import FIGURES, Follower, Traffic, wild

SIZES = {"pager_5_3": (5, 3, 3, 2, 4, 5), "pager_13": (13, 0, 6, 4, 3, 9), "pager_1": (1, 0, 1, 1, 1, 1)}
"""Pages, outside, streams, readers, clients, limit."""


def benches() -> Iterator[Any]:
    for name, size in SIZES.items():
        yield name, Pager(*size[:5]), {"size": size}


async def begin(dut: Any) -> tuple[Follower, list[Source], list[Sink]]:
    """Start the clock, and a follower that sees every cycle."""
    pages, outside, streams, readers, clients, limit = parameters()["size"]
    sources = [Source(dut, f"requests__{c}", PageRequest) for c in range(clients)]
    sinks = [Sink(dut, f"responses__{c}", PageResponse) for c in range(clients)]
    dut.limit.value = limit
    dut.clear_high_water.value = 0
    follower = Follower(PagerModel(pages, outside, streams, readers, limit), clients)
    ports = [getattr(dut, f"{name}__{c}__{part}") for name in ("requests", "responses")
             for c in range(clients) for part in ("valid", "ready")]
    payloads = [(getattr(dut, f"{name}__{c}__payload"), shape) for name, shape in (
        ("requests", PageRequest), ("responses", PageResponse)) for c in range(clients)]
    figures = [getattr(dut, name) for name in FIGURES]
    await start(dut)

    async def watch() -> None:
        while True:
            values = await sample(dut, *ports, *figures)
            flags = list(zip(values[:4 * clients:2], values[1:4 * clients:2], strict=True))
            seen = [(valid, ready, unpack(shape, read(handle)) if valid else {})
                    for (valid, ready), (handle, shape) in zip(flags, payloads, strict=True)]
            responses = [(valid, ready, tuple(payload.values())) for valid, ready, payload in seen[clients:]]
            follower.cycle(seen[:clients], responses, dict(zip(FIGURES, values[4 * clients:], strict=True)))
    watcher = cocotb.start_soon(watch())
    assert not watcher.done()
    return follower, sources, sinks


async def ask(source: Source, sink: Sink, asked: dict[str, int], before: Any, after: Any) -> dict[str, int]:
    """Send one request and take its answer."""
    await source.send([asked], iter([next(before)]))
    answer, = await sink.take(1, iter([next(after)]))
    return answer


@cocotb.test()
async def traffic(dut: Any) -> None:
    """Writers and readers of many streams on several clients: all as the model, nothing is left."""
    follower, sources, sinks = await begin(dut)
    streams, readers = follower.model.streams, follower.model.readers
    plan = Traffic(streams, readers, 400, streams)

    async def client(number: int) -> None:
        before, after = stalls(number), stalls(20 + number)
        while not plan.finished:
            asked = plan.next()
            if asked is None:
                await sample(dut)
            else:
                plan.done(asked, **await ask(sources[number], sinks[number], asked, before, after))
    for task in [cocotb.start_soon(client(c)) for c in range(len(sources))]:
        await task
    assert follower.served > 200 and not follower.model.open and not read(dut.used) and not read(dut.used_outside)


@cocotb.test()
async def anything(dut: Any) -> None:
    """Requests without sense: the same answers, and the first error is kept."""
    follower, sources, sinks = await begin(dut)

    async def client(number: int) -> None:
        rng, before, after = random.Random(number), stalls(number), stalls(20 + number)
        for _ in range(100):
            await ask(sources[number], sinks[number], wild(rng, follower.model.streams), before, after)
    for task in [cocotb.start_soon(client(c)) for c in range(len(sources))]:
        await task
    assert follower.served == 100 * len(sources) and read(dut.error)
