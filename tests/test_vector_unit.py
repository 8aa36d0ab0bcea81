"""Whole VECTOR instructions: memory and accumulators in, memory out, against the numpy model."""

from collections import Counter
from itertools import repeat
from typing import Any

import numpy as np
import pytest

from systolith.rtl.isa import ACCUMULATORS, INT8, INT16, INT32, MEMORY, PRODUCT, SINGLE, SUM, VECTOR
from systolith.rtl.vector_unit import VectorUnit
from systolith.sim.golden.vector import execute_vector
from tests.streams import PATIENCE, plain, read_server, receive, send, simulate, stalls, write_server
from tests.vector_cases import Cases, Program, semaphores

LIMIT = 6 * PATIENCE
"""Cycles that a program may take."""
SIZES = [(4, 4, 4), (3, 4, 2), (4, 8, 1), (6, 8, 8), (13, 16, 4), (16, 16, 16)]


def run(program: Program, cols: int, word_bytes: int, lanes: int, *, seed: int = 0, often: float = 0.3,
        latency: int = 4, slow: int | None = None) -> Counter[str]:
    """Executes `program` and compares memory, retirements and gives; returns event counts and cycles.

    `often`: how often each side of each stream stalls. `slow`: number of one (as in `stall` below) that always does.
    """
    expected = program.memory.copy()
    feed = iter(program.blocks)
    for instruction in program.instructions:
        execute_vector(instruction, expected, feed, cols, word_bytes, lanes)
    dut = VectorUnit(cols, word_bytes, lanes)
    memory = bytearray(program.memory.tobytes())
    counts: Counter[str] = Counter()
    stall = [stalls(seed + k, often) for k in range(7)]
    if slow is not None:
        stall[slow] = repeat(200 if slow == 2 else 4)

    async def watch(ctx: Any) -> None:
        tags = []
        while len(tags) < len(program.instructions):
            _, _, retired, events, error = await ctx.tick().sample(dut.retired, dut.events, dut.error)
            assert not error
            happened = [name for name, on in plain(events).items() if on]
            assert len(happened) <= 1, happened
            counts.update([*happened, "cycles"])
            if retired.valid:
                tags.append(retired.tag)
            assert counts["cycles"] < LIMIT, "the unit hangs"
        assert tags == [i.tag for i in program.instructions]

    async def check(ctx: Any, stream: Any, wanted: list[dict[str, int]], stall: Any) -> None:
        assert await receive(ctx, stream, len(wanted), stall, LIMIT) == wanted

    async def idle(ctx: Any) -> None:
        await watch(ctx)
        for _ in range(200):
            if not ctx.get(dut.busy):
                break
            await ctx.tick()
        assert not ctx.get(dut.busy)

    simulate(
        dut, idle,
        lambda ctx: send(ctx, dut.instruction, program.words(), stall[0], LIMIT),
        lambda ctx: send(ctx, dut.accumulators, program.rows(), stall[1], LIMIT),
        lambda ctx: check(ctx, dut.take, program.semaphores("wait"), stall[2]),
        lambda ctx: check(ctx, dut.give, program.semaphores("signal"), stall[3]),
        background=[read_server(dut.read, memory, latency, stall[4]),
                    read_server(dut.params, memory, latency, stall[5]),
                    write_server(dut.write, memory, stall[6])])
    np.testing.assert_array_equal(np.frombuffer(memory, np.uint8), expected)
    return counts


@pytest.mark.parametrize("cols, word_bytes, lanes", SIZES)
def test_all_modes(cols: int, word_bytes: int, lanes: int) -> None:
    program = semaphores(Cases(cols + lanes, cols, word_bytes).program(20), lanes)
    run(program, cols, word_bytes, lanes, seed=word_bytes)


def test_long_rows() -> None:
    program = Cases(1, 4, 8).program(3, source=MEMORY, elems=257, elems_last=897, tiles=2, ny=1, nx=1, wy=1, wx=1,
                                     y_start=0, x_start=0, height=1, width=1, in_type=INT8)
    run(program, 4, 8, 8, often=0.1)


@pytest.mark.parametrize("latency", [1, 3, 7])
def test_without_stalls(latency: int) -> None:
    run(Cases(latency, 6, 8).program(20), 6, 8, 4, often=0, latency=latency)


def _large(**fields: int) -> tuple[Program, int]:
    """One instruction long enough to show the rate; with it the steps that it takes at 16 bytes and 16 lanes."""
    cases = Cases(5, 16, 16)
    memory = {"source": MEMORY, "height": 8, "width": 8, "y_step": 1, "x_step": 1, "wy_step": 1, "wx_step": 1}
    given = {"tiles": 2, "ny": 8, "nx": 8, "elems": 16, "elems_last": 16, "rounding": SINGLE, "reduce": SUM,
             "lookup": 0}
    if fields["source"] == MEMORY:
        given |= memory
    program = cases.program(1, **(given | {"wy": 1, "wx": 1, "y_start": 0, "x_start": 0} | fields))
    i = program.instructions[0]
    size = 1 << max(i.out_type, i.in_type if i.source == MEMORY else 0)
    return program, i.tiles * i.ny * i.nx * size * i.wy * i.wx * (1 + i.operands)


@pytest.mark.parametrize("fields", [
    {"source": ACCUMULATORS, "out_type": INT8},
    {"source": ACCUMULATORS, "out_type": INT32, "ny": 4},
    {"source": MEMORY, "in_type": INT8, "out_type": INT8, "operands": 1},
    {"source": MEMORY, "in_type": INT16, "out_type": INT8, "operands": 0},
    {"source": MEMORY, "in_type": INT8, "out_type": INT32, "operands": 0, "tiles": 1},
    {"source": MEMORY, "in_type": INT8, "out_type": INT8, "operands": 0, "tiles": 1, "wy": 2, "wx": 2},
    {"source": MEMORY, "in_type": INT8, "out_type": INT8, "operands": 1, "reduce": PRODUCT},
    {"source": MEMORY, "in_type": INT8, "out_type": INT8, "operands": 0, "lookup": 1},
    {"source": ACCUMULATORS, "out_type": INT8, "lookup": 1},
])
def test_a_step_every_cycle(fields: dict[str, int]) -> None:
    program, steps = _large(**fields)
    counts = run(program, 16, 16, 16, often=0, latency=5)
    assert counts["busy"] == steps
    assert counts["wait_output"] == 0
    assert counts["wait_input"] <= 16, "steps wait for input in the middle"
    assert counts["cycles"] <= steps + 60 + (80 if fields.get("lookup") else 0)


@pytest.mark.parametrize("lookup, nx, first", [(0, 8, 60), (1, 34, 160)])
def test_instructions_overlap(lookup: int, nx: int, first: int) -> None:
    """Set-up, tables and the pipeline's length are hidden behind the instruction before; `first`: cycles without."""
    program = Cases(9, 4, 4).program(12, source=MEMORY, in_type=INT8, out_type=INT8, operands=0, tiles=1, ny=3, nx=nx,
                                     wy=1, wx=1, y_start=0, x_start=0, elems=4, elems_last=4, lookup=lookup)
    counts = run(program, 4, 4, 4, often=0)
    assert counts["busy"] == 12 * 3 * nx
    assert counts["cycles"] <= 12 * 3 * nx + first


def test_tables_of_short_instructions() -> None:
    """Each has one of its own, and there are more of them than places for tables."""
    program = Cases(11, 6, 8).program(14, out_type=INT8, lookup=1, operands=0, tiles=1, ny=2, nx=2, wy=1, wx=1, elems=6,
                                      elems_last=6)
    run(program, 6, 8, 2, often=0)


def test_events_name_the_cause() -> None:
    """Slow outputs, slow rows and missing semaphores are told apart."""
    program, steps = _large(source=ACCUMULATORS, out_type=INT8, wait0=3, wait0_count=2)
    for port, event in ((6, "wait_output"), (1, "wait_input"), (2, "wait_semaphore")):
        counts = run(program, 16, 16, 16, seed=-port, often=0, slow=port)
        assert counts["busy"] == steps
        waits = {name: counts[name] for name in ("wait_output", "wait_input", "wait_semaphore")}
        assert max(waits, key=lambda name: waits[name]) == event, waits


ILLEGAL = [
    {"ny": 0}, {"nx": 0}, {"tiles": 0}, {"wy": 0}, {"wx": 0}, {"elems": 0}, {"elems_last": 0}, {"in_type": 3},
    {"out_type": 3}, {"rounding": 3}, {"low": 5, "high": 4}, {"low": 1, "high": -1}, {"params": 4098},
    {"source": ACCUMULATORS, "operands": 1}, {"source": ACCUMULATORS, "wx": 2}, {"source": ACCUMULATORS, "elems": 5},
    {"reduce": 3}, {"reduce": PRODUCT}, {"reduce": PRODUCT, "operands": 1, "wx": 2},
    {"reduce": PRODUCT, "operands": 1, "wy": 2}, {"reduce": PRODUCT, "operands": 1, "source": ACCUMULATORS},
    {"reduce": PRODUCT, "source": ACCUMULATORS}, {"lookup": 1, "out_type": INT16}, {"lookup": 1, "low": -129},
    {"lookup": 1, "high": 128}, {"lookup": 1, "low": -1 << 31}, {"lookup": 1, "table": 2},
]


@pytest.mark.parametrize("fields", ILLEGAL, ids=lambda fields: "-".join(fields))
def test_illegal_operands(fields: dict[str, int]) -> None:
    """An instruction that cannot be executed is an error, and touches nothing."""
    values = {"source": MEMORY, "tiles": 1, "ny": 1, "nx": 1, "wy": 1, "wx": 1, "elems": 4, "elems_last": 4, "high": 9}
    dut = VectorUnit(4, 4, 4)
    illegal = Program([VECTOR(**(values | fields))], np.zeros(0, np.uint8), [])

    async def bench(ctx: Any) -> None:
        for port in (dut.read, dut.write, dut.params):
            ctx.set(port.request.ready, 1)
        ctx.set(dut.accumulators.valid, 1)
        await send(ctx, dut.instruction, illegal.words())
        for cycle in range(40):
            await ctx.tick()
            assert cycle < 5 or ctx.get(dut.error)
            for port in (dut.read, dut.write, dut.params):
                assert not ctx.get(port.request.valid)

    simulate(dut, bench)


@pytest.mark.parametrize("rows_sent", [3, 5])
def test_a_block_of_another_length(rows_sent: int) -> None:
    program = Cases(2, 4, 4).program(1, source=ACCUMULATORS, ny=2, nx=2, tiles=1)
    program.blocks[0] = np.resize(program.blocks[0], (rows_sent, 4))
    dut = VectorUnit(4, 4, 2)
    memory = bytearray(program.memory.tobytes())

    async def bench(ctx: Any) -> None:
        for _ in range(200):
            await ctx.tick()
        assert ctx.get(dut.error)

    simulate(dut, bench, background=[
        lambda ctx: send(ctx, dut.instruction, program.words()),
        lambda ctx: send(ctx, dut.accumulators, program.rows()),
        read_server(dut.params, memory), write_server(dut.write, memory)])


@pytest.mark.parametrize("arguments, message", [
    ((4, 4, 3), "lanes must be a power of two, not 3"), ((4, 4, 8), "lanes must be at most word_bytes"),
    ((8, 4, 4), "cols must be from 1 to word_bytes"), ((2, 2, 2), "word_bytes must be a power of two and at least 4"),
])
def test_sizes_that_cannot_work(arguments: tuple[int, int, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        VectorUnit(*arguments)
