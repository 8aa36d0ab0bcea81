"""One lane: exact over magnitudes, extremes, rounding modes and window reductions."""

import pytest
from amaranth.lib import data

from systolith.rtl.isa import DOUBLE, EVEN, SINGLE
from systolith.rtl.vector_lane import BIASED, CLAMPED, MULTIPLIED, ROUNDED, SUM_READY, VectorLane
from tests.streams import simulate
from tests.vector_cases import lane_vectors


@pytest.mark.parametrize("rounding", [SINGLE, DOUBLE, EVEN])
def test_lane(rounding: int) -> None:
    inputs, expected = lane_vectors(rounding, 1500)
    late = {"keep": BIASED, "by_kept": BIASED, "reduce": MULTIPLIED, "zero_point": ROUNDED, "low": ROUNDED,
            "high": ROUNDED}
    dut = VectorLane()

    async def run(ctx: object) -> None:
        ctx.set(dut.double, rounding == DOUBLE)
        ctx.set(dut.even, rounding == EVEN)
        for cycle in range(len(expected) + CLAMPED):
            for name, values in inputs.items():
                number = cycle - late.get(name, 0)
                if 0 <= number < len(values):
                    port = getattr(dut, name)
                    value = values[number]
                    ctx.set(port, port.shape().from_bits(value) if isinstance(port, data.View) else value)
            if cycle >= CLAMPED:
                number = cycle - CLAMPED
                assert ctx.get(dut.o) == expected[number], f"element {number}"
            await ctx.tick()

    assert SUM_READY == MULTIPLIED + 1
    simulate(dut, run)
