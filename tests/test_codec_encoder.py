"""The encoder against the model: index entries and payloads, whatever stalls."""

from typing import Any

import numpy as np
import pytest

from systolith.rtl.codec.encoder import Encoder
from systolith.rtl.codec.encoder_tile import STEPS
from systolith.rtl.codec.tables import TABLE_SETS, TAG_CHANNELS
from systolith.sim.codec import encode_tile
from tests.codec_tiles import Tile, rectified, smooth, tiles
from tests.streams import check, send, silent, simulate, stalls

LANES = (8, 4, 2)
Tiles = list[tuple[Tile, int] | tuple[Tile, int, int]]
"""Values, centre, and set of tables where it is not one for the shape."""


def steps(tile: Tile) -> int:
    """Steps of 8 channels."""
    return tile.shape[0] * tile.shape[1] * -(-tile.shape[2] // 8)


def table_set(tile: Tile, *given: int) -> int:
    """What a case says after the centre."""
    return given[1] if given[1:] else int(tile.shape[0] == 1)


def sizes(given: Tiles) -> list[dict[str, int]]:
    """What goes to the encoder's stream `tile`."""
    return [{"h": case[0].shape[0], "w": case[0].shape[1], "c": case[0].shape[2], "table_set": table_set(*case),
             "centre": case[1]} for case in given]


def words(given: Tiles, seed: int = 0) -> list[int]:
    """What goes to its stream `values`: a word a step, noise where there is no channel."""
    found = []
    for tile, *_ in given:
        padded = np.random.default_rng(seed).integers(0, 256, (*tile.shape[:2], -(-tile.shape[2] // 8) * 8), np.uint8)
        padded[:, :, :tile.shape[2]] = tile
        found += [int.from_bytes(word.tobytes(), "little") for word in padded.reshape(-1, 8)]
    return found


def expected(given: Tiles) -> tuple[list[dict[str, int]], list[dict[str, int]]]:
    """Entries and words of payload from the model."""
    entries, payload = [], []
    for case in given:
        coded = encode_tile(case[0], case[1], table_set(*case))
        entry = int.from_bytes(coded[:2], "little")
        entries.append({"units": entry & 0xFFF, "tag": entry >> 12})
        pieces = [coded[k:k + 8] for k in range(2, len(coded), 8)]
        payload += [{"data": int.from_bytes(piece, "little"), "last": int(piece is pieces[-1])} for piece in pieces]
    return entries, payload


def run(lanes: int, given: Tiles, often: dict[str, float] | None = None, seed: int = 0) -> list[int]:
    """Encodes tiles and compares; the cycle of the first word, then that in which each tile was out.

    `often`: how often each of the four streams stalls.
    """
    dut = Encoder(lanes)
    entries, payload = expected(given)
    stall = {name: stalls(seed + k, (often or {}).get(name, 0)) for k, name in enumerate(
        ("tile", "values", "entry", "payload"))}
    marks: list[int] = []

    async def watch(ctx: Any) -> None:
        cycle = 0
        while True:
            _, _, stored, sent, error = await ctx.tick().sample(dut.stored, dut.sent, dut.error)
            assert not error
            if sent or (stored and not marks):
                marks.append(cycle)
            cycle += 1

    async def output(ctx: Any) -> None:
        await check(ctx, dut.payload, payload, stall["payload"])
        await silent(ctx, dut.payload, 100)

    simulate(dut, output, lambda ctx: send(ctx, dut.tile, sizes(given), stall["tile"]),
             lambda ctx: send(ctx, dut.values, words(given, seed), stall["values"]),
             lambda ctx: check(ctx, dut.entry, entries, stall["entry"]), background=[watch])
    return marks


@pytest.mark.parametrize("lanes", LANES)
def test_kinds_of_tiles(lanes: int) -> None:
    """Every kind of values, with every stream stalling."""
    small = [tile for tile in tiles(lanes + 10).values() if steps(tile[0]) < 16 * lanes]
    run(lanes, small, {"tile": 0.3, "values": 0.1, "entry": 0.3, "payload": 0.2}, seed=lanes)


@pytest.mark.parametrize("lanes", LANES)
def test_sets_of_tables(lanes: int) -> None:
    """All of them with rows, columns and single pixels; averages go on over the rows."""
    numbers = np.random.default_rng(lanes)
    given: Tiles = []
    for shape in ((4, 5, 9), (5, 1, 8), (1, 9, 12), (1, 1, 3), (2, 2, 8), (3, 12, 2)):
        for number in range(TABLE_SETS):
            tile = numbers.normal(90, 12, shape) + 30 * numbers.normal(0, 1, shape[2])
            tile[numbers.random(shape) < 0.3] = 90
            given.append((tile.clip(0, 255).astype(np.uint8), 90, number))
    run(lanes, given)


@pytest.mark.parametrize("slow", ["tile", "values", "entry", "payload"])
def test_one_slow_stream(slow: str) -> None:
    """The others wait, and nothing is lost; small tiles, so that all stages hold some."""
    numbers = np.random.default_rng(3)
    given: Tiles = []
    for number in range(10):
        shape = tuple(int(most) for most in numbers.integers(1, (4, 6, 20)))
        given.append((rectified(shape, number), 0))  # type: ignore[arg-type]
    run(8, given, {slow: 0.6}, seed=len(slow))


@pytest.mark.parametrize("lanes", LANES)
def test_small_tiles(lanes: int) -> None:
    """One pixel, one column, one channel; the same shapes follow each other as fast as may be."""
    shapes = [(1, 1, 1), (1, 1, 9), (1, 2, 1), (2, 1, 1), (1, 4, 8), (4, 1, 8), (3, 1, 17), (1, 1, 33), (2, 2, 2),
              (2, 3, 5), (1, 7, 3), (5, 2, 4)]
    numbers = np.random.default_rng(lanes)
    given: Tiles = [(numbers.integers(0, 4, shape, np.uint8), 0) for shape in shapes for _ in range(2)]
    given += [(np.full((1, 3, 8), 5, np.uint8), 5)] * 4
    given += [(np.full((4, 4, 8), 5, np.uint8), 4)] * 4
    run(lanes, given)


def test_short_tiles_behind_long_ones() -> None:
    """Some are coded before anything is known of the first."""
    given: Tiles = []
    for shape in ((8, 6, 48), (4, 1, 8), (1, 12, 25), (6, 6, 40), (1, 1, 8), (2, 1, 1), (1, 1, 1), (8, 8, 8), (5, 1, 8)
                  ):
        given.append((smooth(shape, len(given), 2), 100))  # type: ignore[arg-type]
    run(8, [*given, *given])


def test_runs() -> None:
    """Runs of centres of all lengths, to the ends of rows and over them, with and without a row above."""
    numbers = np.random.default_rng(8)
    given: Tiles = []
    for shape in ((4, 9, 8), (1, 32, 8), (5, 3, 11)):
        for often in (0.03, 0.2):
            tile = np.where(numbers.random(shape) < often, numbers.integers(0, 256, shape), 6)
            tile[..., 3] = numbers.integers(0, 256, shape[:2])
            given.append((tile.astype(np.uint8), 6))
    run(8, given)


def test_streams_of_unequal_length() -> None:
    """One stream takes nearly all units, the others end with what they took first."""
    given: Tiles = []
    for channel in (0, 7, 12):
        tile = np.full((4, 8, 16), 20, np.uint8)
        tile[..., channel] = np.random.default_rng(channel).integers(0, 256, (4, 8))
        tile[0, 0, :] = 21
        given.append((tile, 20))
    run(8, given)


def test_modes_in_the_header() -> None:
    """Channels that call for different modes; numbers of channels around words and units of the header."""
    given: Tiles = []
    for channels in (7, 8, 9, 13, 17):
        tile = smooth((4, 8, channels), channels, 2)
        tile[..., ::3], tile[..., 1], tile[..., 5] = 100, 7, np.random.default_rng(1).integers(0, 256, (4, 8))
        given.append((tile, 100))
    for lanes in LANES:
        run(lanes, given if lanes == 8 else given[lanes % 3:4])


@pytest.mark.parametrize("lanes", LANES)
def test_as_it_is(lanes: int) -> None:
    """Tiles that do not get smaller, of channels in whole words, pairs and by themselves."""
    numbers = np.random.default_rng(lanes)
    run(lanes, [(numbers.integers(0, 256, (2, 2, channels), np.uint8), 0) for channels in (3, 6, 8, 11, 17)])


def test_late_units() -> None:
    """Many streams take units in the last steps, and some of these hold nothing."""
    given: Tiles = []
    for seed in range(3):
        tile = rectified((4, 8, 8), seed, 0.5)
        tile[3, 4:] = np.random.default_rng(seed).integers(0, 256, (4, 8))
        given.append((tile, 0))
    run(8, given)


def test_equally_long() -> None:
    """One mode for all channels that is taken to cost as much as one for each: each has its own."""
    given: Tiles = [(np.random.default_rng(seed).integers(0, 5, shape).astype(np.uint8), 0)
                    for shape, seed in (((2, 2, 2), 843), ((3, 6, 2), 4), ((2, 3, 3), 216))]
    assert all(encode_tile(*case)[1] >> 4 == TAG_CHANNELS for case in given)
    run(2, given)


def test_many_pixels() -> None:
    """More than the choice looks at; the last ones are of another kind."""
    tile = rectified((11, 25, 2), 3, 1)
    tile[10:] = np.random.default_rng(0).integers(0, 256, tile[10:].shape)
    run(8, [(tile, 0), (tile[::-1], 0)])


def largest() -> Tiles:
    """What fills the rings: tiles of STEPS steps, of one channel, of 4096 values at their longest codes, in turns."""
    wild = np.where(np.random.default_rng(2).random((16, 32, 8)) < 0.5, 0, 255).astype(np.uint8)
    given: Tiles = [(rectified((16, 32, 8), 1, 3), 0), (wild, 128), (rectified((32, 16, 1), 2), 0),
                    (rectified((512, 1, 8), 4, 1), 0), (rectified((1, 512, 3), 4, 1), 0), (wild[:, :16], 60)]
    assert sum(steps(tile) == STEPS for tile, *_ in given) == 5
    return given


@pytest.mark.parametrize("lanes, shape, most", [(8, (8, 8, 32), 1.05), (8, (7, 7, 32), 1.06), (4, (8, 8, 16), 2.1),
                                                (2, (8, 8, 8), 4.4)])
def test_cycles_a_step(lanes: int, shape: tuple[int, int, int], most: float) -> None:
    """In the long run: the time between the ends of tiles."""
    given: Tiles = [(smooth(shape, number, 2), 100) for number in range(4)]
    marks = run(lanes, given)
    assert (marks[-1] - marks[1]) / 3 <= most * steps(given[0][0])


def test_cycles_as_it_is() -> None:
    """A tile that does not get smaller goes out at a step a cycle."""
    given: Tiles = [(np.random.default_rng(number).integers(0, 256, (8, 8, 32), np.uint8), 0) for number in range(3)]
    marks = run(8, given)
    assert (marks[-1] - marks[1]) / 2 <= 1.1 * 256


def test_too_many_steps() -> None:
    """An error, and the encoder waits."""
    dut = Encoder(8)

    async def overrun(ctx: Any) -> None:
        await send(ctx, dut.tile, [{"h": 5, "w": 205, "c": 1, "table_set": 0, "centre": 0}])
        await send(ctx, dut.values, [0] * (STEPS + 1))
        for _ in range(5):
            await ctx.tick()
        assert ctx.get(dut.error)
        await silent(ctx, dut.entry, 100)

    simulate(dut, overrun)


def test_lanes() -> None:
    for lanes in (0, 1, 3, 16):
        with pytest.raises(ValueError, match=f"lanes must be 2, 4 or 8, not {lanes}"):
            Encoder(lanes)
