"""Whole PACK instructions: memory in, pages out, against the codec's and the pager's model."""

import random
from collections import Counter, deque
from itertools import repeat
from typing import Any

import numpy as np
import pytest

from systolith.rtl.pack_unit import PackUnit
from systolith.rtl.pager_ports import PageRequestKind as Kind
from tests.pack_cases import EXTERNAL, KINDS, Ask, Cases, Program, Sizes, Write
from tests.pack_loop import PackLoop
from tests.streams import PATIENCE, plain, read_server, receive, send, simulate, stalls, write_server

LIMIT = 6 * PATIENCE
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
        retired: list[int] | None = None, whole: bool = False) -> Counter[str]:
    """Executes `program` and compares all that it does; returns event counts and cycles.

    `often`: how often each side of each stream stalls. `pager`: cycles of an answer. `outside`: how often the external
    port refuses, and cycles until a burst is done. `slow`: streams that always stall, and how long. `stops`: the
    program ends because there is no page. `retired`: gets the cycles of the ends of instructions. `whole`: with the
    pager itself.
    """
    sizes = program.sizes
    dut = PackLoop(sizes) if whole else PackUnit(**sizes.unit())
    memory, external = bytearray(program.memory.tobytes()), External(seed + 50, *outside)
    effects, givers, pages = program.effects(), program.givers(), program.pages()
    counts: Counter[str] = Counter()
    tags: list[int] = []
    stall = {name: stalls(seed + k, often) for k, name in enumerate(("instruction", "take", "give", "read", "write",
                                                                     "pager"))}
    stall |= {name: repeat(cycles) for name, cycles in (slow or {}).items()}
    reads: list[int] = []
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
        assert not ctx.get(dut.busy) and not (whole and ctx.get(dut.pager_error))

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
        background=[read_server(dut.read, memory, latency, stall["read"], reads),
                    write_server(dut.memory, memory, stall["write"]), *([] if whole else [serve_pages]),
                    *([external.server(dut, sizes.external_bytes)] if sizes.external_bytes else []),
                    *(feeding if stops else [])])
    chip, away = program.memory.copy(), np.zeros(EXTERNAL, np.uint8)
    for effect in effects:
        if isinstance(effect, Write):
            target = away if effect.outside else chip
            target[effect.address:effect.address + len(effect.data)] = np.frombuffer(effect.data, np.uint8)
    np.testing.assert_array_equal(np.frombuffer(memory, np.uint8), chip)
    if not stops:
        assert reads == program.reads()
        np.testing.assert_array_equal(np.frombuffer(external.memory, np.uint8), away)
        outside_pages = [e for e in effects if isinstance(e, Write) and e.outside]
        assert sum(size for _, size in external.bursts) == 8 * len(outside_pages)
    counts["bursts"] = len(external.bursts)
    return counts


@pytest.mark.parametrize("sizes", [
    EDGE, NANO, Sizes(32, 4, 8, 128, 12, 64), Sizes(8, 1, 4, 64, 6, 3, limit=99),
], ids=lambda sizes: f"{sizes.word_bytes}-{sizes.external_bytes}-{sizes.codec_lanes}")
def test_random_instructions(sizes: Sizes) -> None:
    """Several streams in turns, on the chip and outside, every stream stalling."""
    program = Cases(sizes.word_bytes, sizes).program(12 if sizes.codec_lanes == 8 else 7)
    counts = run(program, seed=sizes.word_bytes)
    assert counts["tiles"] == sum(i.across * i.bands for i in program.instructions)
    if sizes.external_bytes:
        assert counts["spilled"] and counts["bursts"]


@pytest.mark.parametrize("latency", [1, 9])
def test_without_stalls(latency: int) -> None:
    program = Cases(latency, EDGE).program(8)
    run(program, often=0, latency=latency, pager=1, outside=(0, 5 * latency))


@pytest.mark.parametrize("sizes", [EDGE, NANO], ids=("edge", "nano"))
def test_kinds_of_values(sizes: Sizes) -> None:
    """Each coded and as it is, channels around a step and a piece."""
    cases = Cases(sizes.word_bytes, sizes)
    shapes = [(2, 5, 16), (1, 3, 1), (3, 3, 19), (1, 1, 40), (1, 4, 4)]
    instructions = [cases.instruction(
        rows=rows, columns=columns, channels=channels, kind=kind, raw=(number + row) % 2, stream=row % 2,
        open=int(number == 0 and row < 2), readers=1)
        for row, kind in enumerate(KINDS) for number, (rows, columns, channels) in enumerate(shapes)]
    run(Program(sizes, instructions, cases.memory), seed=3, often=0.1)


def test_as_they_are() -> None:
    """Raw tiles of all sizes modulo a piece, between coded ones."""
    cases = Cases(5, EDGE)
    instructions = [cases.instruction(rows=1, columns=columns, channels=channels, raw=int(columns + channels != 6),
                                      bands=2, stream=0, readers=2, open=int(columns == channels == 1))
                    for columns in (1, 2, 5) for channels in (1, 3, 6, 8, 9, 14)]
    run(Program(EDGE, instructions, cases.memory), often=0.1)


def test_readers_that_are_gone() -> None:
    """A stream that nobody reads any more gets the same page again."""
    program = Cases(3, EDGE).program(10, lost=(0, 1), kind="random")
    assert max(Counter((e.outside, e.address) for e in program.effects() if isinstance(e, Write)).values()) > 2
    run(program)


def test_with_the_pager() -> None:
    """Pages as the pager itself gives them."""
    run(Cases(15, EDGE).program(12, close=0), seed=7, whole=True)


def _stream(cases: Cases, count: int, **fixed: Any) -> Program:
    """A stream of `count` equal instructions."""
    return Program(cases.sizes, [cases.instruction(**{
        "stream": 0, "readers": 1, "open": int(k == 0), "close": int(k == count - 1), "wait0": 0, "wait1": 0,
        "a_ring": 0, "raw": 0} | fixed) for k in range(count)], cases.memory)


def test_tiles_that_fill_their_page() -> None:
    """The next page is asked for when the next tile has come, and not at the stream's end."""
    sizes = Sizes(limit=3)
    run(_stream(Cases(16, sizes), 3, rows=1, columns=31, channels=2, bands=2, raw=1), often=0)


@pytest.mark.parametrize("width, page_bytes, columns, bursts", [(1, 1024, 8, 18), (8, 4096, 16, 6)])
def test_long_bursts(width: int, page_bytes: int, columns: int, bursts: int) -> None:
    """A burst goes to the end of the tile, the page, or 256 beats of the page, whichever comes first."""
    sizes = Sizes(16, width, 8, page_bytes, 1, 2, limit=0)
    program = _stream(Cases(6, sizes), 2, rows=8, columns=columns, channels=32, kind="random", raw=1)
    counts = run(program, often=0, outside=(0, 20))
    assert counts["bursts"] == bursts


def test_slow_gives_outside() -> None:
    """Many bursts pass while an instruction's signals wait; none of the ends is lost."""
    cases = Cases(7, Sizes(limit=0, pages=1))
    program = _stream(cases, 5, rows=1, columns=1, channels=8, bands=5, across=5, raw=1, signal0=3, signal0_count=1,
                      signal1=0)
    counts = run(program, often=0, outside=(0, 3), pager=2, slow={"give": 700})
    assert counts["bursts"] == 125


def test_late_write_done() -> None:
    """Bytes outside are not in memory before the port says so; more bursts wait than may be on their way."""
    cases = Cases(8, Sizes(limit=0, pages=1, page_bytes=64))
    run(_stream(cases, 2, rows=1, columns=1, channels=8, bands=8, across=5, raw=1, signal0=1, signal0_count=1), often=0,
        pager=2, outside=(0, 500))


@pytest.mark.parametrize("beyond, limit", [(0, 5), (4, 3)])
def test_out_of_pages(beyond: int, limit: int) -> None:
    """The unit stops where no page is left, and says in which instruction."""
    sizes = Sizes(limit=limit, pages=5, beyond=beyond)
    cases = Cases(10 + limit, sizes)
    program = _stream(cases, 6, rows=2, columns=3, channels=16, raw=1, close=0, signal0=2, signal0_count=1)
    assert isinstance(program.effects()[-1], Ask) and program.effects()[-1].instruction > 1
    run(program, stops=True)


def test_many_short_instructions() -> None:
    """More than there are places for, each with a stream of its own."""
    cases = Cases(11, Sizes(streams=32, pages=64, limit=64))
    instructions = [cases.instruction(rows=1, columns=1, channels=1 + k % 9, stream=k, readers=1, open=1, close=1)
                    for k in range(12)]
    run(Program(cases.sizes, instructions, cases.memory), seed=2, often=0.1)
    instructions = [cases.instruction(rows=1, columns=1, bands=4, across=3, columns_last=1, channels=3, stream=3,
                                      readers=1, open=int(k == 0), close=0, raw=k % 2) for k in range(4)]
    run(Program(cases.sizes, instructions, cases.memory), seed=3, often=0, slow={"write": 20})


def test_one_slow_stream() -> None:
    """The others wait, and nothing is lost."""
    for name, cycles in (("read", 12), ("write", 15), ("pager", 90), ("give", 300)):
        run(Cases(12, EDGE).program(2), seed=4, often=0, slow={name: cycles})


def test_events_name_the_cause() -> None:
    """Slow outputs, slow inputs and missing semaphores are told apart."""
    for slow, cycles, event in (("write", 40, "wait_output"), ("pager", 300, "wait_output"), ("read", 15, "wait_input"),
                                ("take", 600, "wait_semaphore")):
        cases = Cases(13, Sizes(pages=100, limit=100, page_bytes=64))
        program = _stream(cases, 1, rows=2, columns=4, channels=16, kind="random", wait0=3, wait0_count=2)
        counts = run(program, often=0, slow={slow: cycles})
        waits = {name: counts[name] for name in ("wait_output", "wait_input", "wait_semaphore")}
        assert max(waits, key=lambda name: waits[name]) == event, (slow, waits)


def test_illegal_operands() -> None:
    """An instruction that cannot be executed is an error, touches nothing, and lets those before it finish."""
    dut = PackUnit(**EDGE.unit())
    cases = Cases(14, EDGE)
    good = {"stream": 0, "readers": 1, "open": 1, "wait0": 0, "wait1": 0}
    program = Program(EDGE, [cases.instruction(**good, signal0=4, signal0_count=1, signal1=0)], cases.memory)
    bad = cases.instruction(**good | {"open": 0}, columns_last=0)
    memory = bytearray(cases.memory.tobytes())

    async def bench(ctx: Any) -> None:
        await send(ctx, dut.instruction, program.payloads())
        ctx.set(dut.instruction.payload, bad.values)
        ctx.set(dut.instruction.valid, 1)
        assert await receive(ctx, dut.give, 1) == [{"semaphore": 4, "count": 1}]
        assert ctx.get(dut.error) and not ctx.get(dut.instruction.ready)
        for _ in range(30):
            await ctx.tick()
            assert ctx.get(dut.error) and not ctx.get(dut.read.request.valid) and not ctx.get(dut.memory.request.valid)

    async def pager(ctx: Any) -> None:
        ctx.set(dut.page_request.ready, 1)
        ctx.set(dut.page_response.payload, {"page": 2, "ok": 1, "end": 0})
        ctx.set(dut.page_response.valid, 1)

    simulate(dut, bench, pager, background=[read_server(dut.read, memory, 5), write_server(dut.memory, memory)])


@pytest.mark.parametrize("fields, most", [
    ({"kind": "smooth"}, 1.22), ({"kind": "sparse"}, 1.2), ({"kind": "random", "raw": 1}, 1.56),
], ids=("smooth", "sparse", "as it is"))
def test_cycles_a_step(fields: dict[str, Any], most: float) -> None:
    """Instructions of one tile, in the long run."""
    cases = Cases(5, Sizes(page_bytes=256, pages=64, limit=64))
    ends: list[int] = []
    run(_stream(cases, 6, rows=2, columns=32, channels=16, signal0=0, signal1=0, **fields), often=0, retired=ends,
        whole=True)
    assert (ends[-2] - ends[1]) / 3 <= most * 128, ends


@pytest.mark.parametrize("changes, message", [
    ({"word_bytes": 2}, "word_bytes must be a power of two from 4 to 128, not 2"), ({"word_bytes": 24}, "not 24"),
    ({"external_bytes": 16}, "external_bytes must be 0, 1, 2, 4 or 8, not 16"), ({"codec_lanes": 3}, "lanes must be 2"),
    ({"page_bytes": 32}, "page_bytes must be a power of two from 64 to 4096, not 32"), ({"page_bytes": 8192}, "not 81"),
    ({"word_bytes": 128}, "from 128 to 4096, not 64"), ({"page_bytes": 96}, "not 96"),
    ({"pages": 0}, "pages must be from 1 to 65535, not 0"), ({"streams": 65}, "streams must be from 1 to 64, not 65"),
])
def test_sizes_that_cannot_work(changes: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PackUnit(**Sizes().unit() | changes)
