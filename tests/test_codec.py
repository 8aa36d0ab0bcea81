"""The activation codec: round trips, bytes worked out by hand, sizes, the encoder's choice."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from systolith.rtl.codec import tables
from systolith.sim.codec import (
    choose_coding,
    decode_tensor,
    decode_tile,
    default_tile,
    encode_tensor,
    encode_tile,
    measure_tensor,
)
from systolith.sim.codec.choose import choose_modes, estimated_costs
from systolith.sim.codec.encode import ENTRY_BYTES, encode_tiles, tile_bytes
from systolith.sim.codec.peers import entropy_bits
from systolith.sim.codec.streams import code_tiles, lane_steps, unit_order
from systolith.sim.codec.symbols import RUN_SYMBOL, Z_SYMBOL, neighbours, predictions, runs, symbols
from tests.codec_tiles import Tile, rectified, smooth, tiles


def check(values: Tile, centre: int, table_set: int = tables.MAPS) -> bytes:
    """Round trip, as long as measured, and never longer than raw and its entry."""
    coded = encode_tile(values, centre, table_set)
    assert len(coded) == tile_bytes(values[None], centre, table_set)[0][0]
    assert np.array_equal(decode_tile(coded, values.shape, centre, table_set), values)  # type: ignore[arg-type]
    assert len(coded) <= values.size + ENTRY_BYTES
    return coded


@pytest.mark.parametrize("seed", range(12))
def test_round_trip(seed: int) -> None:
    for case in tiles(seed).values():
        check(*case)


@st.composite
def any_tile(draw: st.DrawFn) -> tuple[Tile, int, int]:
    shape = draw(st.tuples(st.integers(1, 6), st.integers(1, 9), st.integers(1, 19)))
    few = draw(st.lists(st.integers(0, 255), min_size=1, max_size=5))
    size = int(np.prod(shape))
    kind = draw(st.sampled_from(["few", "bytes", "walk"]))
    if kind == "bytes":
        flat = np.frombuffer(draw(st.binary(min_size=size, max_size=size)), np.uint8)
    else:
        numbers = np.random.default_rng(draw(st.integers(0, 1 << 30)))
        flat = (np.array(few)[numbers.integers(0, len(few), size)] if kind == "few"
                else few[0] + numbers.integers(-2, 3, size).cumsum()).astype(np.uint8)
    return (flat.reshape(shape), draw(st.one_of(st.sampled_from(few), st.integers(0, 255))),
            draw(st.integers(0, tables.TABLE_SETS - 1)))


@given(any_tile())
@settings(max_examples=150)
def test_round_trip_of_anything(case: tuple[Tile, int, int]) -> None:
    check(*case)


@given(st.integers(0, 255), st.integers(0, 255))
def test_every_value_has_a_rank(prediction: int, centre: int) -> None:
    """0..254 for all values but the centre, each once."""
    values = np.arange(256, dtype=np.int16)
    found = symbols(values, np.full(256, prediction, np.int16), centre)
    assert found[centre] == Z_SYMBOL
    assert sorted(np.delete(found, centre)) == list(range(255))


def test_bytes() -> None:
    """Worked out by hand from docs/codec.md."""
    assert encode_tile(np.full((4, 4, 4), 9, np.uint8), 9).hex() == "00e0"  # all centre: no payload
    assert encode_tile(np.array([[[5]]], np.uint8), 0).hex() == "00f0" "05"  # raw
    constant = np.full((8, 8, 2), 7, np.uint8)
    assert encode_tile(constant, 0).hex() == "03e0" "8800" "0700" "0700"  # header of two modes 8, two lanes
    constant[:, :, 1] = 0
    assert encode_tile(constant, 0).hex() == "02e0" "9800" "0700"  # mode 9; its lane's units hold no bit
    wide = np.full((8, 8, 9), 3, np.uint8)  # channel 8 follows channel 0 in lane 0
    wide[:, :, 1:8], wide[:, :, 8] = 0, 4
    assert encode_tile(wide, 0).hex() == "04e0" "9899" "9999" "0800" "0304"


def test_unit_order() -> None:
    """Noise in one lane only: the units of the others lie between its own."""
    values = np.zeros((8, 16, 2), np.uint8)
    values[:, :, 0] = np.random.default_rng(1).integers(0, 128, (8, 16))
    coded = check(values, 0)
    units = np.frombuffer(coded[ENTRY_BYTES:], "<u2")
    assert units[0] == 0x90 + (int(units[0]) & 15)  # header: a table, ZERO
    assert not units[2] and not units[4] and units[1] and units[3] and units[5:].all()


@pytest.mark.parametrize("shape", [(0, 2, 2), (2, 2), (17, 16, 16), (1, 1, 4097)])
def test_shape_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="three axes and 1 to 4096 values"):
        encode_tile(np.zeros(shape, np.uint8), 0)


def test_header_counts() -> None:
    """Tiles whose streams are shorter than their values by less than the header are not coded."""
    numbers = np.random.default_rng(4)
    longer = 0
    for _ in range(300):
        values = numbers.integers(0, 256, (2, 4, 6), np.uint8)
        values[:, :, : int(numbers.integers(1, 5))] >>= int(numbers.integers(3, 8))
        coded = check(values, 0)
        codes = code_tiles(values[None], 0)
        streams = int(unit_order(lane_steps(codes.lengths), 6).units[0])
        longer += coded[1] >> 4 == tables.TAG_RAW and 2 * streams < values.size
    assert longer > 3


def test_batches_equal_single_tiles() -> None:
    many = np.stack([rectified((4, 6, 20), seed, 1 + 3 * seed) for seed in range(9)])
    assert encode_tiles(many, 0) == [encode_tile(one, 0) for one in many]


@pytest.mark.parametrize("shape", [(9, 17, 24), (1, 16, 384), (3, 3, 256), (1, 1, 1001), (48, 48, 1), (25, 5, 64),
                                   (40, 33, 40), (2, 3000, 2)])
def test_tensors(shape: tuple[int, int, int]) -> None:
    """Ragged tilings; the measured size is the coded one, and every value is counted in one mode."""
    values = rectified(shape, 3)
    values[: shape[0] // 2, :, : shape[2] // 3] = 0
    coded = encode_tensor(values, 0)
    measured = measure_tensor(values, 0)
    assert measured.bytes == sum(map(len, coded.tiles))
    assert coded.bits_per_value == 8 * measured.bytes / values.size
    assert measured.modes.sum() == values.size
    assert np.array_equal(decode_tensor(coded), values)
    assert np.prod(default_tile(shape)) <= tables.TILE_VALUES


def test_modes_are_counted() -> None:
    values = np.zeros((4, 4, 8), np.uint8)
    values[:, :, 1], values[:, :, 2] = 7, smooth((4, 4, 1), 1, 0)[:, :, 0]
    modes = measure_tensor(values, 0).modes
    assert modes[tables.ZERO] == 96 and modes[tables.CONST] == 16 and modes[:8].sum() == 16
    assert measure_tensor(np.random.default_rng(0).integers(0, 256, (8, 8, 8), np.uint8), 0).modes[15] == 512
    assert measure_tensor(np.zeros((1, 1, 1), np.uint8), 0).modes[tables.ZERO] == 1


def test_default_tiles() -> None:
    """Four groups of lanes where there are so many channels, pixels near to a square, even parts."""
    assert default_tile((112, 112, 96)) == (16, 8, 32)
    assert default_tile((14, 14, 384))[2] in (16, 24, 32)
    assert default_tile((22, 22, 48))[2] == 48 and default_tile((56, 56, 144))[2] == 40
    assert default_tile((7, 7, 960)) == (7, 7, 80)
    assert default_tile((1, 16, 1536)) == (1, 16, 256)
    assert default_tile((1, 1, 256)) == (1, 1, 256)
    assert default_tile((2, 5000, 1))[1] > 100


def test_coding() -> None:
    """The zero point where it is best, the median or the most frequent value of a tensor that lies elsewhere; the first
    of equals. Tables for maps, for rows of tokens, for skewed ones."""
    assert choose_coding(rectified((16, 16, 32), 1), 0) == (0, tables.MAPS)
    off = np.random.default_rng(1).normal(60, 8, (1, 16, 128)).astype(np.uint8)
    assert choose_coding(off, 29)[0] == int(np.median(off)) and choose_coding(off, 29)[1] != tables.MAPS
    skewed = (20 + np.random.default_rng(1).exponential(12, (1, 64, 64))).astype(np.uint8)
    assert choose_coding(skewed, 24)[1] == 3
    assert choose_coding(np.arange(64, dtype=np.uint8).reshape(4, 4, 4) * 4, 9) == (9, 0)  # raw with all


def test_neighbours() -> None:
    values = np.arange(12, dtype=np.int16).reshape(1, 3, 4, 1)
    left, upper = neighbours(values, 99, tables.MAPS)
    assert left[0, :, :, 0].tolist() == [[99, 0, 1, 2], [0, 4, 5, 6], [4, 8, 9, 10]]
    assert upper[0, :, :, 0].tolist() == [[99, 0, 1, 2], [0, 1, 2, 3], [4, 5, 6, 7]]
    row = np.array([100, 60, 200, 0], np.int16)
    left, upper = neighbours(row.reshape(1, 1, 4, 1), 50, tables.MAPS)
    assert left.ravel().tolist() == upper.ravel().tolist() == [50, 100, 60, 200]
    for table_set in range(1, tables.TABLE_SETS):
        left, upper = neighbours(row.reshape(1, 1, 4, 1), 50, table_set)
        assert left.ravel().tolist() == [50, 100, 60, 200]
        assert upper.ravel().tolist() == [50, 100, 90, 118]  # 90 = 100 + (-40 + 2 >> 2), 118 = 90 + (110 + 2 >> 2)
        left, upper = neighbours(row.reshape(1, 2, 2, 1), 50, table_set)  # the average goes on over the rows
        assert left.ravel().tolist() == [50, 100, 90, 200] and upper.ravel().tolist() == [50, 100, 90, 118]


def test_runs() -> None:
    """Two or four centres, fewer at a row's end, only where the context allows one to begin."""
    row = np.array([1, 1, 1, 0, 1, 1, 1, 1, 1], bool)
    allowed = np.array([1, 1, 1, 1, 0, 1, 1, 1, 1], bool)
    starts, covered = runs(row.reshape(1, 1, 9, 1), allowed.reshape(1, 1, 9, 1), 4)
    assert np.flatnonzero(starts).tolist() == [5] and np.flatnonzero(covered).tolist() == [6, 7, 8]
    starts, covered = runs(row.reshape(1, 1, 9, 1), allowed.reshape(1, 1, 9, 1), 2)
    assert np.flatnonzero(starts).tolist() == [0, 5, 7] and np.flatnonzero(covered).tolist() == [1, 6, 8]


def bucket(value: int, prediction: int, centre: int, predictor: str) -> int:
    """By the definition: the class of the value's place among all values, without the centre's for Z."""
    if value == centre:
        return 15
    order = sorted(range(256), key=lambda v: (abs(v - prediction), v < prediction))  # nearest first, the higher first
    place = order.index(value) - (predictor == "Z")
    return sum(place >= threshold for threshold in tables.BUCKETS)


@pytest.mark.parametrize("shape", [(1, 8, 3), (1, 9, 3), (4, 2, 3), (4, 5, 3), (3, 90, 2)])
def test_estimated_costs(shape: tuple[int, int, int]) -> None:
    """All of 8 pixels; of more, every other one of the first 256."""
    table_set, pixels = shape[0] % tables.TABLE_SETS, shape[0] * shape[1]
    values = smooth(shape, 8, 20, 60)[None].astype(np.int16)
    left, upper = neighbours(values, 50, table_set)
    wanted = np.zeros((1, shape[2], 8), int)
    for mode, (predictor, _) in enumerate(tables.MODES[table_set]):
        prediction, context = predictions(predictor, left, upper, 50)
        for at in product(*map(range, values.shape)):
            pixel = at[1] * shape[1] + at[2]
            if pixels > 8 and (pixel >= 256 or (pixel + at[3]) % 2):
                continue
            wanted[0, at[3], mode] += tables.COSTS[table_set][mode][context[at]][
                bucket(int(values[at]), int(prediction[at]), 50, predictor)]
    assert np.array_equal(estimated_costs(values, left, upper, 50, table_set), wanted)


def check_choice(tile: NDArray[np.int16]) -> int:
    """By the definition; how much dearer one table for all channels is than a mode for each, in half bits."""
    left, upper = neighbours(tile[None], 0, tables.MAPS)
    costs = estimated_costs(tile[None], left, upper, 0, tables.MAPS)[0]
    choice = choose_modes(tile[None], left, upper, 0, tables.MAPS)
    modes, own = [], 0
    for c in range(tile.shape[2]):
        values = set(tile[:, :, c].ravel().tolist())
        mode = tables.ZERO if values == {0} else tables.CONST if len(values) == 1 else int(costs[c].argmin())
        modes.append(mode)
        own += 6 + (0 if mode == tables.ZERO else 8 if mode == tables.CONST else int(costs[c].min()))
    dearer = int(costs.sum(0).min()) - own
    if dearer < 0 and tile.any():
        assert choice.tags[0] == costs.sum(0).argmin() and (choice.modes[0] == choice.tags[0]).all()
    else:
        assert choice.tags[0] == tables.TAG_CHANNELS and choice.modes[0].tolist() == modes
    return dearer


def test_choice() -> None:
    """One table for all channels only where that is cheaper; ties too, and with constant channels."""
    numbers = np.random.default_rng(1)
    seen = [check_choice(rectified((8, 8, 12), 5).astype(np.int16)), check_choice(np.zeros((2, 2, 2), np.int16))]
    for _ in range(600):
        shape = (*numbers.integers(3, 7, 2).tolist(), 3)
        tile = np.where(numbers.random(shape) < numbers.random(3), numbers.integers(0, 60, shape), 0)
        tile[:, :, 0] = numbers.integers(0, 2) * numbers.integers(60)
        seen.append(check_choice(tile.astype(np.int16)))
    assert min(seen) < 0 < max(seen) and 0 in seen


def test_tables() -> None:
    """Shapes that the hardware counts on; a run only where one may begin."""
    sets = tables.TABLE_SETS
    assert np.shape(tables.MODES) == (sets, 8, 2) and np.shape(tables.CODE_OF) == (sets, 8, 16)
    assert np.shape(tables.COSTS) == (sets, 8, 16, 16) and 0 <= np.min(tables.COSTS) <= np.max(tables.COSTS) < 32
    assert np.shape(tables.CODES)[1] == 8 and len(tables.CODES) <= 64 and sets == 4
    assert {run for modes in tables.MODES for _, run in modes} <= {0, 2, 4}
    for table_set, mode, context in product(range(sets), range(8), range(16)):
        code = tables.CODES[tables.CODE_OF[table_set][mode][context]]
        assert (tables.RUN in code) == (context == 0 and tables.MODES[table_set][mode][1] > 0)
        assert code.count(tables.Z) == 1 and max(code) <= 7
    assert RUN_SYMBOL == 256


@pytest.mark.parametrize(("values", "centre"), [
    (rectified((32, 32, 32), 1), 0), (smooth((32, 32, 32), 2, 2), 128),
    (np.random.default_rng(4).normal(128, 8, (1, 64, 128)).round().astype(np.uint8), 128),
], ids=["rectified", "smooth", "tokens"])
def test_sizes(values: Tile, centre: int) -> None:
    """Near to the entropy or below it: what real tensors take is in docs/codec.md."""
    assert 8 * measure_tensor(values, *choose_coding(values, centre)).bytes < 1.05 * entropy_bits(values)
