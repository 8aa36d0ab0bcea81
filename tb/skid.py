"""The stream register under Icarus: the vectors of its pysim test."""

from collections.abc import Iterator
from typing import Any

import cocotb

from systolith.rtl.skid import Skid
from tb.streams import Sink, Source, silent, stalls, start
from tests.test_skid import values


def benches() -> Iterator[Any]:
    yield "skid", Skid(16), {}


@cocotb.test()
async def order(dut: Any) -> None:
    """Random payloads, both sides stalling."""
    source, sink = Source(dut, "i"), Sink(dut, "o")
    await start(dut)
    source.feed(values(4), stalls(5))
    await sink.check(values(4), stalls(6))
    await silent(dut, "o")
