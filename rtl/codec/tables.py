"""The activation codec's constants: hardware (`rtl.codec`) and numpy model (`sim.codec`) read the same ones.

Tuned once, on calibration inputs of eight networks and, sets 2 and 3, on made-up tensors of transformers too, and fixed
from then on: docs/codec.md says what they mean.
"""

TILE_VALUES = 4096
"""Most values that a tile may have."""

LANES = 8
"""Streams of a tile: channel c is in stream c mod 8, whatever a machine's number of lanes."""

UNIT_BITS = 16
"""Streams are cut into units of this size."""

HELD_BITS = 2 * UNIT_BITS
"""A lane that holds fewer bits takes a unit."""

LONGEST_CODE = 16
"""Bits of an escape, the longest code."""

TABLE_MODES, CONST, ZERO = 8, 8, 9
"""Modes 0..7 are tables; all values of a channel equal; all equal to the centre."""

MODE_BITS = 4

TAG_CHANNELS, TAG_RAW = 14, 15
"""Tags of an index entry: a mode for each channel in the header; not coded. Smaller: the mode of all channels."""

RUN, Z = -2, -1
"""Classes of a code: a run of centres begins; this value is the centre. Others: number of bits that follow."""

RUN_LENGTHS = (2, 4)
"""Runs that a mode may have."""

ESCAPE_ZEROS = 8
"""So many zero bits, and the rank follows in 8 bits."""

Z_THRESHOLDS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192)
"""Context of predictor Z: how many of these |left - centre| + |upper - centre| reaches."""

BUCKETS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128)
"""Thresholds of a rank's bucket in `COSTS`; bucket 15 is the centre."""

COST_BITS = 2
"""`COSTS` are in units of 1 / COST_BITS bit."""

MODES = (
    (("A", 0), ("A", 0), ("A", 2), ("A", 4), ("U", 0), ("Z", 0), ("Z", 0), ("Z", 4)),
    (("A", 0), ("A", 0), ("U", 0), ("U", 0), ("Z", 0), ("Z", 0), ("Z", 2), ("Z", 4)),
    (("A", 0), ("A", 0), ("U", 0), ("U", 0), ("Z", 0), ("Z", 0), ("Z", 0), ("Z", 0)),
    (("A", 0), ("A", 0), ("U", 0), ("Z", 0), ("Z", 0), ("Z", 0), ("Z", 0), ("Z", 0)),
)
"""Predictor and run length of table mode [set][mode]. Set 0 is for maps; in the others the upper neighbour is a running
average of the channel."""

TABLE_SETS, MAPS = len(MODES), 0
SET_BITS = (TABLE_SETS - 1).bit_length()

CODES = (
    (Z, 2, 2, 2, 2, 3, 3, 4),
    (4, 4, 4, 4, Z, 4, 4, 5),
    (2, 2, 3, Z, 3, 4, 4, 5),
    (6, Z, 4, 4, 4, 4, 5, 5),
    (0, 1, 2, 3, 4, Z, 4, 5),
    (4, Z, 3, 2, 3, 3, 3, 5),
    (Z, 4, 4, 4, 4, 4, 5, 5),
    (3, 3, 3, 4, Z, 4, 4, 5),
    (5, 4, 4, 4, 5, Z, 4, 5),
    (7, Z, 6, 5, 4, 3, 2, 2),
    (0, 4, 6, 6, Z, 6, 5, 4),
    (1, Z, 0, 1, 1, 2, 2, 4),
    (5, Z, 4, 4, 4, 4, 5, 5),
    (3, Z, 2, 2, 2, 2, 3, 4),
    (6, 5, 5, Z, 5, 5, 5, 5),
    (1, 0, 1, 2, 3, Z, 4, 4),
    (2, 1, 2, Z, 3, 4, 5, 4),
    (5, 5, 5, 5, Z, 5, 5, 6),
    (3, 3, Z, 3, 3, 4, 4, 4),
    (4, 4, Z, 3, 3, 3, 4, 5),
    (2, 2, 3, 3, 4, Z, 4, 5),
    (2, Z, 4, 4, 4, 4, 4, 4),
    (4, 4, 4, 4, 5, Z, 4, 5),
    (3, 4, 5, 5, Z, 5, 5, 6),
    (Z, 6, 6, 6, 5, 4, 3, 3),
    (5, 4, Z, 3, 3, 3, 4, 5),
    (0, 1, Z, 1, 1, 2, 3, 4),
    (Z, 3, 3, 4, 4, 4, 5, 5),
    (RUN, Z, 4, 4, 4, 4, 5, 5),
    (RUN, Z, 2, 3, 3, 4, 5, 5),
    (RUN, 5, 5, Z, 5, 5, 5, 5),
    (RUN, 3, 3, Z, 3, 3, 4, 4),
    (4, 4, 4, 4, 5, Z, 3, 5),
    (3, 4, Z, 4, 4, 4, 4, 5),
    (2, Z, 2, 3, 4, 4, 4, 5),
    (3, 3, 4, Z, 4, 4, 4, 4),
    (2, 1, 2, Z, 3, 4, 4, 5),
    (Z, 0, 1, 2, 3, 4, 5, 5),
    (6, 6, 6, 5, Z, 4, 3, 3),
    (4, 4, 4, Z, 4, 4, 4, 5),
    (2, 2, 3, Z, 3, 3, 4, 5),
    (5, 5, 5, 5, Z, 4, 5, 5),
    (3, 5, Z, 5, 5, 5, 5, 5),
    (3, 3, 4, 5, Z, 4, 5, 5),
    (4, 4, 4, 4, 4, Z, 4, 4),
    (4, 4, 5, 5, Z, 4, 5, 5),
    (3, 3, Z, 3, 4, 4, 4, 5),
    (4, 3, 3, 4, Z, 4, 4, 5),
    (7, 6, 5, 4, 3, Z, 2, 2),
    (2, 2, Z, 2, 3, 4, 4, 5),
    (4, 4, 4, 5, Z, 4, 4, 3),
    (2, 2, 2, 3, 4, Z, 4, 4),
    (4, 5, 5, 5, Z, 4, 5, 5),
    (3, 3, 3, 3, Z, 3, 3, 4),
    (5, 4, 4, 4, 4, Z, 4, 5),
    (2, 3, 4, Z, 3, 4, 4, 5),
    (3, 4, Z, 3, 4, 3, 4, 3),
    (6, 5, 5, 5, 6, Z, 4, 4),
    (2, 3, Z, 3, 3, 4, 5, 6),
    (3, 4, 4, Z, 4, 4, 4, 5),
)
"""[code]: class after 0, 1, ... 7 zero bits."""

CODE_BITS = (len(CODES) - 1).bit_length()

CODE_OF = (
    (
        (27, 2, 7, 2, 20, 2, 20, 18, 7, 7, 7, 19, 22, 25, 8, 0),
        (24, 24, 10, 21, 20, 6, 23, 6, 23, 6, 17, 12, 17, 9, 14, 0),
        (30, 10, 22, 18, 22, 7, 22, 19, 22, 1, 22, 1, 8, 17, 17, 0),
        (29, 26, 4, 11, 15, 11, 15, 13, 20, 5, 7, 19, 22, 3, 17, 0),
        (0, 26, 4, 26, 4, 11, 4, 13, 4, 13, 20, 13, 20, 27, 4, 0),
        (0, 0, 0, 0, 0, 0, 13, 13, 5, 5, 19, 25, 25, 8, 14, 9),
        (6, 6, 6, 27, 6, 6, 6, 6, 6, 12, 12, 12, 3, 14, 14, 9),
        (28, 27, 27, 27, 27, 27, 27, 6, 6, 6, 12, 12, 3, 3, 14, 9),
    ),
    (
        (18, 2, 20, 2, 20, 2, 20, 18, 7, 19, 22, 25, 8, 14, 3, 0),
        (8, 1, 17, 1, 22, 1, 22, 1, 22, 1, 8, 8, 8, 8, 8, 0),
        (18, 7, 7, 7, 7, 7, 7, 7, 1, 19, 22, 1, 8, 17, 14, 0),
        (21, 8, 8, 22, 22, 22, 22, 22, 8, 22, 8, 8, 8, 17, 14, 0),
        (16, 16, 16, 16, 16, 2, 18, 18, 23, 23, 23, 23, 23, 23, 16, 16),
        (18, 1, 1, 1, 1, 1, 1, 1, 1, 22, 1, 22, 22, 17, 14, 2),
        (31, 23, 7, 23, 7, 18, 7, 7, 18, 18, 7, 18, 23, 2, 7, 7),
        (28, 6, 23, 23, 23, 23, 23, 14, 14, 14, 17, 17, 17, 17, 17, 9),
    ),
    (
        (56, 7, 39, 53, 53, 53, 53, 53, 47, 47, 1, 54, 41, 41, 7, 7),
        (54, 8, 41, 1, 44, 1, 44, 1, 44, 44, 54, 54, 8, 8, 8, 54),
        (39, 1, 44, 39, 1, 39, 44, 39, 44, 1, 44, 1, 8, 8, 57, 1),
        (21, 8, 8, 54, 8, 54, 8, 8, 8, 8, 8, 8, 8, 41, 57, 8),
        (7, 53, 53, 53, 53, 53, 53, 47, 47, 39, 50, 45, 41, 57, 48, 38),
        (56, 32, 1, 50, 1, 44, 50, 32, 32, 44, 50, 32, 45, 44, 52, 55),
        (8, 1, 32, 39, 50, 1, 1, 1, 44, 54, 8, 8, 41, 57, 57, 57),
        (8, 44, 8, 41, 8, 8, 8, 54, 41, 8, 41, 41, 41, 57, 57, 57),
    ),
    (
        (55, 40, 51, 49, 51, 40, 51, 35, 7, 35, 47, 8, 52, 57, 40, 40),
        (50, 58, 7, 40, 53, 40, 53, 7, 47, 47, 44, 54, 54, 41, 54, 7),
        (34, 59, 59, 55, 7, 35, 1, 7, 50, 39, 44, 1, 54, 8, 8, 59),
        (37, 37, 37, 37, 34, 34, 34, 58, 58, 33, 33, 42, 42, 42, 42, 45),
        (36, 36, 36, 36, 36, 36, 35, 35, 35, 59, 1, 44, 41, 57, 38, 48),
        (33, 34, 34, 34, 49, 49, 46, 46, 35, 35, 59, 39, 45, 41, 38, 48),
        (42, 33, 33, 33, 33, 33, 42, 42, 42, 42, 42, 42, 42, 42, 42, 42),
        (43, 46, 43, 43, 43, 43, 43, 45, 45, 45, 52, 52, 52, 41, 57, 57),
    ),
)
"""[set][mode][context]: number of the code."""

RUN_COSTS = {28: 1, 29: 1, 30: 3, 31: 5}
"""What a centre is taken to cost where a code has runs: [code]."""


def rank_lengths(code: int) -> list[int]:
    """Bits of each rank 0..254."""
    lengths = [zeros + 1 + kind for zeros, kind in enumerate(CODES[code]) if kind >= 0 for _ in range(1 << kind)]
    return [*lengths, *[LONGEST_CODE] * 255][:255]


def _costs(code: int) -> tuple[int, ...]:
    """[bucket]: what the encoder takes a value to cost, in 1 / COST_BITS bit, 31 at most. In a bucket the first rank
    counts nearly seven times as much as the last one."""
    lengths, costs = rank_lengths(code), []
    for first, end in zip((0, *BUCKETS), (*BUCKETS, 255), strict=True):
        weights = [(end - first) / (end - first + 6 * k) for k in range(end - first)]
        total = sum(weight * length for weight, length in zip(weights, lengths[first:end], strict=True))
        costs.append(min(int(COST_BITS * total / sum(weights) + 0.5), 31))
    return *costs, RUN_COSTS.get(code, COST_BITS * (CODES[code].index(Z) + 1))


COSTS = tuple(tuple(tuple(_costs(code) for code in contexts) for contexts in modes) for modes in CODE_OF)
"""[set][mode][context][bucket]: what the encoder takes a value to cost when it chooses the mode of a channel."""
