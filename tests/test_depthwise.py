"""Whole DEPTHWISE instructions: memory in, memory out, against the numpy model; and how many cycles they take."""

from collections import Counter
from itertools import repeat
from typing import Any

import numpy as np
import pytest
from amaranth import Module, ResetInserter, Signal
from amaranth.lib import wiring

from systolith.rtl.depthwise import DepthwiseUnit
from systolith.rtl.isa import DEPTHWISE, Instruction
from systolith.sim.golden.vector import set_bytes
from tests.depthwise_cases import ILLEGAL, LEGAL, UNUSUAL, DepthwiseCases, DepthwiseProgram, strips
from tests.streams import PATIENCE, plain, read_server, receive, send, simulate, stalls, write_server

LIMIT = 20 * PATIENCE
"""Cycles that a program may take."""
SIZES = [(4, 4, 16), (3, 4, 3), (1, 4, 8), (5, 8, 20), (4, 8, 32), (8, 32, 32), (2, 64, 2), (13, 16, 26), (16, 16, 64),
         (16, 16, 16)]


def run(program: DepthwiseProgram, cols: int, word_bytes: int, lanes: int, *, seed: int = 0, often: float = 0.3,
        latency: int = 5, slow: int | None = None) -> Counter[str]:
    """Executes `program` and compares memory, retirements and gives; returns event counts, cycles and words read.

    `often`: how often each side of each stream stalls. `slow`: number of one (as in `stall` below) that always does.
    """
    expected = program.result(cols, word_bytes)
    dut = DepthwiseUnit(cols, word_bytes, lanes)
    memory = bytearray(program.memory.tobytes())
    counts: Counter[str] = Counter()
    log: list[int] = []
    stall = [stalls(seed + k, often) for k in range(5)]
    if slow is not None:
        stall[slow] = repeat(200 if slow == 1 else 20)

    async def watch(ctx: Any) -> None:
        tags: list[int] = []
        taken = 0
        while len(tags) < len(program.instructions):
            i = dut.instruction
            _, _, retired, events, error, busy, valid, ready, gives = await ctx.tick().sample(
                dut.retired, dut.events, dut.error, dut.busy, i.valid, i.ready, dut.give.valid)
            assert not error
            assert busy or (taken == len(tags) and not gives)
            taken += valid and ready
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
        lambda ctx: check(ctx, dut.take, program.semaphores("wait"), stall[1]),
        lambda ctx: check(ctx, dut.give, program.semaphores("signal"), stall[2]),
        background=[read_server(dut.read, memory, latency, stall[3], log), write_server(dut.write, memory, stall[4])])
    np.testing.assert_array_equal(np.frombuffer(memory, np.uint8), expected)
    assert log == [at for i in program.instructions for at in words_read(i, cols, word_bytes, lanes // cols)]
    return counts + Counter(words=len(log))


def words_read(i: Instruction, cols: int, word_bytes: int, lanes: int) -> list[int]:
    """Addresses of the words that an instruction needs, in order, each as often as a strip needs it."""
    words = [i.b]  # in whose place the padding is written
    for strip in strips(i, lanes):
        if strip.y == 0:
            start = i.b + strip.t * i.b_tile
            size = i.ky * i.kx * word_bytes + set_bytes(cols, word_bytes)
            words += range(start, start + size, word_bytes)
        for ix in strip.columns():
            for row in strip.inside if 0 <= ix < i.width else ():
                at = (i.a + strip.t * i.a_tile + (strip.iy + row) * i.a_row + ix * i.a_pixel) % (1 << 24)
                words.append(at - i.a_ring if at >= i.a_end else at)
    return words


@pytest.mark.parametrize("cols, word_bytes, lanes", SIZES)
def test_random_instructions(cols: int, word_bytes: int, lanes: int) -> None:
    program = DepthwiseCases(cols + lanes, cols, word_bytes).program(12, semaphores=True)
    run(program, cols, word_bytes, lanes, seed=word_bytes)


@pytest.mark.parametrize("latency", [1, 3, 7])
def test_without_stalls(latency: int) -> None:
    run(DepthwiseCases(latency, 6, 8).program(15), 6, 8, 24, often=0, latency=latency)


def test_constants_stay_while_outputs_need_them() -> None:
    """One input column serves many outputs, so that the next groups' constants always wait for a place."""
    program = DepthwiseCases(2, 4, 4).program(2, ky=1, kx=1, x_step=0, y_step=1, rows_y=4, rows_x=6, tiles=7, height=4,
                                              width=2, y_start=0, x_start=0)
    run(program, 4, 4, 16, often=0, latency=1)


@pytest.mark.parametrize("slow", [3, 4])
def test_slow_memory(slow: int) -> None:
    """Reads and writes that are refused all the time, beside others that never are."""
    run(DepthwiseCases(slow, 4, 4).program(4), 4, 4, 16, often=0, slow=slow)


def layer(height: int, width: int, channels: int, kernel: int = 3, step: int = 1, count: int = 1) -> DepthwiseProgram:
    """A layer for 16 columns, padded so that as many positions come out as `step` leaves; `count` times."""
    cases = DepthwiseCases(height, 16, 16, size=1 << 18)
    pad, groups = kernel // 2, channels // 16
    ny, nx = -(-height // step), -(-width // step)
    a = cases._take(height * width * channels)
    instructions = []
    for _ in range(count):
        constants = [cases._constants(kernel * kernel) for _ in range(groups)]
        b, c = cases._take(groups * constants[0].size, 16), cases._take(ny * nx * channels)
        cases.memory[b:b + groups * constants[0].size] = np.concatenate(constants)
        instructions.append(DEPTHWISE(
            a=a, b=b, c=c, rows_y=ny, rows_x=nx, ky=kernel, kx=kernel, tiles=groups, elems=16, elems_last=16, pad=7,
            y_start=-pad, height=height, x_start=-pad, width=width, y_step=step, x_step=step, y_dilation=1,
            x_dilation=1, low=-128, high=127, a_tile=16, a_row=width * channels, a_pixel=channels,
            b_tile=constants[0].size, c_tile=16, c_row=nx * channels, c_pixel=channels))
    return DepthwiseProgram(instructions, cases.memory)


@pytest.mark.parametrize("least, program", [
    (0.96, layer(12, 24, 64)), (0.87, layer(6, 6, 128)), (0.91, layer(6, 6, 64, count=3)),
    (0.93, layer(24, 24, 32, step=2)), (0.93, layer(12, 12, 32, kernel=5)), (0.94, layer(14, 14, 64)),
    (0.70, layer(3, 3, 256)),
], ids=["12x24x64", "6x6x128", "three of 6x6x64", "24x24x32 step 2", "12x12x32 5x5", "14x14x64", "3x3x256"])
def test_throughput(least: float, program: DepthwiseProgram) -> None:
    """Cycles from the first instruction to the last byte in memory, against taps * pixels / 4 and words read."""
    counts = run(program, 16, 16, 64, often=0, latency=7)
    taps = sum(i.tiles * i.rows_y * i.rows_x * i.ky * i.kx for i in program.instructions)
    assert counts["cycles"] <= max(taps / 4, counts["words"]) / least


def test_a_tap_every_cycle() -> None:
    """Once it has begun: strips, groups and instructions follow without a gap."""
    counts = run(layer(8, 8, 64, count=2), 16, 16, 64, often=0, latency=7)
    assert counts["busy"] == 2 * 4 * 64 * 9 / 4
    assert counts["wait_output"] == 0
    assert counts["wait_input"] <= 60, "taps wait in the middle"


def test_events_name_the_cause() -> None:
    """Slow input, slow output and missing semaphores are told apart."""
    program = layer(8, 8, 16)
    program.instructions[0].values |= {"wait0": 3, "wait0_count": 2}
    for slow, event in ((3, "wait_input"), (4, "wait_output"), (1, "wait_semaphore")):
        counts = run(program, 16, 16, 64, often=0, slow=slow)
        assert counts["busy"] == 64 * 9 / 4
        waits = {name: counts[name] for name in ("wait_output", "wait_input", "wait_semaphore")}
        assert max(waits, key=lambda name: waits[name]) == event, waits


@pytest.mark.parametrize("fields", ILLEGAL, ids=str)
def test_illegal_operands(fields: dict[str, int]) -> None:
    """An instruction that cannot be executed is an error, and touches nothing."""
    dut = DepthwiseUnit(6, 8, 24)
    illegal = DepthwiseProgram([DEPTHWISE(**(LEGAL | fields))], np.zeros(0, np.uint8))

    async def bench(ctx: Any) -> None:
        ctx.set(dut.read.request.ready, 1)
        ctx.set(dut.instruction.payload, illegal.words()[0])
        ctx.set(dut.instruction.valid, 1)
        for cycle in range(60):
            await ctx.tick()
            assert cycle < 25 or ctx.get(dut.error)
            assert not ctx.get(dut.read.request.valid) and not ctx.get(dut.write.request.valid)

    simulate(dut, bench)


def test_unusual_operands() -> None:
    cases = DepthwiseCases(3, 6, 8)
    fixed = [fields | {"tag": tag} for tag, fields in enumerate(UNUSUAL)]
    program = DepthwiseProgram([cases.instruction(**LEGAL | {"low": -128, "high": 127} | fields)
                                for fields in fixed], cases.memory)
    for instruction in program.instructions:
        instruction.values |= {"b": instruction.b // 8 * 8}
    run(program, 6, 8, 24)


class Resettable(wiring.Component):
    """A depthwise unit with a reset of its own."""

    def __init__(self) -> None:
        self.unit, self.reset = DepthwiseUnit(4, 4, 16), Signal()
        super().__init__({})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.unit = ResetInserter(self.reset)(self.unit)
        return m


@pytest.mark.parametrize("cycle", [40, 90, 143, 300])
def test_reset_in_the_middle(cycle: int) -> None:
    """After a reset, held until no answer is under way, it works as after power-up."""
    program = DepthwiseCases(7, 4, 4).program(3, rows_y=6, rows_x=6, tiles=3, ky=3, kx=3, y_dilation=1, x_dilation=1)
    expected = program.result(4, 4)
    dut = Resettable()
    memory = bytearray(program.memory.tobytes())

    async def bench(ctx: Any) -> None:
        ctx.set(dut.unit.instruction.payload, program.words()[0])
        ctx.set(dut.unit.instruction.valid, 1)
        await ctx.tick().repeat(cycle)
        ctx.set(dut.unit.instruction.valid, 0)
        ctx.set(dut.reset, 1)
        await ctx.tick().repeat(30)
        ctx.set(dut.reset, 0)
        await send(ctx, dut.unit.instruction, program.words())
        for _ in range(LIMIT):
            _, _, retired, events = await ctx.tick().sample(dut.unit.retired, dut.unit.events)
            if retired.valid and retired.tag == program.instructions[-1].tag:
                return
        raise AssertionError("the unit hangs")

    simulate(dut, bench, background=[read_server(dut.unit.read, memory, 6), write_server(dut.unit.write, memory)])
    np.testing.assert_array_equal(np.frombuffer(memory, np.uint8), expected)


@pytest.mark.parametrize("arguments, message", [
    ((4, 4, 12), r"lanes must be cols \(4\) times 1, 2, 4 or 8, not 12"), ((4, 4, 64), "lanes must be"),
    ((8, 4, 8), "cols must be from 1 to word_bytes"), ((2, 2, 2), "word_bytes must be a power of two from 4 to 128"),
])
def test_sizes_that_cannot_work(arguments: tuple[int, int, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DepthwiseUnit(*arguments)
