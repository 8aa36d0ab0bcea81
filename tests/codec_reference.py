"""Tiles for tests of the codec's decoder: as the model codes them, and what must come out."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from systolith.rtl.codec.tables import LANES, MAPS, TABLE_SETS, TAG_RAW, TILE_VALUES
from systolith.sim.codec.decode import DamagedTile, decode_tile
from systolith.sim.codec.encode import encode_tile

Shape = tuple[int, int, int]
SHAPES: tuple[Shape, ...] = (
    (1, 1, 1), (1, 1, 9), (2, 1, 8), (1, 7, 3), (3, 1, 17), (4, 5, 1), (2, 3, 7), (3, 4, 8), (2, 5, 12), (1, 9, 16),
    (4, 4, 24), (1, 13, 24), (3, 3, 31), (2, 6, 40), (1, 3, 100), (5, 2, 16), (2, 2, 65), (9, 1, 5), (1, 1, 300))


@dataclass(frozen=True)
class Coded:
    """Bytes of a tile, as a decoder is given them, and the shape. original: what it was made from."""

    coded: bytes
    shape: Shape
    centre: int
    original: NDArray[Any] | None = None
    table_set: int = MAPS

    @property
    def size(self) -> int:
        return int(np.prod(self.shape))

    @property
    def steps(self) -> int:
        return self.shape[0] * self.shape[1] * -(-self.shape[2] // LANES)

    def tile(self) -> dict[str, int]:
        """Payload of the decoder's stream of tiles."""
        rows, columns, channels = self.shape
        return {"rows": rows, "columns": columns, "channels": channels, "size": self.size,
                "table_set": self.table_set, "centre": self.centre, "entry": int.from_bytes(self.coded[:2], "little")}

    @property
    def payload(self) -> bytes:
        """As much as the entry says: cut, or filled up with noise."""
        entry = int.from_bytes(self.coded[:2], "little")
        length = self.size if entry == TAG_RAW << 12 else 2 * (entry & 0xFFF)
        return (self.coded[2:] + bytes(range(1, 9)) * (length // 8 + 1))[:length]

    def words(self) -> list[int]:
        """The payload's words; the bytes behind its end are noise."""
        payload = self.bytes_of_words()
        return [int.from_bytes(payload[at:at + 8], "little") for at in range(0, len(payload), 8)]

    def bytes_of_words(self) -> bytes:
        """The same as bytes."""
        payload = self.payload
        return payload + bytes(range(201, 201 + -len(payload) % 8))

    def values(self) -> list[int] | None:
        """What the model decodes, None where it finds damage."""
        try:
            return decode_tile(
                self.coded[:2] + self.payload, self.shape, self.centre, self.table_set).reshape(-1).tolist()
        except DamagedTile:
            return None

    def counts(self, lanes: int) -> list[int]:
        """Values in each beat of a decoder with so many lanes."""
        rows, columns, channels = self.shape
        return [min(lanes, channels - at) for at in range(0, channels, lanes)] * (rows * columns)


def coded(values: NDArray[Any], centre: int, table_set: int = MAPS) -> Coded:
    """`values` as the model codes them."""
    return Coded(encode_tile(values.astype(np.uint8), centre, table_set), values.shape,  # type: ignore[arg-type]
                 centre, table_set=table_set)


def raw(values: NDArray[Any], centre: int) -> Coded:
    """`values` as they are."""
    return Coded((TAG_RAW << 12).to_bytes(2, "little") + values.astype(np.uint8).tobytes(),
                 values.shape, centre)  # type: ignore[arg-type]


class Cases:
    """Tiles from a seed."""

    def __init__(self, seed: int) -> None:
        self._rng = np.random.default_rng(seed)

    def values(self, shape: Shape, centre: int, kind: str) -> NDArray[Any]:
        """Values of one of `KINDS`."""
        rng = self._rng
        rows, columns, channels = shape
        if kind == "noise":
            return rng.integers(0, 256, shape)
        if kind == "constant":
            return np.broadcast_to(rng.choice([0, centre, 255, 77], channels), shape)
        if kind == "alternating":
            return np.where(np.indices(shape).sum(0) % 2, 255, 0)
        if kind == "saturated":
            return np.where(rng.random(shape) < 0.9, 255, 0)
        smooth = centre + (rng.normal(0, 3, shape).cumsum(0) + rng.normal(0, 3, shape).cumsum(1)) * rng.choice(
            [0.1, 1, 4], channels)
        if kind == "smooth":
            return np.clip(smooth, 0, 255).astype(int)
        relu = np.clip(np.maximum(smooth - rng.choice([0, 6, 20], channels), centre), 0, 255).astype(int)
        relu[..., rng.random(channels) < 0.2] = centre
        return np.where(rng.random(shape) < 0.03, rng.integers(0, 256, shape), relu)

    KINDS = ("noise", "constant", "alternating", "saturated", "smooth", "sparse", "sparse")

    def tile(self, shape: Shape | None = None, kind: str | None = None, centre: int | None = None,
             table_set: int | None = None) -> Coded:
        """A tile of a random or given shape and kind."""
        rng = self._rng
        shape = shape or SHAPES[int(rng.integers(len(SHAPES)))]
        centre = int(rng.choice([0, 128, 255, int(rng.integers(256))])) if centre is None else centre
        kind = kind or str(rng.choice(self.KINDS))
        table_set = int(rng.integers(TABLE_SETS)) if table_set is None else table_set
        values = self.values(shape, centre, kind)
        return raw(values, centre) if rng.random() < 0.05 else coded(values, centre, table_set)

    def flipped(self, tile: Coded) -> Coded:
        """The tile with one bit changed, of its entry now and then."""
        bits = 8 * len(tile.coded)
        at = int(self._rng.integers(16 if self._rng.random() < 0.2 or bits < 17 else bits))
        return replace(tile, coded=(int.from_bytes(tile.coded, "little") ^ 1 << at).to_bytes(len(tile.coded), "little"))

    def cut(self, tile: Coded) -> Coded:
        """A coded tile with fewer units, or some more, of noise."""
        entry = int.from_bytes(tile.coded[:2], "little")
        units = int(self._rng.integers(min(TILE_VALUES // 2, tile.size // 2 + 2)))
        payload = (tile.coded[2:] + self._rng.bytes(2 * units))[:2 * units]
        return replace(tile, coded=(entry & 0xF000 | units).to_bytes(2, "little") + payload)


def beats(lanes: int, slots: int, tiles: list[Coded], got: list[dict[str, int]]) -> Iterator[
        tuple[Coded, list[int], int, list[int]]]:
    """Of each tile: values and error of a decoder's beats `got`, and the counts of the beats."""
    streams: list[list[dict[str, int]]] = [[] for _ in range(slots)]
    for beat in got:
        streams[beat["slot"]].append(beat)
    for number, tile in enumerate(tiles):
        stream = streams[number % slots]
        values, counts = [], []
        while not (beat := stream.pop(0))["end"]:
            counts.append(beat["count"])
            values += beat["values"].to_bytes(lanes, "little")[:beat["count"]]
        assert beat["count"] == 0
        yield tile, values, beat["error"], counts
    assert not any(streams)


def check_beats(lanes: int, slots: int, tiles: list[Coded], got: list[dict[str, int]]) -> int:
    """Compare a decoder's beats with the model; the number of tiles that were found to be damaged."""
    damaged = 0
    for number, (tile, values, error, counts) in enumerate(beats(lanes, slots, tiles, got)):
        where = f"tile {number}, {tile.shape}, entry {tile.coded[:2].hex()}"
        wanted = tile.values()
        assert counts == tile.counts(lanes), where
        assert bool(error) == (wanted is None), f"{where}: error {error}, the model says {wanted is None}"
        assert wanted is None or values == wanted, where
        damaged += wanted is None
    return damaged
