"""One lane of the vector unit under Icarus: the vectors of `tests/test_vector_lane.py`."""

from collections.abc import Iterator
from typing import Any

import cocotb
from cocotb.triggers import FallingEdge

from systolith.rtl.isa import DOUBLE, EVEN, SINGLE
from systolith.rtl.vector_lane import BIASED, CLAMPED, MULTIPLIED, ROUNDED, VectorLane
from tb.harness import parameters
from tb.streams import start
from tests.vector_cases import lane_vectors


def benches() -> Iterator[tuple[str, VectorLane, dict[str, int]]]:
    for name, rounding in (("single", SINGLE), ("double", DOUBLE), ("even", EVEN)):
        yield f"vector_lane_{name}", VectorLane(), {"rounding": rounding}


@cocotb.test()
async def elements(dut: Any) -> None:
    """An element every cycle."""
    rounding = parameters()["rounding"]
    inputs, expected = lane_vectors(rounding, 800)
    late = {"keep": BIASED, "by_kept": BIASED, "reduce": MULTIPLIED, "zero_point": ROUNDED, "low": ROUNDED,
            "high": ROUNDED}
    for name in inputs:
        getattr(dut, name).value = 0
    dut.double.value, dut.even.value = int(rounding == DOUBLE), int(rounding == EVEN)
    await start(dut)
    for cycle in range(len(expected) + CLAMPED):
        await FallingEdge(dut.clk)
        for name, values in inputs.items():
            if 0 <= cycle - late.get(name, 0) < len(values):
                port = getattr(dut, name)
                port.value = values[cycle - late.get(name, 0)] & ((1 << len(port)) - 1)
        if cycle >= CLAMPED:
            assert dut.o.value.to_signed() == expected[cycle - CLAMPED], f"element {cycle - CLAMPED}"
