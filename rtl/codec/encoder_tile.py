"""What the encoder's stages tell each other of a tile, and the sizes of its buffers."""

from collections.abc import Iterable

from amaranth import Const, Value, unsigned
from amaranth.lib import data

from .tables import LANES, SET_BITS, TILE_VALUES

STEPS = 512
"""Most steps of a tile that the encoder takes: rows x columns x ceil(channels / 8)."""

SYMBOL_STEPS = 2 * STEPS
"""Steps of the symbols' ring: one of the largest tiles comes in while another is read."""

CODED_TILES, CODED_STEPS = 3, 3 * STEPS
"""Tiles, one less than a power of two, and their steps, that are coded and not yet out."""

UNIT_STEPS = 4 * STEPS
"""Places for units and their order: a stream may have a unit more than its tile has steps."""

STORED_STEPS = 4 * STEPS
"""Steps of the values' ring: of tiles that come in, are looked at, are coded, and begin to go out."""

MODE_STEPS = STORED_STEPS
"""Steps of the modes' rings: no tile has more modes than steps, and both are free again at the same time."""

DIMENSION_BITS = TILE_VALUES.bit_length()
SIDE_BITS = STEPS.bit_length()
GROUP_BITS = (TILE_VALUES // LANES).bit_length()
STEP_BITS = STEPS.bit_length()
UNIT_NUMBER_BITS = (LANES * (STEPS + 2)).bit_length()


class Tile(data.Struct):
    """Rows, columns and channels of a tile, each at least 1, and its tensor's set of tables and
    centre."""

    h: unsigned(SIDE_BITS)
    w: unsigned(SIDE_BITS)
    c: unsigned(DIMENSION_BITS)
    table_set: unsigned(SET_BITS)
    centre: unsigned(8)


class Stored(data.Struct):
    """A tile in the values' ring: `groups` steps a pixel, `pixels` and `steps` in all, `values` bytes."""

    tile: Tile
    groups: unsigned(GROUP_BITS)
    pixels: unsigned(STEP_BITS)
    steps: unsigned(STEP_BITS)
    values: unsigned(DIMENSION_BITS)


class Choice(data.Struct):
    """`tag`: of the index entry; `empty`: every value is the centre."""

    tag: unsigned(4)
    empty: unsigned(1)


class Chosen(data.Struct):
    """A tile whose modes are known."""

    centre: unsigned(8)
    c: unsigned(DIMENSION_BITS)
    groups: unsigned(GROUP_BITS)
    steps: unsigned(STEP_BITS)
    values: unsigned(DIMENSION_BITS)
    table_set: unsigned(SET_BITS)
    choice: Choice


class Taken(data.Struct):
    """Which of the lanes of one phase take a unit; `phase`: the lanes' number / the machine's lanes."""

    phase: unsigned(2)
    lanes: unsigned(LANES)


class Entry(data.Struct):
    """An index entry."""

    units: unsigned(12)
    tag: unsigned(4)


class Payload(data.Struct):
    """Eight bytes of a tile; those behind its end are 0. `last`: no more words come."""

    data: unsigned(64)
    last: unsigned(1)


def check_lanes(lanes: int) -> None:
    """Raises ValueError where an encoder cannot have so many lanes."""
    if lanes not in (2, 4, 8):
        raise ValueError(f"lanes must be 2, 4 or 8, not {lanes}")


def value_write(lanes: int) -> data.StructLayout:
    """`lanes` values on their way into the values' ring."""
    return data.StructLayout({"valid": 1, "address": ring_bits(STORED_STEPS, lanes), "data": 8 * lanes})


def ring_bits(steps: int, lanes: int) -> int:
    """Bits of an address in a ring of so many steps, `lanes` values a place."""
    return (steps * LANES // lanes - 1).bit_length()


def phase_bits(lanes: int) -> int:
    """Bits of the number of a part of a step."""
    return (LANES // lanes - 1).bit_length()


def ones(bits: Iterable[Value]) -> Value:
    """How many bits are set."""
    terms: list[Value] = [*bits] or [Const(0)]
    while len(terms) > 1:
        terms = [terms[k] + terms[k + 1] if k + 1 < len(terms) else terms[k] for k in range(0, len(terms), 2)]
    return terms[0]


def symbol_layout() -> data.StructLayout:
    """What coding needs of a value: the value, the mean of its neighbours and the upper one, contexts, what runs of two
    and of four make of it, whether it is the centre."""
    return data.StructLayout({"value": 8, "mean": 8, "upper": 8, "map": 4, "spread": 4, "two": Run, "four": Run,
                              "is_centre": 1})


class Run(data.Struct):
    """In a mode with runs: one begins with the value, or covers it."""

    begins: unsigned(1)
    covered: unsigned(1)


RANK_CENTRE = 255
"""Stands for the rank of the centre, which has none."""

FEW_PIXELS, MOST_PIXELS = 8, 256
"""Pixels that the choice looks at: of tiles of FEW_PIXELS or less all, of others every other one of the first ones."""
