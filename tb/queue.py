"""The instruction queue under Icarus: the vectors of its pysim test."""

from collections.abc import Iterator
from typing import Any

import cocotb

from systolith.rtl import isa
from systolith.rtl.queue import InstructionQueue
from tb.harness import parameters
from tb.streams import Sink, Source, silent, stalls, start
from tests.test_queue import programs


def benches() -> Iterator[Any]:
    yield "queue_vector", InstructionQueue(isa.VECTOR, 32), {"opcode": isa.VECTOR.opcode, "seed": 1}
    yield "queue_sync", InstructionQueue(isa.SYNC, 2), {"opcode": isa.SYNC.opcode, "seed": 2}


@cocotb.test()
async def order_and_fields(dut: Any) -> None:
    """Random instructions, both sides stalling."""
    kind, seed = isa.BY_OPCODE[parameters()["opcode"]], parameters()["seed"]
    words, instructions = programs(kind, 20, seed)
    source, sink = Source(dut, "i"), Sink(dut, "o", kind.layout())
    await start(dut)
    source.feed(words, stalls(seed))
    await sink.check(instructions, stalls(seed + 10, often=0.7))
    await silent(dut, "o")
    assert not int(dut.busy.value)
