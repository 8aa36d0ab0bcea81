"""Many tiles, whole and damaged, through the decoder in Verilator. SYSTOLITH_SLOW=1: all that is promised of them."""

import os
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from systolith.rtl.codec.tables import LANES, TABLE_MODES, TABLE_SETS, TAG_CHANNELS
from systolith.sim.codec import streams
from systolith.sim.codec.choose import Choice
from systolith.sim.codec.encode import encode_tiles
from tests.codec_bench import DecoderBench
from tests.codec_reference import SHAPES, Cases, Coded, coded
from tests.codec_tiles import tiles

SLOW = "SYSTOLITH_SLOW" in os.environ


@pytest.fixture(scope="module", params=[(8, 6), (8, 2), (2, 1)] if SLOW else [(8, 6)], ids=str)
def bench(request: pytest.FixtureRequest) -> DecoderBench:
    lanes, slots = request.param
    return DecoderBench(lanes, slots)


def most_cycles(tile: Coded, period: int) -> int:
    """A tile cannot take longer, wherever it is damaged, where output and payload do not wait: a turn in so many
    cycles, for each step as many of these as make 7, one for each word of the payload."""
    groups = -(-tile.shape[2] // LANES)
    return period * (-(-7 // period) * tile.steps + groups + len(tile.payload) // 8 + 40)


def check(bench: DecoderBench, given: list[Coded], seed: int = 0, stalls: int = 0) -> int:
    """The decoder and the model agree on every tile; how many are damaged."""
    damaged = 0
    for number, (tile, got) in enumerate(zip(given, bench.decode(given, seed, stalls), strict=True)):
        wanted = tile.values()
        where = f"tile {number}, {tile.shape}, entry {tile.coded[:2].hex()}"
        assert bool(got.error) == (wanted is None), f"{where}: error {got.error}, the model: {wanted is None}"
        assert wanted is None or got.values.tolist() == wanted, where
        # tiles before it go first, and what is left of the payload of the one before that in the same slot
        before = given[max(0, number - bench.slots):number + 1]
        assert stalls or got.cycles <= sum(most_cycles(tile, bench.period) for tile in before), where
        damaged += wanted is None
    return damaged


def batches(seed: int, count: int) -> Iterator[list[Coded]]:
    """Whole tiles of all kinds and shapes, some hundred of a shape at once."""
    numbers, cases = np.random.default_rng(seed), Cases(seed)
    while count > 0:
        shape = SHAPES[int(numbers.integers(len(SHAPES)))] if numbers.random() < 0.7 else (
            int(numbers.integers(1, 9)), int(numbers.integers(1, 9)), int(numbers.integers(1, 40)))
        table_set = int(numbers.integers(TABLE_SETS))
        centre, size = int(numbers.choice([0, 128, 255, numbers.integers(256)])), min(count, 250)
        kinds = [str(numbers.choice(Cases.KINDS)) for _ in range(size)]
        values = np.stack([cases.values(shape, centre, kind).astype(np.uint8) for kind in kinds])
        yield [Coded(coded, shape, centre, values[number].reshape(-1), table_set)
               for number, coded in enumerate(encode_tiles(values, centre, table_set))]
        count -= size


def test_round_trips(bench: DecoderBench) -> None:
    """What the model has encoded comes out as it was, without and with stalls."""
    for number, given in enumerate(batches(1, 100_000 if SLOW else 8_000)):
        for tile, got in zip(given, bench.decode(given, number, 30 if number % 3 == 2 else 0), strict=True):
            assert not got.error and np.array_equal(got.values, tile.original), (number, tile.shape)


@pytest.mark.parametrize("table_set", range(TABLE_SETS))
@pytest.mark.parametrize("rows", [1, 3])
def test_modes(bench: DecoderBench, rows: int, table_set: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every table mode with sparse values, so with runs of all lengths; alone, and all of them in a tile."""
    numbers = np.random.default_rng(rows)
    shape = (20, rows, 21, 11)
    for tag in (*range(TABLE_MODES), TAG_CHANNELS):
        modes = np.full((20, 11), tag) if tag < TABLE_MODES else numbers.integers(0, TABLE_MODES, (20, 11))
        monkeypatch.setattr(streams, "choose_modes", lambda *_, modes=modes, tag=tag: Choice(modes, np.full(20, tag)))
        for part in (0.1, 0.4, 0.6):
            values = np.where(numbers.random(shape) < part, numbers.integers(0, 20, shape), 7).astype(np.uint8)
            given = [Coded(coded, shape[1:], 7, tile.reshape(-1), table_set)  # type: ignore[arg-type]
                     for coded, tile in zip(encode_tiles(values, 7, table_set), values, strict=True)]
            assert part > 0.1 or all(tile.coded[1] >> 4 == tag for tile in given)
            for tile, got in zip(given, bench.decode(given), strict=True):
                assert not got.error and np.array_equal(got.values, tile.original), tag


def originals(count: int) -> list[Coded]:
    """Small tiles of every kind."""
    out: list[Coded] = []
    seed = 50
    while len(out) < count:
        for values, centre, table_set in tiles(seed).values():
            small = values[:4, :4, :12]
            out.append(coded(small, centre, table_set))
        seed += 1
    return out[:count]


def test_bit_flips(bench: DecoderBench) -> None:
    """Every bit of 50 tiles; after each of them a whole one."""
    whole = Cases(3).tile((3, 3, 31), "smooth")
    tried = damaged = 0
    for tile in originals(50) if SLOW else originals(30)[::3]:
        length = len(tile.coded)
        number = int.from_bytes(tile.coded, "little")
        given = []
        for bit in range(8 * length):
            given += [replace(tile, coded=(number ^ 1 << bit).to_bytes(length, "little")), whole]
        damaged += check(bench, given)
        tried += 8 * length
    assert tried > 500 and damaged > tried / 10


def test_last_units(bench: DecoderBench) -> None:
    """A unit too few, so that a code goes on behind the payload; units too many, with bits or without."""
    given = []
    for tile in originals(60):
        entry = int.from_bytes(tile.coded[:2], "little")
        for units in (b"", b"\0\0", b"\0\0" * 2, b"\1\0", b"\0\x80", b"\0\0" * 8):
            for kept in range(len(tile.coded) - 6, len(tile.coded) + 1, 2):
                payload = tile.coded[2:max(2, kept)] + units
                given.append(replace(tile, coded=(entry & 0xF000 | len(payload) // 2).to_bytes(2, "little") + payload))
    assert check(bench, given) > 500


def test_entries(bench: DecoderBench) -> None:
    """Index entries of every kind."""
    for tile in originals(30)[::15]:
        entries = range(0, 1 << 16, 7 if SLOW else 97)
        check(bench, [replace(tile, coded=entry.to_bytes(2, "little") + tile.coded[2:])
                      for entry in entries])


def test_cut_and_random(bench: DecoderBench) -> None:
    """Fewer units, more units, random bytes."""
    numbers, cases = np.random.default_rng(4), Cases(4)
    for number in range(40 if SLOW else 8):
        given = [cases.cut(cases.tile(kind="sparse")) for _ in range(100)]
        for _ in range(100):
            shape = (int(numbers.integers(1, 7)), int(numbers.integers(1, 7)), int(numbers.integers(1, 20)))
            units = int(numbers.integers(0, max(1, int(np.prod(shape)) // 2 + 2)))
            entry = int(numbers.integers(16)) << 12 | units
            coded = entry.to_bytes(2, "little") + numbers.bytes(2 * units)
            given.append(Coded(coded, shape, int(numbers.integers(256)), table_set=int(numbers.integers(TABLE_SETS))))
        check(bench, given, number, 25 if number % 2 else 0)
