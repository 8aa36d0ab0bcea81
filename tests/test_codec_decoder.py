"""The codec's decoder against the model: values, damage, and cycles."""

from typing import Any

import numpy as np
import pytest

from systolith.rtl.codec.decoder import Decoder
from tests.codec_reference import SHAPES, Cases, Coded, check_beats, coded
from tests.streams import receive, send, silent, simulate, stalls

SIZES = ((8, 2), (8, 3), (8, 6), (4, 1), (4, 2), (2, 1))


def decode(dut: Decoder, tiles: list[Coded], seed: int | None = None) -> tuple[list[dict[str, int]], int]:
    """What a decoder makes of tiles, and the cycles from the first beat to the last."""
    slots, lanes = dut.sizes.slots, dut.sizes.lanes
    got: list[Any] = []
    cycles = [0, 0]

    def stall(number: int) -> Any:
        return None if seed is None else stalls(10 * seed + number, 0.3 if (seed + number) % 2 else 0.02)

    async def take(ctx: Any) -> None:
        got.extend(await receive(ctx, dut.o, sum(len(tile.counts(lanes)) + 1 for tile in tiles), stall(8)))
        cycles[1] = cycles[0]
        await silent(ctx, dut.o, 100)

    async def count(ctx: Any) -> None:
        while True:
            await ctx.tick()
            cycles[0] += bool(got) or bool(ctx.get(dut.o.valid)) or cycles[0] > 0

    def feed(slot: int) -> Any:
        words = [word for tile in tiles[slot::slots] for word in tile.words()]
        return lambda ctx: send(ctx, dut.words[slot], words, stall(slot))

    simulate(dut, take, lambda ctx: send(ctx, dut.tile, [tile.tile() for tile in tiles], stall(9)),
             *(feed(slot) for slot in range(slots)), background=[count])
    return got, cycles[1]


@pytest.mark.parametrize("lanes, slots", SIZES)
def test_tiles(lanes: int, slots: int) -> None:
    """Every shape and kind of values, without and with stalls."""
    cases = Cases(lanes + slots)
    tiles = [cases.tile(shape) for shape in SHAPES for _ in range(3)]
    got, _ = decode(Decoder(lanes, slots), tiles)
    assert check_beats(lanes, slots, tiles, got) == 0
    few = [cases.tile() for _ in range(20)]
    got, _ = decode(Decoder(lanes, slots), few, seed=lanes)
    assert check_beats(lanes, slots, few, got) == 0


@pytest.mark.parametrize("lanes, slots", [(8, 2), (4, 1), (2, 1)])
def test_damage(lanes: int, slots: int) -> None:
    """The model and the decoder find the same tiles damaged; those after them are whole."""
    cases = Cases(lanes - slots)
    tiles = []
    for number in range(25):
        tile = cases.tile(kind="sparse" if number % 2 else None)
        tiles += [(cases.flipped, cases.cut)[number % 3 == 0](tile), cases.tile((2, 3, 9))]
    got, _ = decode(Decoder(lanes, slots), tiles, seed=1 if lanes == 4 else None)
    damaged = check_beats(lanes, slots, tiles, got)
    assert 7 < damaged < 24


def cycles_a_step(lanes: int, slots: int, tiles: list[Coded]) -> float:
    """Cycles for each step of 8 values, from the first value to the last, of tiles that are fed without waiting."""
    got, cycles = decode(Decoder(lanes, slots), tiles)
    assert check_beats(lanes, slots, tiles, got) == 0
    return cycles / sum(tile.steps for tile in tiles)


@pytest.mark.parametrize("lanes, slots, shape, most", [
    (8, 2, (12, 14, 24), 1.03), (8, 2, (8, 16, 32), 1.03), (8, 3, (16, 16, 16), 1.03), (4, 1, (4, 16, 32), 2.1),
    (2, 1, (4, 16, 16), 4.2), (8, 2, (1, 64, 64), 1.03), (8, 6, (16, 32, 8), 1.03), (8, 6, (1, 64, 16), 1.09)])
def test_cycles(lanes: int, slots: int, shape: tuple[int, int, int], most: float) -> None:
    """A step a cycle, with 8 lanes, and less than 3 % for what lies between tiles."""
    cases, table_set = Cases(5), int(shape[0] == 1)
    assert cycles_a_step(lanes, slots, [cases.tile(shape, "sparse", 0, table_set) for _ in range(2 * slots)]) < most


def test_cycles_of_tiles_that_are_not_coded() -> None:
    cases = Cases(6)
    tiles = [cases.tile((8, 16, 32), kind, 7) for kind in ("noise", "noise", "saturated", "saturated")]
    nothing = coded(np.full((8, 16, 32), 7), 7)
    assert tiles[0].coded[1] >> 4 == 15 and len(nothing.coded) == 2
    assert cycles_a_step(8, 2, tiles) < 1.03
    assert cycles_a_step(8, 2, [nothing] * 4) < 1.03


@pytest.mark.parametrize("name, value", [("lanes", 3), ("lanes", 16), ("slots", 7), ("slots", 0), ("row_steps", 300)])
def test_sizes(name: str, value: int) -> None:
    with pytest.raises(ValueError, match=f"{name} must .*{value}"):
        Decoder(**{"lanes": 8, "slots": 2, name: value})
