"""Tiles and addresses of PACK instructions, against the instruction set's formula."""

from typing import Any

import numpy as np
import pytest

from systolith.rtl.isa import PACK, Instruction
from systolith.rtl.pack_walk import PackWalk
from tests.pack_cases import Cases, Sizes, step_addresses
from tests.streams import check, send, simulate, stalls

Payloads = list[dict[str, Any]]


def plan(i: Instruction) -> dict[str, Any]:
    """What `PackSetup` says of an instruction."""
    pixel = i.rows * i.channels
    return {"instruction": i.values, "values": pixel * i.columns, "values_last": pixel * i.columns_last}


def expected(instructions: list[Instruction]) -> tuple[Payloads, Payloads, Payloads]:
    """Steps, tiles for the encoder, and the order of all tiles."""
    steps: Payloads = []
    tiles: Payloads = []
    order: Payloads = []
    for i in instructions:
        found = step_addresses(i)
        for number, addresses in enumerate(found):
            h, w, c = addresses.shape
            firsts = addresses[:, :, ::8].ravel().tolist()
            counts = np.resize([8] * (c // 8) + [c % 8] * (c % 8 > 0), len(firsts)).tolist()
            steps += [{"address": first, "count": count, "last": int(k == len(firsts) - 1), "raw": i.raw}
                      for k, (first, count) in enumerate(zip(firsts, counts, strict=True))]
            if not i.raw:
                tiles.append({"h": h, "w": w, "c": c, "table_set": i.table_set, "centre": i.centre & 0xFF ^ 0x80})
            order.append({"raw": i.raw, "values": h * w * c, "final": int(number == len(found) - 1)})
    return steps, tiles, order


def run(instructions: list[Instruction], seed: int, often: float) -> int:
    """Compares everything; returns the cycles from the first step to the last."""
    dut = PackWalk()
    steps, tiles, order = expected(instructions)
    cycles = [0, 0]

    async def count(ctx: Any) -> None:
        while True:
            _, _, on = await ctx.tick().sample(dut.o.valid & dut.o.ready)
            cycles[1] += bool(on or cycles[0])
            cycles[0] += on
            if cycles[0] == len(steps):
                return

    simulate(dut, count, lambda ctx: send(ctx, dut.i, map(plan, instructions), stalls(seed, often)),
             lambda ctx: check(ctx, dut.o, steps, stalls(seed + 1, often)),
             lambda ctx: check(ctx, dut.tile, tiles, stalls(seed + 2, often)),
             lambda ctx: check(ctx, dut.order, order, stalls(seed + 3, often)))
    return cycles[1]


@pytest.mark.parametrize("often", [0, 0.3])
@pytest.mark.parametrize("seed", range(3))
def test_random(seed: int, often: float) -> None:
    cases = Cases(seed, Sizes())
    run([cases.instruction(**cases.shape(), limit=number) for number in range(12)], seed, often)


def test_high_addresses() -> None:
    """Sums wrap at the end of the address space, before the ring and behind it."""
    sides = {"rows": 3, "bands": 2, "columns": 4, "across": 2, "columns_last": 3, "channels": 9}
    far = {"a": 0xFFFFF0, "a_pixel": 0xABCDEF, "a_row": 0x654321}
    run([PACK(**sides, **far, a_ring=ring, a_end=end) for ring, end in (
        (0, 0), (0x1000, 0x20), (0xFFFFF0, 0x800000), (0, 0x800000), (1, 0))], 9, 0.1)


def test_cycles() -> None:
    """A step a cycle, and two or three cycles a tile."""
    cases = Cases(4, Sizes())
    sides = {"rows": 2, "columns": 5, "channels": 16, "raw": 1}
    assert run([cases.instruction(**sides, bands=2, across=3)] * 4, 4, 0) <= 24 * (20 + 2) + 4
    assert run([cases.instruction(**sides)] * 6, 4, 0) <= 6 * (20 + 2)
