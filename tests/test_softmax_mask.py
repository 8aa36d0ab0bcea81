"""Which values of which row take part: instruction after instruction, chunk by chunk."""

import random
from typing import Any

import pytest

from systolith.rtl.softmax_mask import RowMask
from tests.streams import check, send, silent, simulate, stalls


def _jobs(rng: random.Random) -> list[tuple[dict[str, int], int, int]]:
    """Lengths, rows, elements."""
    jobs = []
    for _ in range(25):
        elems, rows = rng.choice((1, rng.randint(1, 9), rng.randint(1, 40))), rng.randint(1, 9)
        most = rng.randint(1, elems)
        valid = rng.choice((1, most, rng.randint(1, most)))
        jobs.append(({"valid": valid, "most": most, "room": most - valid, "group": rng.randint(1, 4),
                      "step": rng.choice((0, 1, rng.randint(0, most), most - valid, 65535))}, rows, elems))
    return jobs


@pytest.mark.parametrize("often", [0.0, 0.3])
@pytest.mark.parametrize("lanes", [1, 4, 8])
def test_masks(lanes: int, often: float) -> None:
    jobs = _jobs(random.Random(lanes))
    given, wanted = [], []
    for lengths, rows, elems in jobs:
        for row in range(rows):
            valid = min(lengths["most"], lengths["valid"] + row // lengths["group"] * lengths["step"])
            for start in range(0, elems, lanes):
                last = start + lanes >= elems
                chunk = {"values": len(given) % (1 << 8 * lanes), "keep": (1 << min(lanes, elems - start)) - 1,
                         "last": last, "final": last and row == rows - 1}
                given.append(chunk)
                wanted.append(chunk | {"keep": (1 << min(lanes, max(0, valid - start))) - 1})
    dut = RowMask(lanes)

    async def out(ctx: Any) -> None:
        await check(ctx, dut.o, wanted, stalls(3, often))
        await silent(ctx, dut.o)

    simulate(dut, lambda ctx: send(ctx, dut.lengths, [job for job, _, _ in jobs], stalls(1, often)),
             lambda ctx: send(ctx, dut.i, given, stalls(2, often)), out)


def test_a_chunk_every_cycle() -> None:
    """Also from one instruction to the next."""
    dut = RowMask(4)
    lengths = {"valid": 2, "most": 7, "room": 5, "step": 1, "group": 1}
    chunks = [{"values": 0, "keep": 15, "last": number % 2, "final": number % 6 == 5} for number in range(24)]

    async def count(ctx: Any) -> None:
        ctx.set(dut.o.ready, 1)
        valid = [(await ctx.tick().sample(dut.o.valid))[-1] for _ in range(30)]
        assert sum(valid) == 24 and sum(valid[:26]) == 24

    simulate(dut, lambda ctx: send(ctx, dut.lengths, [lengths] * 4), lambda ctx: send(ctx, dut.i, chunks), count)
