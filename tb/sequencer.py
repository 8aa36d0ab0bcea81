"""The sequencer under Icarus: random programs, and an error that is cleared."""

import random
from collections.abc import Iterator
from typing import Any

import cocotb
from cocotb.triggers import RisingEdge

from systolith.rtl import isa
from systolith.rtl.errors import ErrorCode
from systolith.rtl.isa import END, SYNC
from systolith.rtl.ports import Give, Take
from systolith.rtl.sequencer import Sequencer
from tb.harness import parameters
from tb.streams import Sink, read, serve_read, stalls, start
from tests.test_sequencer import MEMORY, UNITS, image, random_body, walk

INPUTS = ("start", "entry", "clear", "unit_busy", "unit_error", "progress", "memory_error", "memory_address",
          "semaphore_error", "semaphore_number")


def benches() -> Iterator[Any]:
    for word_bytes in (4, 16):
        component = Sequencer(word_bytes, MEMORY, UNITS, 5000, reset_cycles=16)
        yield f"sequencer_{word_bytes}", component, {"seed": word_bytes}


async def _pulse(dut: Any, handle: Any) -> None:
    handle.value = 1
    await RisingEdge(dut.clk)
    handle.value = 0


async def _until(dut: Any, handle: Any, cycles: int = 20000) -> None:
    for _ in range(cycles):
        await RisingEdge(dut.clk)
        if read(handle):
            return
    raise AssertionError(f"{handle._name} did not rise in {cycles} cycles")


def _begin(dut: Any, memory: bytearray, seed: int) -> tuple[dict[str, Sink], Sink, Sink]:
    for name in INPUTS:
        getattr(dut, name).value = 0
    serve_read(dut, "memory", memory, 5, stalls(seed))
    return {name: Sink(dut, f"to_{name}") for name in UNITS}, Sink(dut, "take", Take), Sink(dut, "give", Give)


@cocotb.test()
async def random_programs(dut: Any) -> None:
    """Words to both units as a walk through the program gives them."""
    seed = parameters()["seed"]
    rng = random.Random(seed)
    program = [*random_body(rng, isa.LOOP_DEPTH), *random_body(rng, isa.LOOP_DEPTH), END()]
    expected = walk(program)
    queues, _, _ = _begin(dut, image(program, 44), seed)
    await start(dut)
    dut.entry.value = 44
    tasks = [cocotb.start_soon(queues[n].check(expected[n], stalls(seed + 1 + len(n)))) for n in UNITS]
    await RisingEdge(dut.clk)
    await _pulse(dut, dut.start)
    await _until(dut, dut.done)
    for task in tasks:
        await task
    assert read(dut.error_code) == 0


@cocotb.test()
async def sync_then_error_then_clear(dut: Any) -> None:
    """SYNC's takes and gives; an illegal word stops the machine; a clear and a start in one cycle run it again."""
    memory = image([SYNC(wait0=3, wait0_count=2, signal1=5, signal1_count=7)])
    _, take, give = _begin(dut, memory, 7)
    await start(dut)
    for _ in range(2):
        dut.start.value = 1
        await _pulse(dut, dut.clear)
        dut.start.value = 0
        await take.check([{"semaphore": 3, "count": 2}], stalls(1, often=1))
        await give.check([{"semaphore": 5, "count": 7}], stalls(2, often=1))
        await _until(dut, dut.failed)
        assert read(dut.error_code) == ErrorCode.ILLEGAL_INSTRUCTION and read(dut.error_information) == 12
    memory[12:16] = END().encode()[0].to_bytes(4, "little")
    dut.start.value = 1
    await _pulse(dut, dut.clear)
    dut.start.value = 0
    await take.take(1)
    await give.take(1)
    await _until(dut, dut.done)
