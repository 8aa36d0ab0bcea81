"""Whole SOFTMAX instructions: memory in, memory out, against the numpy model."""

from collections import Counter
from itertools import repeat
from typing import Any

import numpy as np
import pytest

from systolith.rtl.isa import SOFTMAX, SOFTMAX_ELEMS
from systolith.rtl.softmax_unit import SoftmaxUnit
from tests.softmax_cases import ROWS, TABLES, Cases, Program
from tests.streams import PATIENCE, plain, read_server, receive, send, simulate, stalls, write_server

LIMIT = 6 * PATIENCE
"""Cycles that a program may take."""
SIZES = [(4, 1), (4, 4), (8, 2), (16, 4), (16, 16), (32, 8)]


def run(program: Program, word_bytes: int, lanes: int, *, seed: int = 0, often: float = 0.3, latency: int = 6,
        slow: dict[str, int] | None = None) -> Counter[str]:
    """Executes `program` and compares memory, retirements and gives; returns event counts and cycles.

    `often`: how often each side of each stream stalls. `slow`: those that always do, and how long.
    """
    dut = SoftmaxUnit(word_bytes, lanes)
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
    """Each kind of row with each kind of table, lengths around the lanes and around a word."""
    cases = Cases(len(kind), 16)
    instructions = [cases.instruction(2, elems, row=kind, table=table)
                    for table, elems in zip(TABLES, (1, 3, 4, 15, 16, 33), strict=True)]
    run(Program(instructions, cases.memory), 16, 4, seed=len(kind), often=0.1)


def test_many_short_instructions() -> None:
    """Tables change faster than rows pass through the unit; many rows are under way at once."""
    cases = Cases(7, 8)
    run(cases.program((1, 1), (2, 2), (1, 5), (9, 1), (1, 9), (1, 2), (1, 1)), 8, 8, seed=7, often=0.1)
    cases = Cases(8, 8)
    run(cases.program((40, 3), (1, 3)), 8, 8, seed=8, often=0.1)


@pytest.mark.parametrize("elems", [1366, 2049, SOFTMAX_ELEMS])
def test_long_rows(elems: int) -> None:
    """Fewer than three rows fit the buffer, at last just one."""
    run(Cases(elems, 16).program((4, elems)), 16, 16, seed=elems, often=0.05)


def test_outputs_in_place() -> None:
    cases = Cases(9, 8)
    program = Program([cases.instruction(5, 37, a=4099, a_row=40, c=4099, c_row=40),
                       cases.instruction(7, 11, a=9001, a_row=11, c=9001, c_row=11, b=16384)], cases.memory)
    run(program, 8, 4, often=0.1)


@pytest.mark.parametrize("fields", [
    {"valid": 1, "valid_step": 0}, {"valid": 1, "valid_step": 1, "group": 1}, {"valid": 7, "valid_step": 1, "group": 3},
    {"valid": 2, "valid_step": 9, "group": 2, "valid_limit": 17}, {"valid": 0, "valid_step": 1, "valid_limit": 5},
    {"valid": 40, "valid_step": 65535}, {"valid": 65535}, {"valid": 4, "valid_step": 4, "group": 0},
    {"valid_limit": 8197}, {"valid": 3, "valid_step": 1, "valid_limit": 65535},
], ids=str)
@pytest.mark.parametrize("word_bytes, lanes", [(8, 4), (16, 16), (8, 1)])
def test_valid_lengths(fields: dict[str, int], word_bytes: int, lanes: int) -> None:
    """Masks of one instruction after another, the next one's rows right behind."""
    cases = Cases(len(str(fields)), word_bytes)
    none = dict.fromkeys(("valid", "valid_step", "group", "valid_limit"), 0)
    program = Program([cases.instruction(13, 41, **none | fields), cases.instruction(3, 12, **none),
                       cases.instruction(9, 8, **none | fields)], cases.memory)
    run(program, word_bytes, lanes, seed=lanes, often=0.1)


@pytest.mark.parametrize("valid", [1, 700, 1365, 2048])
def test_valid_lengths_of_long_rows(valid: int) -> None:
    """Places go round the buffer; rows end far behind what takes part."""
    cases = Cases(valid, 16)
    shapes = [cases.instruction(4, elems, valid=valid, valid_step=11, group=1, valid_limit=0) for elems in (1400, 2049)]
    run(Program(shapes, cases.memory), 16, 16, seed=valid, often=0.05)


def test_masked_outputs_in_place() -> None:
    cases = Cases(12, 8)
    run(Program([cases.instruction(9, 37, a=4099, a_row=40, c=4099, c_row=40, valid=3, valid_step=2, group=2,
                                   valid_limit=9)], cases.memory), 8, 4, often=0.1)


def _cycles(rows: int, elems: int, word_bytes: int, lanes: int, **fields: int) -> int:
    cases = Cases(rows, word_bytes)
    return run(cases.program((rows, elems), wait0=0, wait1=0, **fields), word_bytes, lanes, often=0)["cycles"]


@pytest.mark.parametrize("word_bytes, lanes, elems, each", [
    (16, 4, 1, 15), (16, 4, 10, 15), (16, 4, 61, 16), (16, 4, 128, 32), (16, 4, 511, 128),
    (32, 8, 128, 16), (16, 16, 256, 16), (4, 1, 20, 20),
])
def test_cycles_a_row(word_bytes: int, lanes: int, elems: int, each: int) -> None:
    """max(ceil(elems / lanes), 15) a row; the table and the pipeline's length come once."""
    few, many = (12, 20) if elems < 100 else (4, 7)
    start = _cycles(few, elems, word_bytes, lanes)
    assert start == _cycles(few, elems, word_bytes, lanes, valid=2, valid_step=3, group=2, valid_limit=60)
    assert _cycles(many, elems, word_bytes, lanes) - start == (many - few) * each
    assert start - few * each <= 320 + 3 * each


def test_instructions_overlap() -> None:
    """An instruction's table is loaded while the one before it runs, and its rows follow without a gap."""
    program = Cases(10, 16).program(*[(10, 128)] * 6, wait0=0, wait1=0)
    counts = run(program, 16, 4, often=0)
    assert counts["cycles"] <= 6 * 320 + 400
    assert counts["busy"] >= 6 * 320


def test_events_name_the_cause() -> None:
    """Slow outputs, slow inputs and missing semaphores are told apart."""
    for slow, cycles, event in (("write", 100, "wait_output"), ("read", 10, "wait_input"),
                                ("take", 600, "wait_semaphore")):
        program = Cases(11, 16).program((3, 40), wait0=3, wait0_count=2)
        counts = run(program, 16, 16, often=0, slow={slow: cycles})
        waits = {name: counts[name] for name in ("wait_output", "wait_input", "wait_semaphore")}
        assert max(waits, key=lambda name: waits[name]) == event, waits


@pytest.mark.parametrize("fields", [{"rows": 0}, {"elems": 0}, {"elems": SOFTMAX_ELEMS + 1}, {"elems": 8192}, {"b": 4}],
                         ids=lambda fields: "-".join(f"{name}{value}" for name, value in fields.items()))
def test_illegal_operands(fields: dict[str, int]) -> None:
    """An instruction that cannot be executed is an error, and touches nothing."""
    dut = SoftmaxUnit(8, 4)
    illegal = Program([SOFTMAX(**({"rows": 2, "elems": 4, "a": 64, "c": 96, "b": 1024} | fields))], np.zeros(0, "u1"))

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
    ((8, 3), "lanes must be a power of two, not 3"), ((8, 16), r"lanes must be at most word_bytes \(8\), not 16"),
    ((2, 2), "word_bytes must be a power of two from 4 to 128, not 2"), ((256, 4), "from 4 to 128, not 256"),
])
def test_sizes_that_cannot_work(arguments: tuple[int, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SoftmaxUnit(*arguments)
