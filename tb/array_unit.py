"""The array unit's Verilog: programs with semaphores and a memory that changes."""

from collections.abc import Iterator
from typing import Any

import cocotb
from cocotb.triggers import RisingEdge

from systolith.rtl.array_unit import ArrayUnit
from systolith.rtl.isa import ARRAY
from systolith.rtl.ports import Give, Take, accumulator_row
from tb.harness import parameters
from tb.streams import Sink, Source, read, sample, serve_read, silent, stalls, start, unpack
from tests.array_instructions import Program
from tests.test_array_unit import accumulator_rows


def benches() -> Iterator[tuple[str, Any, dict[str, Any]]]:
    """Components to test."""
    for size in ((4, 4, 4, 16), (5, 3, 8, 32)):
        yield f"array_unit_{size[0]}x{size[1]}", ArrayUnit(*size), dict(size=size)
    yield "array_unit_products", ArrayUnit(*size, activation_products=True), dict(size=size, products=True)


async def serve_semaphores(dut: Any, program: Program, given: list[dict[str, int]]) -> None:
    """Grants the takes in order, late, and accepts the gives, late."""
    number, delay = 0, stalls(3)
    takes = iter(delay)
    wait = next(takes)
    while True:
        grant = wait <= 0 and number < len(program.takes) and program.may_take(number, given)
        dut.take__ready.value = int(grant)
        accept = wait % 2 == 0
        dut.give__ready.value = int(accept)
        await RisingEdge(dut.clk)
        wait -= 1
        if read(dut.rst):
            continue
        if read(dut.take__valid):
            assert number < len(program.takes), "a surplus take"
            assert unpack(Take, read(dut.take__payload)) == program.takes[number]
            if grant:
                program.taken(number)
                number, wait = number + 1, next(takes)
        if accept and read(dut.give__valid):
            given.append(unpack(Give, read(dut.give__payload)))
            program.given(given[-1])


async def watch(dut: Any, retired: list[int]) -> None:
    """Collects the tags of retired instructions."""
    while True:
        await RisingEdge(dut.clk)
        bits = 0 if read(dut.rst) or not dut.retired.value[0] else read(dut.retired)
        if bits & 1:
            retired.append(bits >> 1)


@cocotb.test()
async def runs_a_program(dut: Any) -> None:
    """Blocks, takes, gives, retirement."""
    size, products = parameters()["size"], parameters().get("products", False)
    program = Program(sum(size) + 1, *size, count=6 if products else 4, products=products)
    given: list[dict[str, int]] = []
    retired: list[int] = []
    source, sink = Source(dut, "instruction", ARRAY.layout()), Sink(dut, "o", accumulator_row(size[1]))
    dut.take__ready.value = dut.give__ready.value = 0
    serve_read(dut, "input", program.memory, 5, stalls(4))
    serve_read(dut, "weights", program.memory, 4, stalls(5))
    cocotb.start_soon(serve_semaphores(dut, program, given))
    cocotb.start_soon(watch(dut, retired))
    await start(dut)
    source.feed([i.values for i in program.instructions], stalls(1))
    await sink.check(accumulator_rows(program.blocks), stalls(2))
    await silent(dut, "o", 60)
    assert await sample(dut, dut.busy, dut.error) == [0, 0]
    assert len(given) == len(program.gives) and all(give in given for give in program.gives)
    assert retired == [i.tag for i in program.instructions]
