"""What the decoder's parts tell each other, and the sizes that they share."""

from dataclasses import dataclass

from amaranth import Cat, Const, Mux, Value, unsigned
from amaranth.lib import data

from .tables import LANES, SET_BITS, TILE_VALUES

COUNT_BITS = TILE_VALUES.bit_length()
ANY_COLLISION = {"no_rw_check": 1}
"""Attribute of memories that are never read where they are written in the same cycle."""

IN_BLOCKS = {"ram_style": "block"}
"""Attribute of memories that belong in block RAMs: as logic the tables are as large as all the rest."""

UNIT_COUNT_BITS = (TILE_VALUES // 2).bit_length()
GROUP_BITS = (TILE_VALUES // LANES - 1).bit_length()
WORD_UNITS = 4
"""Units of a word of the payload."""


@dataclass(frozen=True)
class Sizes:
    """Sizes of a decoder.

    `lanes`: values a cycle. `slots`: tiles that are decoded at the same time, each in its turn. `row_steps`: steps of
    a row of a map with more than one row. `ring`: units that a slot holds.
    """

    lanes: int
    slots: int
    row_steps: int = 512
    ring: int = 64

    def __post_init__(self) -> None:
        if self.lanes not in (2, 4, 8):
            raise ValueError(f"lanes must be 2, 4 or 8, not {self.lanes}")
        if not 1 <= self.slots <= 6:
            raise ValueError(f"slots must be from 1 to 6, not {self.slots}")
        if self.period < 2:
            raise ValueError("slots must be at least 2 where there are 8 lanes")
        least = TILE_VALUES // LANES // 2  # groups of a tile with two columns, for the averages
        if self.row_steps < least or self.row_steps & (self.row_steps - 1):
            raise ValueError(f"row_steps must be a power of two from {least} on, not {self.row_steps}")
        if self.ring < 64 or self.ring & (self.ring - 1):
            raise ValueError(f"ring must be a power of two from 64 on, not {self.ring}")

    @property
    def parts(self) -> int:
        """Cycles of a step."""
        return LANES // self.lanes

    @property
    def period(self) -> int:
        """Cycles after which the same streams of the same slot have their turn again."""
        return self.slots * self.parts

    @property
    def row_bits(self) -> int:
        """Bits of a step's place in its row."""
        return (self.row_steps - 1).bit_length()


class Tile(data.Struct):
    """A tile: its shape, `size` = rows * columns * channels from 1 to TILE_VALUES, and its index entry."""

    rows: unsigned(COUNT_BITS)
    columns: unsigned(COUNT_BITS)
    channels: unsigned(COUNT_BITS)
    size: unsigned(COUNT_BITS)
    table_set: unsigned(SET_BITS)
    centre: unsigned(8)
    entry: unsigned(16)


class Place(data.StructLayout):
    """Where what the decoder remembers of a step's channels lies: members in the order of an address."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__({"part": range(sizes.parts), "group": GROUP_BITS, "position": sizes.row_bits,
                          "slot": range(sizes.slots)})


class Op(data.StructLayout):
    """What a slot does in a turn; at most one of `start`, `header`, `fill`, `step` and `skip` is set.

    start: a tile begins; its payload has `units`. header: modes of a group are taken from the payload. fill: every
    stream takes its first unit. step: values of a group are decoded. skip: rest of the payload; with `check` it is
    the first such, `end` the last part of that. place: see `Place`. count: channels of the group from the first on
    that have a stream. active: of these streams, those of this part. first_column, first_row: where the pixel is.
    table_set, centre: of the tile. coded: not RAW and not all centre. uniform: all channels have `mode`. run: further
    values in this row, at most 3. bad: the index entry cannot be.
    """

    def __init__(self, sizes: Sizes) -> None:
        flags = ("start", "header", "fill", "step", "skip", "check", "end", "first_column", "first_row", "raw",
                 "coded", "uniform", "bad")
        super().__init__({**dict.fromkeys(flags, 1), "place": Place(sizes), "count": 4, "active": sizes.lanes,
                          "mode": 4, "table_set": SET_BITS, "centre": 8, "run": 2, "units": UNIT_COUNT_BITS})


class Beat(data.StructLayout):
    """Decoded bytes, or the end of a tile.

    slot: of the tile. values: `count` consecutive bytes, the first one lowest. end: there are no values: the tile
    has ended. error: then, a bit for each kind of damage that was seen: see `Decoder`.
    """

    def __init__(self, sizes: Sizes) -> None:
        super().__init__({"values": 8 * sizes.lanes, "count": range(sizes.lanes + 1), "end": 1, "error": 4,
                          "slot": range(sizes.slots)})


def distance(a: Value, b: Value) -> Value:
    """|a - b| of the same width: two carry chains, as comparison and difference share one."""
    return Mux(a < b, (b - a)[:len(a)], (a - b)[:len(a)])


def below(a: Value, b: Value) -> Value:
    """a < b of the same width, without a carry chain: an end of one that leaves its place costs as much as two bits."""

    def compare(a: Value, b: Value) -> tuple[Value, Value]:
        if len(a) == 1:
            return ~a & b, ~a | b
        half = len(a) // 2
        (low, low_equal), (high, high_equal) = compare(a[:half], b[:half]), compare(a[half:], b[half:])
        return high | high_equal & low, high_equal & low_equal

    return compare(a, b)[0]


def added(a: Value, b: Value) -> tuple[Value, Value]:
    """a + b of a few bits, and the carry, without a carry chain: both ends of one cost as much as four bits."""
    out, carry = [], Const(0, 1)
    for one, other in zip(a, b, strict=True):
        out.append(one ^ other ^ carry)
        carry = one & other | (one | other) & carry
    return Cat(out), carry
