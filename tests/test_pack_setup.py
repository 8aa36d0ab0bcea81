"""Which PACK instructions are legal, and how many values their tiles have."""

import random
from typing import Any

import pytest

from systolith.rtl.isa import PACK, TILE_STEPS
from systolith.rtl.pack_setup import PackSetup
from tests.streams import receive, send, simulate, stalls

LEGAL = {"rows": 3, "bands": 2, "columns": 5, "columns_last": 4, "across": 6, "channels": 20, "readers": 1, "open": 1,
         "b": 64, "outside": 64, "stream": 5}


async def _check(ctx: Any, dut: PackSetup, fields: dict[str, int], legal: bool) -> None:
    ctx.set(dut.i.payload, PACK(**fields).values)
    ctx.set(dut.i.valid, 1)
    for _ in range(100):
        await ctx.tick()
        if ctx.get(dut.o.valid) or ctx.get(dut.error):
            break
    else:
        raise AssertionError(f"no answer to {fields}")
    assert ctx.get(dut.o.valid) == legal, fields
    for _ in range(5):
        await ctx.tick()
        assert ctx.get(dut.error) == (not legal) and ctx.get(dut.o.valid) == legal
        assert not ctx.get(dut.i.ready)


@pytest.mark.parametrize("changes", [
    {}, {"rows": 512, "columns": 1, "columns_last": 1, "channels": 8}, {"open": 0, "readers": 0},
    {"rows": 1, "columns": 512, "columns_last": 512, "channels": 1}, {"rows": 8, "columns": 16, "channels": 32},
    {"rows": 1, "columns": 1, "columns_last": 1, "channels": 4096}, {"columns_last": 5}, {"bands": 65535},
    {"across": 65535}, {"stream": 0}, {"rows": 2, "columns": 256, "channels": 5},
], ids=str)
def test_legal(changes: dict[str, int]) -> None:
    dut = PackSetup(16, 8, 6)
    simulate(dut, lambda ctx: _check(ctx, dut, LEGAL | changes, True))


@pytest.mark.parametrize("changes", [
    {"rows": 0}, {"bands": 0}, {"columns": 0, "columns_last": 0}, {"columns_last": 0}, {"across": 0}, {"channels": 0},
    {"columns_last": 6}, {"columns": 3, "columns_last": 4, "across": 1}, {"readers": 0}, {"stream": 6}, {"stream": 63},
    {"b": 72}, {"outside": 68},
    {"rows": 513, "columns": 1, "columns_last": 1, "channels": 8}, {"rows": 8, "columns": 16, "channels": 33},
    {"rows": 1, "columns": 513, "channels": 1}, {"rows": 27, "columns": 19, "channels": 1},
    {"rows": 1, "columns": 1, "columns_last": 1, "channels": 4097},
    {"rows": 512, "columns": 512, "channels": 8}, {"rows": 512, "columns": 512, "channels": 4096},
    {"rows": 32768, "columns": 2, "columns_last": 2, "channels": 1}, {"rows": 128, "columns": 512, "channels": 1},
    {"rows": 1, "columns": 512, "channels": 4096}, {"rows": 33, "columns": 511, "channels": 1},
    {"rows": 65535, "columns": 65535, "channels": 65535},
    {"rows": 1, "columns": 65535, "columns_last": 65535, "channels": 1}, {"rows": 1, "columns": 5, "channels": 65535},
], ids=str)
def test_illegal(changes: dict[str, int]) -> None:
    dut = PackSetup(16, 8, 6)
    simulate(dut, lambda ctx: _check(ctx, dut, LEGAL | changes, False))


def test_values() -> None:
    """Products of random legal sides, one instruction after the other."""
    rng = random.Random(1)
    dut = PackSetup(4, 0, 64)
    given: list[dict[str, int]] = []
    while len(given) < 60:
        rows, columns = rng.choice((1, 2, rng.randint(1, 512))), rng.choice((1, rng.randint(1, 512)))
        channels = rng.choice((1, 8, 9, rng.randint(1, 4096)))
        if rows * columns * -(-channels // 8) <= TILE_STEPS:
            given.append(LEGAL | {"rows": rows, "columns": columns, "channels": channels, "b": 4 * rng.randrange(99),
                                  "columns_last": rng.randint(1, columns), "outside": rng.randrange(1 << 32)})

    async def compare(ctx: Any) -> None:
        for fields, plan in zip(given, await receive(ctx, dut.o, len(given), stalls(2)), strict=True):
            pixels = fields["rows"] * fields["channels"]
            assert plan["values"] == pixels * fields["columns"]
            assert plan["values_last"] == pixels * fields["columns_last"]
            assert {name: plan["instruction"][name] for name in fields} == fields

    simulate(dut, compare, lambda ctx: send(ctx, dut.i, [PACK(**fields).values for fields in given], stalls(3)))
