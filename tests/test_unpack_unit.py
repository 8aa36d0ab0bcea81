"""Whole UNPACK instructions: pages in, memory out, against the codec's model and the pager's."""

from typing import Any

import numpy as np
import pytest

from systolith.rtl.isa import UNPACK
from systolith.rtl.unpack_unit import UnpackUnit
from tests.streams import simulate
from tests.unpack_cases import Cases, Job, Program, Sizes
from tests.unpack_run import run

SIZES = [Sizes(), Sizes(4, 0, 2, 64, 40, 0), Sizes(32, 4, 4, 64, 9, 60), Sizes(8, 8, 8, 128, 3, 40, slots=2),
         Sizes(16, 1, 4, 64, 0 + 5, 60), Sizes(32, 32, 8, 256, 2, 40), Sizes(4, 2, 4, 64, 20, 60)]


@pytest.mark.parametrize("sizes", SIZES, ids=lambda s: "-".join(map(str, s.arguments())))
def test_random_instructions(sizes: Sizes) -> None:
    """Streams with readers in turns, pages on the chip and outside, numbers that are used again."""
    cases = Cases(sizes.word_bytes + sizes.lanes, sizes)
    most = 30 * sizes.lanes
    jobs = (cases.stream(0, 3, 1, most), cases.stream(sizes.streams - 1, 3, 2, most),
            cases.stream(2, 3, sizes.readers, most), cases.stream(1, 2, 1, most))
    again = cases.stream(0, 2, 2, most)
    run(cases.program(jobs[0] + again, *jobs[1:]), seed=sizes.word_bytes, often=0.2)


@pytest.mark.parametrize("latency, outside", [(1, 1), (5, 40), (9, 10)])
def test_without_stalls(latency: int, outside: int) -> None:
    cases = Cases(latency, Sizes(pages=3))
    run(cases.program(cases.stream(0, 3, 2), cases.stream(1, 4)), often=0, latency=latency, outside=outside)


@pytest.mark.parametrize("sizes", [Sizes(4, 4, 2, 64, 3, 300), Sizes(), Sizes(32, 16, 8, 64, 20, 300)],
                         ids=lambda s: str(s.word_bytes))
@pytest.mark.parametrize("kind", ["raw", "centre", "sparse"])
def test_kinds_of_tiles(sizes: Sizes, kind: str) -> None:
    """Lengths around a piece and a page; one channel; channels that are no multiple of 8, with gaps and rings."""
    cases = Cases(len(kind), sizes)
    shapes: list[dict[str, Any]] = [
        {"columns": 1, "channels": channels, "bands": 2} for channels in (1, 5, 6, 7, 8, 13, 14, 15)]
    shapes += [{"rows": 2, "columns": 3, "channels": 19, "c_pixel": 23, "ring": ring} for ring in (False, True)]
    shapes += [{"rows": 3, "columns": 5, "channels": channels, "c_pixel": channels, "ring": ring}
               for channels, ring in ((7, False), (12, True), (16, False))]
    jobs = []
    for number, fixed in enumerate(shapes):
        fixed = {"rows": 1, "bands": 1, "across": 1, **fixed}
        jobs += cases.stream(number % sizes.streams, 1, 1, 400, kind, **fixed, columns_last=fixed["columns"])
    zero = sum(len(data) == 8 and data[:2] == b"\0\xE0" for job in jobs for data in job.data)
    counts = run(cases.program(jobs), often=0.1)
    assert counts["zero_tiles"] == zero and (kind != "centre" or zero == counts["tiles"])


@pytest.mark.parametrize("rows, columns, channels, kind", [
    (16, 16, 16, "smooth"), (1, 1, 4096, "raw"), (512, 1, 8, "centre"), (1, 512, 1, "centre")])
def test_largest_tiles(rows: int, columns: int, channels: int, kind: str) -> None:
    cases = Cases(3, Sizes())
    run(cases.program(cases.stream(0, 1, 1, 4096, kind, rows=rows, columns=columns, columns_last=columns,
                                   channels=channels, bands=1, across=1)), often=0)


@pytest.mark.parametrize("sizes, kind", [
    (Sizes(4, 0, 2, 64, 60, 0), None), (Sizes(8, 4, 4, 64, 4, 60), None), (Sizes(16, 4, 8, 64, 4, 60), "centre")],
    ids=["2", "4", "centre"])
def test_rings(sizes: Sizes, kind: str | None) -> None:
    """The ring's end is anywhere, also within eight channels of a position: the first one decides."""
    cases = Cases(6, sizes)
    jobs = [cases.stream(number % 4, 1, 1, 400, kind, rows=2, columns=3, columns_last=2, channels=channels, bands=1,
                         across=1, ring=True, c_pixel=channels + number % 2)
            for number, channels in enumerate((3, 5, 9, 11, 12, 13, 15, 18) * 2)]
    run(cases.program(sum(jobs, [])), often=0)


def test_more_tiles_than_can_be_under_way() -> None:
    cases = Cases(4, Sizes())
    shape = {"rows": 1, "columns": 3, "columns_last": 2, "channels": 9}
    run(cases.program(cases.stream(0, 1, bands=3, across=7, **shape), cases.stream(1, 20, bands=1, across=1, **shape)),
        often=0.05)


def _cycles(sizes: Sizes, count: int, kind: str, latency: int = 6, **shape: int) -> tuple[float, float]:
    """Cycles for each step of 8 values, of instructions of one tile each: of `count` of them, and of as many more."""
    fixed = {"rows": 2, "columns": 16, "channels": 16, "bands": 1, "across": 1} | shape
    row = {"c_pixel": fixed["channels"], "c_row": fixed["channels"] * fixed["columns"], "table_set": 0,
           "centre": -128}
    cycles = []
    for number in (count, 2 * count):
        cases = Cases(5, sizes)
        jobs = cases.stream(0, number, 1, 4096, kind, ring=False, calm=True, columns_last=fixed["columns"], **fixed,
                            **row)
        cycles.append(run(cases.program(jobs), often=0, latency=latency, outside=32)["cycles"])
    steps = count * fixed["rows"] * fixed["columns"] * -(-fixed["channels"] // 8)
    return cycles[0] / steps, (cycles[1] - cycles[0]) / steps


@pytest.mark.parametrize("sizes, kind, most", [
    (Sizes(pages=99), "sparse", 1.1), (Sizes(pages=99), "raw", 1.3), (Sizes(pages=1), "sparse", 1.5),
    (Sizes(pages=99), "centre", 0.55), (Sizes(16, 0, 4, 256, 99, 0), "sparse", 2.2),
], ids=["coded", "raw", "outside", "centre", "4 lanes"])
def test_cycles_a_step(sizes: Sizes, kind: str, most: float) -> None:
    """Instructions of a tile follow each other at the decoder's rate; the first ones' way through the unit comes
    once."""
    first, then = _cycles(sizes, 12, kind)  # twice as many as the decoder works on at once
    assert then < most
    assert first < most + 1


def test_events_name_the_cause() -> None:
    """Slow writes, slow reads, a slow pager and missing semaphores are told apart."""
    for slow, cycles, event in (("write", 9, "wait_output"), ("memory", 30, "wait_input"), ("pages", 90, "wait_input"),
                                ("take", 250, "wait_semaphore")):
        cases = Cases(11, Sizes(page_bytes=64))
        waits = {"wait0": 3, "wait0_count": 2} if slow == "take" else {}
        jobs = cases.stream(0, 2, kind="sparse", calm=True, rows=2, columns=5, columns_last=5, channels=16, bands=1,
                            across=1, **waits)
        counts = run(cases.program(jobs), often=0, slow={slow: cycles})
        waited = {name: counts[name] for name in ("wait_output", "wait_input", "wait_semaphore")}
        assert max(waited, key=lambda name: waited[name]) == event, (slow, waited)


ILLEGAL = [{name: 0} for name in ("rows", "bands", "columns", "columns_last", "across", "channels")]
ILLEGAL += [{"columns_last": 5}, {"b": 8}, {"outside": 4}, {"stream": 5}, {"reader": 3}]
ILLEGAL += [{"rows": 65535, "columns": 65535, "columns_last": 1},
            {"rows": 1025}, {"columns": 1, "columns_last": 1, "channels": 1, "rows": 513},
            {"columns": 1, "columns_last": 1, "channels": 9, "rows": 257}, {"channels": 65535},
            {"rows": 4096, "columns": 4096}, {"columns": 4096, "channels": 6}, {"rows": 6, "columns": 4096}]


@pytest.mark.parametrize("fields", ILLEGAL, ids=lambda fields: "-".join(f"{name}{v}" for name, v in fields.items()))
def test_illegal_operands(fields: dict[str, int]) -> None:
    """An instruction that cannot be executed is an error, and touches nothing."""
    dut = UnpackUnit(16, 8, 8, 256, 8, 5, 3)
    legal = {"rows": 1, "bands": 1, "columns": 4, "columns_last": 4, "across": 1, "channels": 1}
    illegal = Program(Sizes(), [Job(UNPACK(**(legal | fields)), [])], np.zeros(0, np.uint8), 0, 0)

    async def bench(ctx: Any) -> None:
        ports = dut.memory.request, dut.write.request, dut.requests, dut.read_request
        for port in ports:
            ctx.set(port.ready, 1)
        ctx.set(dut.instruction.payload, illegal.payloads()[0])
        ctx.set(dut.instruction.valid, 1)
        for cycle in range(60):
            await ctx.tick()
            assert not ctx.get(dut.instruction.ready)
            assert cycle < 45 or ctx.get(dut.error)
            for port in ports:
                assert not ctx.get(port.valid)

    simulate(dut, bench)


@pytest.mark.parametrize("arguments, message", [
    ((16, 8, 3, 256, 8), r"lanes must be 2, 4 or 8, and at most word_bytes \(16\), not 3"),
    ((4, 0, 8, 256, 8), r"at most word_bytes \(4\), not 8"),
    ((12, 0, 8, 256, 8), "word_bytes must be a power of two from 4 to 128, not 12"),
    ((16, 3, 8, 256, 8), "external_bytes must be 0 or a power of two from 1 to 16, not 3"),
    ((16, 32, 8, 256, 8), "external_bytes must be 0 or a power of two from 1 to 16, not 32"),
    ((128, 0, 8, 64, 8), "page_bytes must be a power of two from 128 to 4096, not 64"),
    ((16, 8, 8, 256, 8, 65), "streams must be from 1 to 64, not 65"),
    ((16, 8, 8, 256, 8, 4, 0), "readers must be from 1 to 4, not 0"),
])
def test_sizes_that_cannot_work(arguments: tuple[int, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        UnpackUnit(*arguments)
