"""The feeder's Verilog against numpy, all sides stalling."""

import random
from collections.abc import Iterator
from typing import Any

import cocotb
import numpy as np

from systolith.rtl.array import RowPayload
from systolith.rtl.feeder import Feeder, feed_layout
from systolith.rtl.isa import ARRAY
from tb.harness import parameters
from tb.streams import Sink, Source, read, sample, serve_read, silent, stalls, start
from tests.array_instructions import REGION, fed_rows, feed_payload, random_fields, random_ring


def benches() -> Iterator[tuple[str, Any, dict[str, Any]]]:
    """Components to test."""
    for rows, word_bytes, bits in ((4, 4, 8), (5, 8, 9)):
        yield f"feeder_{rows}", Feeder(rows, word_bytes, 32, bits), dict(rows=rows, bits=bits)


@cocotb.test()
async def rows_in_order(dut: Any) -> None:
    """Random instructions: data, padding, flags, and what is centred."""
    rows, bits = parameters()["rows"], parameters()["bits"]
    rng = random.Random(rows)
    memory = rng.randbytes(4 * REGION)
    instructions = [ARRAY(a=(a := REGION + 128 + rng.randint(0, 20)),
                          **random_fields(rng, rows, 32, products=bits == 9), **random_ring(rng, a, 128))
                    for _ in range(5)]
    source, sink = Source(dut, "i", feed_layout()), Sink(dut, "o", RowPayload(rows, bits))
    serve_read(dut, "memory", bytearray(memory), 5, stalls(2))
    await start(dut)
    source.feed([feed_payload(i) for i in instructions], stalls(1))
    image = np.frombuffer(memory, np.uint8)
    await sink.check([row for i in instructions for row in fed_rows(i, image, rows)], stalls(3))
    await silent(dut, "o")
    assert await sample(dut, dut.busy, dut.error) == [0, 0]
    assert read(dut.done) == 0
