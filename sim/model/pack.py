"""The pack unit: tiles through the encoder's stages and into pages."""

import math
from collections import deque

from systolith.rtl.codec.encoder_tile import FEW_PIXELS
from systolith.rtl.codec.tables import LANES

from .movers import Port
from .pages import PIECE, Pages
from .program import Fields
from .shared import Shared
from .unit import Process, Unit

SET_UP = 12
"""Cycles of an instruction's check, beside one for each bit of the sides that it multiplies."""
READ = 2
"""Cycles from the plan to the first step in the encoder, beside the memory's latency."""
TILE = 2
"""Cycles between the steps of two tiles."""
FEW = (8, 0, 24), (15, 0, 24), (31, 0, 9)
"""Tiles of at most so many pixels wait between channels (1 for each lane), and for the choice of the tile before."""
CHOICE = 34
"""Cycles from a tile's last statistics to its first code."""
EMPTY = 14
"""Cycles from the last code of a tile without payload to its entry."""
FOUND = 29, 2
"""Cycles from a tile's last code to its first word; and from its last word to the next tile's search for its end."""
PAGE = 14
"""Cycles that a new page takes, in which nothing is written."""
END = 16
"""Cycles from an instruction's last word to its signals."""
FINISH = 9
"""Cycles of the pager at a stream's end."""
NEXT = 6
"""Cycles between the words of two instructions."""
TILES = 3
"""Tiles that are coded and not sent, at most."""


class PackUnit(Unit):
    """Values are read a step a cycle; each of the encoder's stages works on a tile.

    Parameters
    ----------
    pages: of all streams. port: to external memory; None: there is none.
    """

    def __init__(self, shared: Shared, pages: Pages, port: Port | None) -> None:
        self._pages, self._port = pages, port
        self._phases = LANES // shared.config.codec_lanes
        self._beats = PIECE // max(1, shared.config.external_bytes)  # of a piece
        # cycle from which each stage is free
        self._walked = self._read = self._looked = self._coded = self._sent = self._stored = self._outside = 0
        # `_outside`: cycle of the last beat
        self._out: deque[int] = deque([0] * TILES, maxlen=TILES)
        self.packed: list[tuple[int, int, int]] = []
        """Beats of pages outside."""
        super().__init__("pack", shared, ("busy", "wait_input", "wait_output", "wait_semaphore", "tiles", "spilled"))

    def run(self) -> Process:
        while True:
            i, ready = yield from self.instruction()
            granted = yield from self.waits(i, ready)
            sides = 2 * (i.rows.bit_length() + i.channels.bit_length()) + (-(-i.channels // LANES)).bit_length()
            begin = max(granted + SET_UP + sides, self._walked)
            self.queue.take(begin)
            self._read = max(self._read, begin + READ + self.shared.banks.latency)
            waited = 0
            for number in range(i.bands * i.across):
                columns = i.columns_last if number % i.across == i.across - 1 else i.columns
                waited += self._tile(i, columns)
                self.count("tiles", self._stored - 1, self._stored)
            self._walked = self._read - READ - self.shared.banks.latency
            self._stored += NEXT
            written = max(self._stored - NEXT, self._outside + self.shared.latency) + END + (FINISH if i.close else 0)
            self.count("busy", max(begin, self.idle), written, written - max(begin, self.idle) - waited)
            self.count("wait_output", max(begin, self.idle), written, waited)
            self.idle, self.clock = written, begin
            self.signal(i, written)
            self.retire(i.tag, begin, begin, written + 1)
            yield True

    def _tile(self, i: Fields, columns: int) -> int:
        """A tile goes through all stages; cycles for which its words wait for pages."""
        pixels, groups = i.rows * columns, -(-i.channels // LANES)
        steps, passes = pixels * groups * self._phases, groups * self._phases
        size = max(PIECE, self._pages.size(i) * columns // i.columns // PIECE * PIECE)
        words = size // PIECE
        end = self._read + steps  # cycle after the last step
        self._read = end + TILE
        if i.raw:
            return self._store(i, size, end - words, end)
        _, between, before = next((few for few in FEW if pixels <= few[0]), (0, 0, 1))
        between = self.config.codec_lanes if pixels <= FEW[0][0] else between
        looks = 2 if pixels <= FEW_PIXELS else 1
        self._looked = max(end, self._looked + before) + passes * (looks * pixels + 1) + (passes - 1) * between
        code = max(self._looked + CHOICE, self._coded, self._out[0])
        self._coded = code + steps + TILE + 1
        some = 4 * (words - 1) / steps  # units of a step
        found = max(self._coded, self._sent) + (FOUND[0] if words > 1 else EMPTY)
        last = found + max(words - 1, round(steps * (1 - math.exp(-some))))
        waited = self._store(i, size, found, last)
        self._sent = max(last, self._stored - 3 * words) + FOUND[1]
        self._out.append(self._sent)
        return waited

    def _store(self, i: Fields, size: int, first: int, last: int) -> int:
        """Writes a tile's bytes, which come from cycle `first` to cycle `last`; how long they wait for pages."""
        begin = time = max(self._stored, first)
        waited = 0
        for run in self._pages.write(i, size):
            if run.new:
                time, waited = time + PAGE, waited + PAGE
                self.count("spilled", time, time + run.outside)
            if run.outside and self._port:
                beats = run.size // PIECE * self._beats
                start = self._port.claim(time + 3, beats)
                self.packed.append((start, start + beats, beats))
                waited += start - time
                self._outside = time = start + beats
            else:
                time += run.size // PIECE
        self._stored = max(time, last, begin)
        return waited
