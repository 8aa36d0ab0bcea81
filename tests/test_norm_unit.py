"""Whole NORM instructions: memory in, memory out, against the numpy model."""

from collections import Counter
from itertools import repeat
from typing import Any

import numpy as np
import pytest

from systolith.rtl.isa import INT8, INT16, NORM, NORM_ELEMS
from systolith.rtl.norm_unit import NormUnit
from tests.norm_cases import PARAMETERS, ROWS, Cases, Program
from tests.streams import PATIENCE, plain, read_server, receive, send, simulate, stalls, write_server

LIMIT = 6 * PATIENCE
"""Cycles that a program may take."""
SIZES = [(4, 1), (4, 2), (8, 4), (16, 1), (16, 4), (16, 8), (32, 8), (64, 2)]


def run(program: Program, word_bytes: int, lanes: int, *, seed: int = 0, often: float = 0.3, latency: int = 6,
        slow: dict[str, int] | None = None) -> Counter[str]:
    """Executes `program` and compares memory, retirements and gives; returns event counts and cycles.

    `often`: how often each side of each stream stalls. `slow`: those that always do, and how long.
    """
    dut = NormUnit(word_bytes, lanes)
    memory = bytearray(program.memory.tobytes())
    counts: Counter[str] = Counter()
    stall = {name: stalls(seed + k, often) for k, name in enumerate(("instruction", "take", "give", "read", "write"))}
    stall |= {name: repeat(cycles) for name, cycles in (slow or {}).items()}

    async def watch(ctx: Any) -> None:
        tags = []
        taken = 0
        while len(tags) < len(program.instructions):
            _, _, retired, events, error, begins, busy, gives = await ctx.tick().sample(
                dut.retired, dut.events, dut.error, dut.instruction.valid & dut.instruction.ready, dut.busy,
                dut.give.valid)
            assert not error
            assert busy or (taken == len(tags) and not gives), "busy says that nothing is under way"
            taken += begins
            happened = [name for name, on in plain(events).items() if on]
            assert len(happened) <= 1, happened
            counts.update([*happened, "cycles"])
            if retired.valid:
                tags.append(retired.tag)
            assert counts["cycles"] < LIMIT, "the unit hangs"
        assert tags == [i.tag for i in program.instructions]
        for _ in range(200):
            if not ctx.get(dut.busy):
                break
            await ctx.tick()
        assert not ctx.get(dut.busy)

    async def check(ctx: Any, stream: Any, wanted: list[dict[str, int]], stall: Any) -> None:
        assert await receive(ctx, stream, len(wanted), stall, LIMIT) == wanted

    simulate(
        dut, watch,
        lambda ctx: send(ctx, dut.instruction, program.payloads(), stall["instruction"], LIMIT),
        lambda ctx: check(ctx, dut.take, program.semaphores("wait"), stall["take"]),
        lambda ctx: check(ctx, dut.give, program.semaphores("signal"), stall["give"]),
        background=[read_server(dut.read, memory, latency, stall["read"]),
                    write_server(dut.write, memory, stall["write"])])
    np.testing.assert_array_equal(np.frombuffer(memory, np.uint8), program.expected(word_bytes))
    return counts


@pytest.mark.parametrize("word_bytes, lanes", SIZES)
def test_random_instructions(word_bytes: int, lanes: int) -> None:
    cases = Cases(word_bytes + lanes, word_bytes)
    run(cases.program(*cases.random_shapes(6)), word_bytes, lanes, seed=word_bytes)


@pytest.mark.parametrize("latency", [1, 5, 9])
def test_without_stalls(latency: int) -> None:
    cases = Cases(latency, 8)
    run(cases.program(*cases.random_shapes(8, 100)), 8, 4, often=0, latency=latency)


@pytest.mark.parametrize("kind", ROWS)
def test_kinds_of_rows(kind: str) -> None:
    """Each kind of row with each kind of parameters, lengths around the lanes and around a word."""
    cases = Cases(len(kind), 16)
    instructions = [cases.instruction(2, elems, row=kind, parameters=parameters)
                    for parameters, elems in zip(2 * PARAMETERS, (1, 3, 4, 5, 15, 16, 33, 8), strict=True)]
    run(Program(instructions, cases.memory), 16, 4, seed=len(kind), often=0.1)


def test_many_short_instructions() -> None:
    """Parameters change faster than rows pass through the unit; many rows are under way at once."""
    cases = Cases(7, 8)
    run(cases.program((1, 1), (2, 2), (1, 5), (9, 1), (1, 9), (1, 2), (1, 1)), 8, 2, seed=7, often=0.1)
    cases = Cases(8, 8)
    run(cases.program((40, 3), (1, 3)), 8, 4, seed=8, often=0.1)


@pytest.mark.parametrize("elems", [1025, 1800, NORM_ELEMS])
def test_long_rows(elems: int) -> None:
    """Fewer than two rows fit the buffer, and parameters wait for those of the instruction before."""
    run(Cases(elems, 16).program((3, elems), (2, elems - 7)), 16, 8, seed=elems, often=0.05)


def test_parameters_are_kept_to_the_end() -> None:
    """Those of the third instruction wait for the place of the first one's, whose last chunk still needs them."""
    program = Cases(13, 32).program((40, 8), (1, NORM_ELEMS - 8), (1, 8), wait0=0, wait1=0, row="random", in_type=INT16,
                                    parameters="usual", out_type=INT16, low=-32768, high=32767)
    run(program, 32, 8, often=0, latency=1)


def test_the_largest_values() -> None:
    """Sums of squares, deviations and normalised values as far as their widths go."""
    cases = Cases(12, 16)
    program = Program([cases.instruction(3, NORM_ELEMS, in_type=INT16, out_type=INT16, epsilon=epsilon, epsilon_high=0,
                                         rms=rms, parameters="usual", low=-32768, high=32767)
                       for rms, epsilon in ((0, 0), (1, 1))], cases.memory)
    for i in program.instructions:
        for row, values in enumerate((np.full(NORM_ELEMS, -32768), np.full(NORM_ELEMS, -32768), np.zeros(NORM_ELEMS))):
            values[NORM_ELEMS - 1] = (-32768, 32767, -1)[row]
            at = i.a + row * i.a_row
            program.memory[at:at + 2 * NORM_ELEMS] = values.astype("<i2").view(np.uint8)
    run(program, 16, 8, often=0)


def test_outputs_in_place() -> None:
    """Also wider ones than the inputs, where the rows are apart."""
    cases = Cases(9, 8)
    program = Program([cases.instruction(5, 37, a=4099, a_row=80, c=4099, c_row=80, in_type=INT16, out_type=INT16),
                       cases.instruction(7, 11, a=9001, a_row=22, c=9001, c_row=22, in_type=INT8, out_type=INT16)],
                      cases.memory)
    run(program, 8, 4, often=0.1)


def _cycles(rows: int, elems: int, word_bytes: int, lanes: int, kind: int) -> int:
    cases = Cases(rows, word_bytes)
    # variances of 0 take longest
    program = cases.program((rows, elems), wait0=0, wait1=0, in_type=kind, out_type=kind, row="zeros", epsilon=0,
                            epsilon_high=0)
    return run(program, word_bytes, lanes, often=0)["cycles"]


@pytest.mark.parametrize("word_bytes, lanes, elems, kind, each", [
    (16, 4, 1, INT16, 20), (16, 4, 64, INT16, 20), (16, 4, 85, INT16, 22), (16, 4, 128, INT8, 32),
    (16, 4, 768, INT16, 192), (16, 4, 1800, INT16, 450), (32, 8, 1500, INT16, 188), (16, 8, 256, INT16, 32),
    (4, 2, 100, INT16, 50),
])
def test_cycles_a_row(word_bytes: int, lanes: int, elems: int, kind: int, each: int) -> None:
    """max(ceil(elems / lanes), 20) a row; the pipeline and the parameters, which share the port, come once."""
    few, many = (10, 20) if elems < 300 else (3, 6)
    start = _cycles(few, elems, word_bytes, lanes, kind)
    assert _cycles(many, elems, word_bytes, lanes, kind) - start == (many - few) * each
    assert start - few * each <= 120 + 2 * (8 * elems // word_bytes) + each


def test_instructions_overlap() -> None:
    """An instruction's parameters are loaded and its first row is read while the one before it runs."""
    program = Cases(10, 16).program(*[(8, 256)] * 5, wait0=0, wait1=0)
    counts = run(program, 16, 4, often=0)
    assert counts["cycles"] <= 5 * (8 * 64 + 30) + 250
    assert counts["busy"] >= 5 * 8 * 64


def test_events_name_the_cause() -> None:
    """Slow outputs, slow inputs and missing semaphores are told apart."""
    for slow, cycles, event in (("write", 100, "wait_output"), ("read", 10, "wait_input"),
                                ("take", 600, "wait_semaphore")):
        program = Cases(11, 16).program((3, 40), wait0=3, wait0_count=2)
        counts = run(program, 16, 8, often=0, slow={slow: cycles})
        waits = {name: counts[name] for name in ("wait_output", "wait_input", "wait_semaphore")}
        assert max(waits, key=lambda name: waits[name]) == event, waits


@pytest.mark.parametrize("fields", [
    {"rows": 0}, {"elems": 0}, {"elems": NORM_ELEMS + 1}, {"elems": 4096}, {"b": 4}, {"in_type": 2}, {"out_type": 3},
    {"low": 1}], ids=lambda fields: "-".join(f"{name}{value}" for name, value in fields.items()))
def test_illegal_operands(fields: dict[str, int]) -> None:
    """An instruction that cannot be executed is an error, and touches nothing."""
    dut = NormUnit(8, 4)
    illegal = Program([NORM(**({"rows": 2, "elems": 4, "a": 64, "c": 96, "b": 1024} | fields))], np.zeros(0, "u1"))

    async def bench(ctx: Any) -> None:
        for port in (dut.read, dut.write):
            ctx.set(port.request.ready, 1)
        await send(ctx, dut.instruction, illegal.payloads())
        for cycle in range(40):
            await ctx.tick()
            assert cycle < 5 or ctx.get(dut.error)
            for port in (dut.read, dut.write):
                assert not ctx.get(port.request.valid)

    simulate(dut, bench)


@pytest.mark.parametrize("arguments, message", [
    ((8, 3), "lanes must be a power of two, not 3"), ((8, 8), r"lanes must be at most half of word_bytes \(4\), not 8"),
    ((2, 1), "word_bytes must be a power of two from 4 to 128, not 2"), ((256, 4), "from 4 to 128, not 256"),
])
def test_sizes_that_cannot_work(arguments: tuple[int, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        NormUnit(*arguments)
