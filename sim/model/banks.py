"""Conflicts in the banks of the unified memory: which banks an access uses, and what they do to the array's pace."""

from collections.abc import Iterator
from itertools import count, islice

from systolith.rtl.config import ADDRESS_BITS, Config
from systolith.rtl.isa import ARRAY
from systolith.rtl.memory import UnifiedMemory

from .program import Fields

ROWS_AHEAD = 19
"""Rows between a feeder's request and the array, when the feeder is as far ahead as it can be."""
LOADED = 2
"""Cycles from a weight tile's last word to the earliest swap."""
TILES = 12
"""Weight tiles that `array_pace` follows."""
BUSY = 3
"""From so many times `rows` rows a tile on the weight loader finds gaps enough, unless it meets one bank always."""


class Banks:
    """Which banks an access uses, as a set of bits; where words lie is the memory's own rule."""

    def __init__(self, config: Config) -> None:
        memory = UnifiedMemory(config.memory_bytes, config.banks, config.word_bytes, {"a": True, "b": False}, {}, "a")
        self.aligned_latency, self.latency = memory.latencies["a"], memory.latencies["b"]
        """Cycles from the grant of a read to the answer, at an aligned port and at the others."""
        self.word_bytes = config.word_bytes
        self.period = config.word_bytes * config.banks ** 2
        """Bytes after which the rule repeats."""
        self._banks = [1 << memory.place(at)[0] for at in range(0, self.period, config.word_bytes)]
        self._sets: dict[int, list[int]] = {}

    def word(self, number: int) -> int:
        """The bank of a word."""
        return self._banks[number % len(self._banks)]

    def sets(self, count: int) -> list[int]:
        """The banks of `count` bytes, at most a word, from each address of a period on."""
        if count not in self._sets:
            word = self.word_bytes
            self._sets[count] = [self.word(at // word) | self.word((at + count - 1) // word)
                                 for at in range(self.period)]
        return self._sets[count]

    def bytes(self, address: int, count: int) -> int:
        """The banks of `count` bytes, at most a word, from an address on."""
        return self.sets(count)[address % self.period]

    def read(self, address: int) -> int:
        """The banks of a word that starts at any byte."""
        return self.bytes(address, self.word_bytes)


def feeder_rows(i: Fields, rows: int, banks: Banks) -> Iterator[int]:
    """The banks that each row of an ARRAY instruction asks for, 0 where it needs no memory."""
    words, period = banks.sets(banks.word_bytes), banks.period
    for _ in range(i.tiles):
        for ky in range(i.ky):
            for kx in range(i.kx):
                for kc in range(i.kc):
                    for y in range(i.rows_y):
                        iy = i.y_start + y * i.y_step + ky * i.y_dilation
                        at = i.a + iy * i.row_pitch
                        first = i.x_start + kx * i.kx_step + kc * i.kc_step
                        for bx in (first + x * i.x_step for x in range(i.rows_x)):
                            inside = 0 <= iy < i.height and -rows < bx < i.row_bytes
                            yield words[(at + bx) % period] if inside else 0


def weight_words(i: Fields, config: Config) -> Iterator[int]:
    """Numbers of the words of an ARRAY instruction's weights, as they are read; a ring does not end here."""
    word = config.word_bytes
    if not i.strided:
        yield from count(i.b // word)
    row, kc_step, tile_step = (getattr(i, ARRAY.second_names[name]) for name in ("b_row", "b_kc", "b_tile"))
    for tile in range(i.tiles):
        for kc in range(i.kc):
            at = i.b + tile * tile_step + kc * kc_step
            yield from ((at + r * row) % (1 << ADDRESS_BITS) // word for r in range(config.rows))


def array_pace(i: Fields, config: Config, banks: Banks) -> tuple[int, int]:
    """Cycles that a number of weight tiles take where weights and accumulators are there: (cycles, tiles).

    The feeder always wins, so the weight loader reads its words between the feeder's rows.
    """
    height, rows = config.rows, i.rows_y * i.rows_x
    usual = max(rows, height), 1
    if i.tiles * i.ky * i.kx * i.kc < 6:
        return usual
    feed = list(islice(feeder_rows(i, height, banks), TILES * rows + ROWS_AHEAD if rows < BUSY * height else rows))
    if rows >= BUSY * height:
        always = -1
        for banks_used in feed[:2 * height]:
            always &= banks_used or -1
        if always in (0, -1):
            return usual  # the loader finds gaps enough
        feed = list(islice(feeder_rows(i, height, banks), TILES * rows + ROWS_AHEAD))
    swaps: list[int] = []
    words, time, running = weight_words(i, config), -1, 0
    for tile in range(min(TILES, len(feed) // rows)):
        room = swaps[tile - 3] + 1 if tile >= 3 else 0
        for row in range(height):
            time = max(time + 1, room + row)
            bank = banks.word(next(words))
            while running + 1 < tile and swaps[running + 1] < time:
                running += 1
            if swaps:
                time = _past_rows(time, bank, feed, swaps, running, tile, rows)
        swap = time + banks.aligned_latency + LOADED
        if tile:
            swap = max(swap, swaps[-1] + max(rows, height))
        swaps.append(swap)
    start = min(3, len(swaps) - 2)
    return swaps[-1] - swaps[start], len(swaps) - 1 - start


def _past_rows(time: int, bank: int, feed: list[int], swaps: list[int], running: int, tiles: int, rows: int) -> int:
    """The first cycle from `time` on in which the feeder does not ask for a bank."""
    while True:
        taken = time - 1 - swaps[running]  # row of the tile that the array took a cycle before: another was asked for
        if taken >= rows:
            if running + 1 == tiles or swaps[running + 1] >= time:
                return time  # the array waits for weights
            running += 1
            continue
        at = running * rows + taken + ROWS_AHEAD
        if taken < 0 or at >= len(feed) or not feed[at] & bank:
            return time
        time += 1
