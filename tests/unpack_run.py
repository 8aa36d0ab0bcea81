"""Runs UNPACK programs in Amaranth's simulator: both memories, the pager and the semaphores around the unit."""

from collections import Counter, deque
from itertools import repeat
from typing import Any

import numpy as np

from systolith.rtl.unpack_unit import UnpackUnit
from tests.streams import plain, read_server, receive, send, simulate, stalls, write_server
from tests.unpack_cases import Pages, Program, check_burst, prepare

LIMIT = 12000
"""Cycles that a program may take."""
NAMES = ("instruction", "take", "give", "memory", "write", "pages", "external")


def pager_server(dut: UnpackUnit, pages: Pages, stall: Any) -> Any:
    """Answers as the pager does, late."""
    async def serve(ctx: Any) -> None:
        while True:
            asked, = await receive(ctx, dut.requests, 1, iter([next(stall)]), 1 << 30)
            await ctx.tick().repeat(4 + next(stall))
            answer = pages.request(asked["kind"], asked["stream"], asked["reader"], asked["count"])
            await send(ctx, dut.responses, [answer._asdict()])
    return serve


def external_server(dut: UnpackUnit, program: Program, pages: Pages, latency: int, stall: Any) -> Any:
    """External memory: beats in order, the first one `latency` cycles after its burst."""
    width = program.sizes.external_bytes

    async def serve(ctx: Any) -> None:
        cycle, idle = 0, 0
        due: deque[tuple[int, int]] = deque()
        while True:
            burst_ready = next(stall) == 0 and len(due) < 300
            ctx.set(dut.read_request.ready, burst_ready)
            offer = bool(due) and due[0][0] <= cycle and idle == 0
            ctx.set(dut.read_data.valid, offer)
            if offer:
                at = due[0][1]
                ctx.set(dut.read_data.payload, int.from_bytes(pages.external[at:at + width], "little"))
            _, _, valid, burst, ready = await ctx.tick().sample(
                dut.read_request.valid, dut.read_request.payload, dut.read_data.ready)
            cycle += 1
            if valid and burst_ready:
                check_burst(program.sizes, program.outside, burst.address, burst.beats + 1)
                due.extend((cycle + latency, burst.address + k * width) for k in range(burst.beats + 1))
            if offer:
                assert ready, "a beat is held back"
                due.popleft()
                idle = next(stall)
            elif idle:
                idle -= 1
    return serve


def run(program: Program, *, seed: int = 0, often: float = 0.3, latency: int = 6, outside: int = 20,
        slow: dict[str, int] | None = None, damaged: int | None = None) -> Counter[str]:
    """Executes `program` and compares memory, retirements and gives; returns event counts and cycles.

    `often`: how often each side of each stream stalls. `slow`: those that always do, and how long. `damaged`: number of
    the first job that must not end.
    """
    dut = UnpackUnit(*program.sizes.arguments())
    memory = bytearray(program.memory.tobytes())
    pages = program.pages(memory)
    counts: Counter[str] = Counter()
    stall = {name: stalls(seed + k, often) for k, name in enumerate(NAMES)}
    stall |= {name: repeat(cycles) for name, cycles in (slow or {}).items()}
    wanted = program.instructions[:damaged]

    async def watch(ctx: Any) -> None:
        tags = []
        taken = 0
        while len(tags) < len(wanted) or damaged is not None and not ctx.get(dut.damaged):
            _, _, retired, events, error, bad, begins, busy, gives = await ctx.tick().sample(
                dut.retired, dut.events, dut.error, dut.damaged, dut.instruction.valid & dut.instruction.ready,
                dut.busy, dut.give.valid)
            assert not error and (damaged is not None or not bad)
            assert busy or (taken == len(tags) and not gives), "busy says that nothing is under way"
            taken += begins
            happened = [name for name, on in plain(events).items() if on]
            assert sum("tiles" not in name for name in happened) <= 1, happened
            counts.update([*happened, *(["cycles"] if taken else [])])
            if retired.valid:
                tags.append(retired.tag)
                assert pages.drops >= sum(i.close for i in wanted[:len(tags)]), "a reader has not dropped yet"
            counts["all"] += 1
            assert counts["all"] < LIMIT, f"the unit hangs; {len(tags)} are done"
        assert tags == [i.tag for i in wanted]
        if damaged is not None:
            assert ctx.get(dut.damaged_tag) == program.instructions[damaged].tag
            for _ in range(200):
                await ctx.tick()
                assert ctx.get(dut.damaged) and not ctx.get(dut.retired.valid)
            assert not ctx.get(dut.give.valid)
            return
        for _ in range(200):
            if not ctx.get(dut.busy):
                break
            await ctx.tick()
        assert not ctx.get(dut.busy)

    async def feed(ctx: Any) -> None:
        for job, payload in zip(program.jobs, program.payloads(), strict=True):
            for _ in range(LIMIT):
                if prepare(job, pages):
                    break
                await ctx.tick()
            await send(ctx, dut.instruction, [payload], iter([next(stall["instruction"])]), LIMIT)

    async def check(ctx: Any, stream: Any, wanted: list[dict[str, int]], stall: Any) -> None:
        assert await receive(ctx, stream, len(wanted), stall, LIMIT) == wanted

    servers = [read_server(dut.memory, memory, latency, stall["memory"]),
               write_server(dut.write, memory, stall["write"]), pager_server(dut, pages, stall["pages"])]
    if program.sizes.external_bytes:
        servers.append(external_server(dut, program, pages, outside, stall["external"]))
    before = program.semaphores("wait")
    gives = Program(program.sizes, program.jobs[:damaged], program.memory, 0, 0).semaphores("signal")
    ends = [watch, lambda ctx: check(ctx, dut.give, gives, stall["give"])]
    begins = [feed, lambda ctx: check(ctx, dut.take, before, stall["take"])]
    if damaged is None:
        simulate(dut, *ends, *begins, background=servers)
    else:
        simulate(dut, *ends, background=[*servers, *begins])
    got, expected = np.frombuffer(memory, np.uint8), program.memory.copy()
    pool = slice(program.base, program.base + program.sizes.pages * program.sizes.page_bytes)
    expected[pool] = got[pool]
    program.expected(expected, damaged)
    for job in program.jobs[len(wanted):]:
        for at in job.places():
            expected[at] = got[at]
    np.testing.assert_array_equal(got, expected)
    if damaged is not None:
        return counts
    assert pages.model.code == 0 and not pages.model.open and pages.model.used + pages.model.used_outside == 0
    assert counts["tiles"] == sum(len(job.tiles) for job in program.jobs)
    return counts
