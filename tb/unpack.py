"""UNPACK instructions under Icarus: the cases of `tests/test_unpack_unit.py`, every port stalling."""

from collections import deque
from collections.abc import Iterator
from typing import Any

import cocotb
import numpy as np
from cocotb.triggers import RisingEdge

from systolith.rtl.isa import UNPACK
from systolith.rtl.pager_ports import PageRequest, PageResponse
from systolith.rtl.ports import Burst
from systolith.rtl.unpack_unit import UnpackUnit
from tb.harness import parameters
from tb.streams import PATIENCE, Sink, Source, read, serve_read, serve_write, stalls, unpack
from tb.units import execute
from tests.unpack_cases import Cases, Pages, Program, Sizes, check_burst, prepare

MACHINES = (Sizes(4, 0, 2, 64, 200, 0), Sizes(16, 8, 8, 256, 4, 100), Sizes(32, 4, 4, 128, 3, 200))


def benches() -> Iterator[tuple[str, UnpackUnit, dict[str, int]]]:
    for number, sizes in enumerate(MACHINES):
        yield (f"unpack_unit_{sizes.word_bytes}_{sizes.lanes}", UnpackUnit(*sizes.arguments()), {"number": number})


def serve_pager(dut: Any, pages: Pages, stall: Any) -> None:
    """Answer as the pager does, for ever. Call it before `start`."""
    requests, responses = Sink(dut, "requests", PageRequest), Source(dut, "responses", PageResponse)

    async def serve() -> None:
        while True:
            asked, = await requests.take(1, stall, 1 << 30)
            answer = pages.request(asked["kind"], asked["stream"], asked["reader"], asked["count"])
            await responses.send([answer._asdict()], stall)
    cocotb.start_soon(serve())


def serve_external(dut: Any, program: Program, pages: Pages, stall: Any) -> None:
    """External memory, for ever; a beat must be taken at once. Call it before `start`."""
    width = program.sizes.external_bytes
    dut.read_request__ready.value = dut.read_data__valid.value = dut.read_data__payload.value = 0

    async def serve() -> None:
        due: deque[int] = deque()
        while True:
            ready = next(stall) == 0
            offer = bool(due) and next(stall) == 0
            dut.read_request__ready.value, dut.read_data__valid.value = int(ready), int(offer)
            if offer:
                dut.read_data__payload.value = int.from_bytes(pages.external[due[0]:due.popleft() + width], "little")
            await RisingEdge(dut.clk)
            if read(dut.rst):
                continue
            assert not offer or read(dut.read_data__ready), "a beat is held back"
            if ready and read(dut.read_request__valid):
                burst = unpack(Burst, read(dut.read_request__payload))
                check_burst(program.sizes, program.outside, burst["address"], burst["beats"] + 1)
                due.extend(burst["address"] + k * width for k in range(burst["beats"] + 1))
    cocotb.start_soon(serve())


@cocotb.test()
async def instructions(dut: Any) -> None:
    """Memory, semaphores and retirements after a program of random instructions, and all pages free."""
    sizes = MACHINES[parameters()["number"]]
    cases = Cases(sizes.word_bytes, sizes)
    program = cases.program(cases.stream(0, 5), cases.stream(3, 4, 2), cases.stream(4, 3, 3), cases.stream(1, 4))
    memory = bytearray(program.memory.tobytes())
    pages = program.pages(memory)
    for job in program.jobs:
        assert prepare(job, pages)
    serve_read(dut, "memory", memory, 6, stalls(1))
    serve_write(dut, "write", memory, sizes.word_bytes, stalls(2))
    serve_pager(dut, pages, stalls(6))
    if sizes.external_bytes:
        serve_external(dut, program, pages, stalls(7))
    await execute(dut, UNPACK.layout(), program.payloads(), program, {}, 20 * PATIENCE)
    got, expected = np.frombuffer(memory, np.uint8), program.memory.copy()
    pool = slice(program.base, program.base + sizes.pages * sizes.page_bytes)
    expected[pool] = got[pool]
    program.expected(expected)
    np.testing.assert_array_equal(got, expected)
    assert pages.model.code == 0 and pages.model.used + pages.model.used_outside == 0
