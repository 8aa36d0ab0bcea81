"""Pieces of a stream to tiles, against the bytes that were coded."""

from typing import Any

import numpy as np
import pytest

from systolith.rtl.unpack_cut import UnpackCut
from tests.codec_reference import Cases, Coded, coded
from tests.streams import check, send, silent, simulate, stalls
from tests.unpack_cases import padded

TILE = ("rows", "columns", "channels", "size", "table_set", "centre", "entry")


def cut(tiles: list[Coded], slots: int, seed: int | None) -> None:
    """Cuts the tiles' bytes and compares everything that comes out; `seed`: None: without stalls."""
    dut = UnpackCut(slots, 4)
    data = b"".join(map(padded, tiles))
    pieces = [int.from_bytes(data[at:at + 8], "little") for at in range(0, len(data), 8)]
    jobs = [{**tile.tile(), "centre": tile.centre ^ 0x80, "last": number % 3 == 0} for number, tile in enumerate(tiles)]
    for job in jobs:
        del job["entry"]
    whole = [(n, tile) for n, tile in enumerate(tiles) if tile.coded != b"\0\xE0"]
    zero = [(n, tile) for n, tile in enumerate(tiles) if tile.coded == b"\0\xE0"]
    source = {n: k % slots for k, (n, _) in enumerate(whole)}
    begun = [{"source": source.get(n, slots), "last": int(n % 3 == 0)} for n in range(len(tiles))]
    counts: list[int] = []

    def stall(number: int) -> Any:
        return None if seed is None else stalls(seed + number, 0.2)

    async def parsed(ctx: Any) -> None:
        while True:
            _, _, p, past = await ctx.tick().sample(dut.parsed, dut.past)
            if p.valid:
                assert past == (len(counts) not in source)
                counts.append(p.more)

    def words(slot: int) -> Any:
        wanted = [word for n, tile in whole if source[n] == slot for word in tile.words()]
        noise = [8 * (-len(tile.payload) % 8) for n, tile in whole if source[n] == slot for _ in tile.words()]
        last = [k == len(tile.words()) - 1 for n, tile in whole if source[n] == slot for k in range(len(tile.words()))]

        async def run(ctx: Any) -> None:
            mine = stall(20 + slot)
            for word, behind, end in zip(wanted, noise, last, strict=True):
                mask = (1 << 64 - behind * end) - 1
                for _ in range(next(mine) if mine else 0):
                    await ctx.tick()
                ctx.set(dut.words[slot].ready, 1)
                while True:
                    _, _, valid, got = await ctx.tick().sample(dut.words[slot].valid, dut.words[slot].payload)
                    if valid:
                        break
                ctx.set(dut.words[slot].ready, 0)
                assert got & mask == word & mask
            await silent(ctx, dut.words[slot])
        return run

    simulate(
        dut, *(words(slot) for slot in range(slots)),
        lambda ctx: send(ctx, dut.tiles, jobs, stall(1)), lambda ctx: send(ctx, dut.pieces, pieces, stall(2)),
        lambda ctx: check(ctx, dut.tile, [tile.tile() for _, tile in whole], stall(3)),
        lambda ctx: check(ctx, dut.begun, begun, stall(4)),
        lambda ctx: check(ctx, dut.zero, [{"index": n % 16, "rows": tile.shape[0], "centre": tile.centre ^ 0x80}
                                          for n, tile in zero], stall(5)),
        *(lambda ctx, slot=slot: check(ctx, dut.indices[slot], [n % 16 for n, _ in whole if source[n] == slot],
                                       stall(6 + slot)) for slot in range(slots)),
        background=[parsed])
    assert counts == [len(padded(tile)) // 8 - 1 for tile in tiles]


@pytest.mark.parametrize("slots", [1, 2, 3])
@pytest.mark.parametrize("seed", [None, 1, 2])
def test_tiles(slots: int, seed: int | None) -> None:
    """Payloads of every length modulo a piece, tiles of centres between them, queues that are full."""
    cases = Cases(slots)
    tiles = [tile for tile in (cases.tile() for _ in range(40)) if tile.size < 300][:16]
    assert len({len(tile.coded) % 8 for tile in tiles}) > 3
    for at in (0, 5, 6, 11):
        tiles[at] = coded(np.full((2, at + 1, 4), at), at)
    cut(tiles, slots, seed)
