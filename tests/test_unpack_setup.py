"""Legal and illegal UNPACK instructions, and their products."""

import random
from typing import Any

import pytest

from systolith.rtl.isa import TILE_STEPS, TILE_VALUES, UNPACK, Instruction
from systolith.rtl.unpack_setup import UnpackSetup
from tests.streams import plain, receive, send, simulate, stalls


def payload(i: Instruction) -> Any:
    return UNPACK.layout().from_bits(sum(word << 32 * k for k, word in enumerate(i.encode())))


def fields(rng: random.Random) -> dict[str, int]:
    """A random instruction, legal or not, most of them near the limits."""
    def number() -> int:
        return rng.choice((1, rng.randint(1, 9), rng.randint(1, 70), rng.randint(1, 700), rng.randint(1, 4097),
                           1 << rng.randint(0, 12), rng.randint(1, 65535)))
    columns = number()
    return {"rows": number(), "columns": columns, "columns_last": rng.randint(1, columns), "channels": number(),
            "bands": rng.randint(1, 65535), "across": rng.randint(1, 65535), "c_row": rng.randrange(1 << 24),
            "c_pixel": rng.randrange(1 << 24), "tag": rng.randrange(1 << 16)}


def fits(f: dict[str, int]) -> bool:
    positions = f["rows"] * f["columns"]
    return positions * f["channels"] <= TILE_VALUES and positions * -(-f["channels"] // 8) <= TILE_STEPS


def test_products() -> None:
    rng = random.Random(1)
    legal = [f for f in (fields(rng) for _ in range(1000)) if fits(f)]
    assert len(legal) > 50
    dut = UnpackSetup(4)

    async def check(ctx: Any) -> None:
        for f, got in zip(legal, await receive(ctx, dut.o, len(legal), stalls(1)), strict=True):
            row, row_last = f["columns"] * f["channels"], f["columns_last"] * f["channels"]
            assert got.pop("instruction")["tag"] == f["tag"]
            assert got == {"row": row, "row_last": row_last, "size": f["rows"] * row, "size_last": f["rows"] * row_last,
                           "tile_pitch": f["columns"] * f["c_pixel"] % (1 << 24),
                           "band_pitch": f["rows"] * f["c_row"] % (1 << 24)}, f
        assert not ctx.get(dut.error)

    simulate(dut, check, lambda ctx: send(ctx, dut.i, [payload(UNPACK(**f)) for f in legal], stalls(2)))


@pytest.mark.parametrize("seed", range(4))
def test_what_is_too_large(seed: int) -> None:
    """Whatever the size of the products."""
    rng = random.Random(seed)
    illegal = [f for f in (fields(rng) for _ in range(60)) if not fits(f)]
    powers = [{**fields(rng), **dict(zip(("rows", "columns", "channels"), (1 << k for k in rng.sample(range(13), 3)),
                                         strict=True)), "columns_last": 1} for _ in range(20)]
    sums = [{**f, "channels": rng.choice((3, 5, 6, 7, 12)) * f["channels"]} for f in powers]
    for f in sorted(illegal, key=lambda f: f["rows"] * f["columns"] * f["channels"])[:8] + illegal[:4] + [
            f for f in powers + sums if not fits(f)]:
        dut = UnpackSetup(4)

        async def bench(ctx: Any, dut: UnpackSetup = dut, f: dict[str, int] = f) -> None:
            ctx.set(dut.i.payload, payload(UNPACK(**f)))
            ctx.set(dut.i.valid, 1)
            for _ in range(40):
                await ctx.tick()
                assert not ctx.get(dut.o.valid) and not ctx.get(dut.i.ready), f
            assert ctx.get(dut.error) and ctx.get(dut.busy)

        simulate(dut, bench)


def test_time() -> None:
    """3 cycles and one for each bit of the larger of columns and channels, and of rows."""
    dut = UnpackSetup(4)

    async def bench(ctx: Any) -> None:
        for rows, columns, channels, cycles in ((1, 1, 1, 5), (2, 32, 16, 11), (1, 1, 4096, 17)):
            f = {"rows": rows, "columns": columns, "columns_last": columns, "channels": channels, "bands": 1,
                 "across": 1}
            ctx.set(dut.i.payload, payload(UNPACK(**f)))
            ctx.set(dut.i.valid, 1)
            count = 0
            while not ctx.get(dut.o.valid):
                await ctx.tick()
                count += 1
            assert count == cycles, (f, count)
            assert plain(ctx.get(dut.o.payload))["size"] == rows * columns * channels
            ctx.set(dut.o.ready, 1)
            await ctx.tick()
            ctx.set(dut.o.ready, 0)

    simulate(dut, bench)
