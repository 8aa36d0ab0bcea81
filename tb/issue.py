"""Waits, signals and the merge of streams under Icarus: the vectors of their pysim tests."""

from collections.abc import Iterator
from typing import Any

import cocotb

from systolith.rtl.isa import SYNC
from systolith.rtl.issue import Issue, Merge, Signaller, Signals
from systolith.rtl.ports import Give, Take
from tb.harness import parameters
from tb.streams import Sink, Source, silent, stalls, start
from tests.test_issue import SIGNALS, instructions, wanted


def benches() -> Iterator[Any]:
    yield "issue", Issue(SYNC.layout()), {"part": "issue"}
    yield "signaller", Signaller(), {"part": "signaller"}
    yield "merge", Merge(16, 3), {"part": "merge"}


@cocotb.test()
async def order(dut: Any) -> None:
    """Everything that goes in comes out, in order, all sides stalling."""
    await {"issue": _issue, "signaller": _signaller, "merge": _merge}[parameters()["part"]](dut)


async def _issue(dut: Any) -> None:
    values = instructions(80, 3)
    source, sink, takes = Source(dut, "i", SYNC.layout()), Sink(dut, "o", SYNC.layout()), Sink(dut, "take", Take)
    await start(dut)
    source.feed(values, stalls(1))
    task = cocotb.start_soon(takes.check(wanted(values, "wait"), stalls(2)))
    await sink.check(values, stalls(3, often=0.6))
    await task
    await silent(dut, "take")


async def _signaller(dut: Any) -> None:
    values = [{name: v[name] for name in SIGNALS} for v in instructions(80, 4)]
    source, sink = Source(dut, "i", Signals), Sink(dut, "o", Give)
    await start(dut)
    source.feed(values, stalls(1))
    await sink.check(wanted(values, "signal"), stalls(2, often=0.5))
    await silent(dut, "o")


async def _merge(dut: Any) -> None:
    values = [[index << 8 | n for n in range(40)] for index in range(3)]
    sources, sink = [Source(dut, f"i__{index}") for index in range(3)], Sink(dut, "o")
    await start(dut)
    for index in range(3):
        sources[index].feed(values[index], stalls(index))
    got = await sink.take(120, stalls(9, often=0.5))
    for index in range(3):
        assert [v for v in got if v >> 8 == index] == values[index]
    await silent(dut, "o")
