"""Damaged tiles: the decoder ends with `DamagedTile` or with a tile of the right shape, never otherwise."""

from dataclasses import replace

import numpy as np
import pytest

from systolith.rtl.codec import tables
from systolith.sim.codec import DamagedTile, decode_tensor, decode_tile, encode_tensor, encode_tile
from systolith.sim.codec.symbols import CODE_LENGTHS
from tests.codec_tiles import rectified, tiles

Shape = tuple[int, int, int]


def survives(coded: bytes, shape: Shape, centre: int, table_set: int) -> bool:
    """Whether it decodes; anything but a tile or `DamagedTile` is an error of the test."""
    try:
        values = decode_tile(coded, shape, centre, table_set)
    except DamagedTile:
        return False
    assert values.shape == shape and values.dtype == np.uint8
    return True


def refused(entry: int, payload: bytes, shape: Shape, reason: str) -> None:
    with pytest.raises(DamagedTile, match=reason):
        decode_tile(entry.to_bytes(2, "little") + payload, shape, 0)


def test_bit_flips() -> None:
    """Every bit of small tiles of all kinds."""
    tried = found = 0
    for values, centre, table_set in tiles(5).values():
        small = values[:4, :4, :12]
        coded = bytearray(encode_tile(small, centre, table_set))
        for bit in range(8 * len(coded)):
            coded[bit // 8] ^= 1 << bit % 8
            tried += 1
            found += not survives(bytes(coded), small.shape, centre, table_set)
            coded[bit // 8] ^= 1 << bit % 8
    assert tried > 2000 and found > tried / 10


def test_cut_and_extended() -> None:
    for values, centre, table_set in tiles(6).values():
        coded = encode_tile(values, centre, table_set)
        for length in range(0, len(coded), max(1, len(coded) // 40)):
            assert not survives(coded[:length], values.shape, centre, table_set)
        assert not survives(coded + b"\0", values.shape, centre, table_set)
        assert not survives(coded + b"\0\0", values.shape, centre, table_set)


def test_random_bytes() -> None:
    numbers = np.random.default_rng(1)
    for _ in range(300):
        shape = tuple(numbers.integers(1, 7, 3).tolist())
        payload = numbers.bytes(2 * int(numbers.integers(0, 40)))
        entry = int(numbers.integers(16)) << 12 | len(payload) // 2
        survives(entry.to_bytes(2, "little") + payload, shape, int(numbers.integers(256)),
                 int(numbers.integers(tables.TABLE_SETS)))


def test_entries() -> None:
    """The index entry must fit the tile."""
    shape = (4, 4, 8)
    refused(0xF001, bytes(128), shape, "1 units")
    refused(0xF000, bytes(127), shape, "127 bytes")
    refused(64, bytes(128), shape, "64 units for 128 values")
    refused(3, bytes(8), shape, "3 units for 128 values in 8 bytes")
    refused(0x8003, bytes(6), shape, "tag 8 does not exist")
    refused(0xD003, bytes(6), shape, "tag 13 does not exist")
    refused(0x0000, b"", shape, "no units")
    refused(0xE001, bytes(2), shape, "header is cut off")
    with pytest.raises(DamagedTile, match="no index entry"):
        decode_tile(b"\0", shape, 0)


def test_headers() -> None:
    """Modes that do not exist, and bits behind the last one."""
    shape = (8, 8, 2)
    assert decode_tile(bytes.fromhex("02e0" "9800" "0700"), shape, 0).max() == 7
    refused(0xE002, bytes.fromhex("a800" "0700"), shape, "a mode that does not exist")
    refused(0xE002, bytes.fromhex("9801" "0700"), shape, "behind the last channel")
    refused(0xE003, bytes.fromhex("9800" "0701" "0000"), shape, "bits behind the last code")
    refused(0xE003, bytes.fromhex("9800" "0700" "0100"), shape, "bits behind the last code")
    refused(0xE007, bytes.fromhex("9800" "0700") + bytes(10), shape, "units that no stream takes")
    refused(0xE001, bytes.fromhex("9800"), shape, "goes on behind the tile's end")
    refused(0xE001, bytes.fromhex("8800"), shape, "goes on behind the tile's end")


def test_virtual_units_may_be_taken_but_not_read() -> None:
    """A code may end where the tile ends, not a bit behind it."""
    numbers = np.random.default_rng(2)
    for seed in range(20):
        values = rectified((4, 8, 8), seed)[:, :, : int(numbers.integers(1, 9))]
        coded = encode_tile(values, 0)
        units = int.from_bytes(coded[:2], "little") & 4095
        if coded[1] >> 4 == tables.TAG_RAW or units < 2:
            continue
        shorter = (int.from_bytes(coded[:2], "little") - 1).to_bytes(2, "little") + coded[2:-2]
        with pytest.raises(DamagedTile, match="goes on behind the tile's end|header is cut off"):
            decode_tile(shorter, values.shape, 0)


def test_rank_that_does_not_exist() -> None:
    """The escape has 256 places for 255 ranks."""
    shape = (1, 1, 8)
    escape = (255 << 8).to_bytes(2, "little")
    mode = next(m for m in range(8) if CODE_LENGTHS[tables.CODE_OF[tables.MAPS][m][0]].max() == 16)
    refused(mode << 12 | 1, escape, shape, "a rank that does not exist")


def test_tensor_with_missing_tiles() -> None:
    values = rectified((9, 17, 70), 1)
    coded = encode_tensor(values, 0)
    assert len(coded.tiles) > 2
    for wrong in (coded.tiles[:-1], [*coded.tiles, coded.tiles[-1]]):
        with pytest.raises(DamagedTile):
            decode_tensor(replace(coded, tiles=wrong))
