"""Products: every pair of bytes; what the DSP back ends instantiate."""

import re
from typing import Any

import numpy as np
import pytest

from systolith.gen.verilog import emit
from systolith.rtl.multiply import Products
from tests.streams import simulate


@pytest.mark.parametrize("bits", [8, 9])
def test_all_pairs(bits: int) -> None:
    dut = Products(16, a_bits=bits)
    first = np.arange(-128, 128) if bits == 8 else np.arange(-255, 257) % 511 - 255  # one comes twice
    a, b = (grid.reshape(-1, 16) for grid in np.meshgrid(first, np.arange(-128, 128)))
    expected = (a * b).tolist()

    async def bench(ctx: Any) -> None:
        for cycle in range(len(a) + dut.latency):
            if cycle < len(a):
                ctx.set(dut.a, a[cycle].tolist())
                ctx.set(dut.b, b[cycle].tolist())
            if cycle >= dut.latency:
                products = ctx.get(dut.p)
                assert [products[k] for k in range(16)] == expected[cycle - dut.latency]
            await ctx.tick()

    simulate(dut, bench)


@pytest.mark.parametrize("backend, primitive, count, instances", [
    ("ecp5", "MULT18X18D", 3, 3), ("ice40", "SB_MAC16", 4, 2), ("ice40", "SB_MAC16", 5, 3),
    ("generic", "MULT18X18D|SB_MAC16", 3, 0)])
def test_primitives(backend: str, primitive: str, count: int, instances: int) -> None:
    text = emit(Products(count, backend), "products")
    assert len(re.findall(rf"^ +({primitive}) ", text, re.MULTILINE)) == instances


@pytest.mark.parametrize("arguments, message", [
    ((0,), "count must be at least 1, not 0"),
    ((1, "asic"), "backend must be one of generic, ecp5, ice40, not 'asic'"),
    ((1, "ice40", 9), "a_bits must be 8, or 9 with another backend than ice40, not 9 with ice40"),
    ((1, "ecp5", 10), "a_bits must be 8, or 9 with another backend than ice40, not 10 with ecp5")])
def test_refuses(arguments: Any, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        Products(*arguments)
