"""The systolic array under Icarus, with each multiplier: the blocks of the pysim tests, all sides stalling."""

from collections.abc import Iterator
from typing import Any

import cocotb
from amaranth import signed
from amaranth.lib import data

from systolith.rtl.array import RowPayload, SystolicArray
from systolith.rtl.ports import accumulator_row
from tb.harness import parameters
from tb.multiply import MODELS, ice40_model
from tb.streams import Sink, Source, read, silent, stalls, start
from tests.array_blocks import array_blocks


def benches() -> Iterator[Any]:
    size = {"rows": 4, "cols": 3, "depth": 9}
    yield "array_generic", SystolicArray(4, 3, 9), size
    yield "array_ecp5", SystolicArray(4, 3, 9, "ecp5"), size, [MODELS / "MULT18X18D.v"]
    yield "array_ecp5_9", SystolicArray(4, 3, 9, "ecp5", 9), size | {"bits": 9}, [MODELS / "MULT18X18D.v"]
    model = ice40_model()
    if model is not None:
        yield "array_ice40", SystolicArray(4, 3, 9, "ice40"), size, [model]


async def run(dut: Any, seed: int, stall: bool) -> int:
    """Blocks through the array; the result is `active` after them."""
    p = {"bits": 8} | parameters()
    inputs, weights, expected = array_blocks(seed, p["rows"], p["cols"], p["depth"], bits=p["bits"])
    patterns = [stalls(seed + k) if stall else None for k in range(3)]
    source = Source(dut, "i", RowPayload(p["rows"], p["bits"]))
    loader = Source(dut, "weights", data.ArrayLayout(signed(8), p["cols"]))
    sink = Sink(dut, "o", accumulator_row(p["cols"]))
    await start(dut)
    source.feed(inputs, patterns[0])
    loader.feed(weights, patterns[1])
    await sink.check(expected, patterns[2])
    await silent(dut, "o")
    return read(dut.active)


@cocotb.test()
async def flowing(dut: Any) -> None:
    assert not await run(dut, 1, False)


@cocotb.test()
async def stalling(dut: Any) -> None:
    assert not await run(dut, 2, True)
