"""Whole PACK instructions: memory in, pages out, against the codec's and the pager's model."""

import random
from collections import Counter, deque
from itertools import repeat
from typing import Any

import numpy as np
import pytest

from systolith.rtl.isa import PACK
from systolith.rtl.pack_unit import PackUnit
from systolith.rtl.pager_ports import PageRequestKind as Kind
from tests.pack_cases import EXTERNAL, KINDS, Ask, Cases, Program, Sizes, Write
from tests.streams import PATIENCE, plain, read_server, receive, send, simulate, stalls, write_server

LIMIT = 8 * PATIENCE
"""Cycles that a program may take."""
NANO, EDGE = Sizes(4, 0, 2, pages=200, limit=200), Sizes()


class External:
    """External memory behind the writing half of the port, and what of it is done."""

    def __init__(self, seed: int, often: float, latency: int) -> None:
        self.taken, self.memory = bytearray(EXTERNAL), bytearray(EXTERNAL)
        self.seed, self.often, self.latency = seed, often, latency
        self.bursts: list[tuple[int, int]] = []

    def server(self, dut: PackUnit, width: int) -> Any:
        """A background testbench."""
        rng = random.Random(self.seed)

        async def serve(ctx: Any) -> None:
            now, waiting, due = 0, deque[list[int]](), deque[tuple[int, int, bytes]]()
            offered: dict[str, Any] = {}
            while True:
                now += 1
                ready = rng.random() >= self.often
                takes = bool(waiting) and rng.random() >= self.often
                done = bool(due) and due[0][0] <= now
                ctx.set(dut.write_request.ready, ready)
                ctx.set(dut.write_data.ready, takes)
                ctx.set(dut.write_done, done)
                if done:
                    _, address, beats = due.popleft()
                    self.memory[address:address + len(beats)] = beats
                _, _, asks, burst, valid, beat = await ctx.tick().sample(
                    dut.write_request.valid, dut.write_request.payload, dut.write_data.valid, dut.write_data.payload)
                for name, on, payload, taken in (("burst", asks, plain(burst), ready), ("beat", valid, beat, takes)):
                    assert name not in offered or (on and payload == offered[name]), f"a {name} changed while it waited"
                    offered.pop(name, None)
                    if on and not taken:
                        offered[name] = payload
                if valid and takes:
                    address, left, size = waiting[0]
                    self.taken[address:address + width] = beat.to_bytes(width, "little")
                    waiting[0] = [address + width, left - 1, size]
                    if left == 1:
                        first = address + width - size
                        due.append((now + self.latency, first, bytes(self.taken[first:first + size])))
                        waiting.popleft()
                if asks and ready:
                    start, count = burst.address, burst.beats + 1
                    assert start % width == 0
                    self.bursts.append((start, count * width))
                    waiting.append([start, count, count * width])
        return serve


def run(program: Program, *, seed: int = 0, often: float = 0.2, latency: int = 6, pager: int = 10,
        outside: tuple[float, int] = (0.2, 40), slow: dict[str, int] | None = None, stops: bool = False,
        retired: list[int] | None = None) -> Counter[str]:
    """Executes `program` and compares all that it does; returns event counts and cycles.

    `often`: how often each side of each stream stalls. `pager`: cycles of an answer. `outside`: how often the external
    port refuses, and cycles until a burst is done. `slow`: streams that always stall, and how long. `stops`: the
    program ends because there is no page. `retired`: gets the cycles of the ends of instructions.
    """
    sizes = program.sizes
    dut = PackUnit(**sizes.unit())
    memory, external = bytearray(program.memory.tobytes()), External(seed + 50, *outside)
    effects, givers, pages = program.effects(), program.givers(), program.pages()
    counts: Counter[str] = Counter()
    tags: list[int] = []
    stall = {name: stalls(seed + k, often) for k, name in enumerate(("instruction", "take", "give", "read", "write",
                                                                     "pager"))}
    stall |= {name: repeat(cycles) for name, cycles in (slow or {}).items()}
    asks = [k for k, effect in enumerate(effects) if isinstance(effect, Ask)]

    def check_written(writes: Any, done: bool) -> None:
        """Bytes are there, or at least taken; a page may have been written again since."""
        last: dict[tuple[bool, int], bytes] = {}
        for write in writes:
            last[write.outside, write.address] = write.data
        for (away, address), data in last.items():
            there = (external.memory if done else external.taken) if away else memory
            assert there[address:address + len(data)] == data, f"bytes at {address:#x} are not there yet"

    async def serve_pages(ctx: Any) -> None:
        served = 0
        while True:
            ctx.set(dut.page_request.ready, 0)
            while not ctx.get(dut.page_request.valid):
                await ctx.tick()
            for _ in range(next(stall["pager"])):
                await ctx.tick()
            ctx.set(dut.page_request.ready, 1)
            _, _, valid, request = await ctx.tick().sample(dut.page_request.valid, dut.page_request.payload)
            ctx.set(dut.page_request.ready, 0)
            assert valid and served < len(asks), "a request too many"
            wanted = effects[asks[served]]
            count = request.count if request.kind == Kind.OPEN else 0
            assert (request.kind, request.stream, count) == wanted[1:]
            if not program.lost:
                check_written([e for e in effects[:asks[served]] if isinstance(e, Write)], done=False)
            if request.kind == Kind.OPEN:
                assert len(tags) == wanted.instruction, "a stream begins too early"
                assert ctx.get(dut.limit) == sizes.limit
            served += 1
            answer = pages.request(request.kind, request.stream, request.count)
            for _ in range(pager):
                await ctx.tick()
            ctx.set(dut.page_response.payload, answer._asdict())
            ctx.set(dut.page_response.valid, 1)
            while not (await ctx.tick().sample(dut.page_response.ready))[2]:
                pass
            ctx.set(dut.page_response.valid, 0)

    async def watch(ctx: Any) -> None:
        taken = gives = 0
        while len(tags) < len(program.instructions) and not (stops and counts["stopped"] == 200):
            _, _, end, events, error, stopped, begins, busy, give, given = await ctx.tick().sample(
                dut.retired, dut.events, dut.error, dut.out_of_pages, dut.instruction.valid & dut.instruction.ready,
                dut.busy, dut.give.valid, dut.give.ready)
            assert not error and (stops or not stopped)
            assert busy or (taken == len(tags) and not give), "busy says that nothing is under way"
            taken += begins
            happened = [name for name, on in plain(events).items() if on]
            assert len(set(happened) - {"tiles", "spilled"}) <= 1, happened
            counts.update([*happened, "cycles"])
            counts["stopped"] += stopped
            if give and not program.lost:
                check_written([e for e in effects if isinstance(e, Write) and e.instruction == givers[gives]],
                              done=True)
            gives += give and given
            if end.valid:
                tags.append(end.tag)
                if retired is not None:
                    retired.append(counts["cycles"])
            assert counts["cycles"] < LIMIT, "the unit hangs"
        assert tags == [i.tag for i in program.instructions][:len(tags)]
        if stops:
            assert ctx.get(dut.out_of_pages_tag) == program.instructions[effects[-1].instruction].tag
            assert len(tags) == effects[-1].instruction
            return
        for _ in range(200):
            if not ctx.get(dut.busy):
                break
            await ctx.tick()
        assert not ctx.get(dut.busy)

    async def check(ctx: Any, stream: Any, wanted: list[dict[str, int]], stall: Any) -> None:
        assert await receive(ctx, stream, len(wanted), stall, LIMIT) == wanted

    signals = program.semaphores("signal")
    if stops:
        signals = signals[:sum(giver < effects[-1].instruction for giver in givers)]
    takes = program.semaphores("wait")
    feeding = [
        lambda ctx: send(ctx, dut.instruction, program.payloads(), stall["instruction"], LIMIT),
        lambda ctx: check(ctx, dut.take, takes, stall["take"])]
    simulate(
        dut, watch, lambda ctx: check(ctx, dut.give, signals, stall["give"]), *([] if stops else feeding),
        background=[read_server(dut.read, memory, latency, stall["read"]),
                    write_server(dut.memory, memory, stall["write"]), serve_pages,
                    *([external.server(dut, sizes.external_bytes)] if sizes.external_bytes else []),
                    *(feeding if stops else [])])
    chip, away = program.memory.copy(), np.zeros(EXTERNAL, np.uint8)
    for effect in effects:
        if isinstance(effect, Write):
            target = away if effect.outside else chip
            target[effect.address:effect.address + len(effect.data)] = np.frombuffer(effect.data, np.uint8)
    np.testing.assert_array_equal(np.frombuffer(memory, np.uint8), chip)
    if not stops:
        np.testing.assert_array_equal(np.frombuffer(external.memory, np.uint8), away)
        outside_pages = [e for e in effects if isinstance(e, Write) and e.outside]
        assert sum(size for _, size in external.bursts) == 8 * len(outside_pages)
    counts["bursts"] = len(external.bursts)
    return counts


@pytest.mark.parametrize("sizes", [
    Sizes(), Sizes(4, 0, 2, pages=200, limit=200), Sizes(32, 4, 8, 128, 12, 64, limit=9), Sizes(8, 1, 4, 64, 6, 3, limit=99),
], ids=lambda sizes: f"{sizes.word_bytes}-{sizes.external_bytes}-{sizes.codec_lanes}")
def test_random_instructions(sizes: Sizes) -> None:
    """Several streams in turns, on the chip and outside, every stream stalling."""
    program = Cases(sizes.word_bytes, sizes).program(8 if sizes.codec_lanes == 8 else 6)
    counts = run(program, seed=sizes.word_bytes)
    assert counts["tiles"] == sum(i.across * i.bands for i in program.instructions)
    if sizes.external_bytes:
        assert counts["spilled"] and counts["bursts"]
