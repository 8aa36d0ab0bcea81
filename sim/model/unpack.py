"""The unpack unit: tiles from pages, through the decoder's slots, into memory."""

from systolith.rtl.codec.decoder_ops import Sizes
from systolith.rtl.codec.decoder_walk import LEFT_LATENCY, UPPER_LATENCY
from systolith.rtl.codec.tables import LANES, MAPS
from systolith.rtl.unpack_lines import LINES
from systolith.rtl.unpack_unit import SLOTS

from .movers import Port
from .pages import PIECE, Pages
from .program import Fields
from .shared import Shared
from .unit import Process, Unit

SET_UP = 5
"""Cycles of an instruction's check, beside one for each bit of the sides that it multiplies."""
CHANGE = 3
"""Cycles from one reader to another."""
FETCH, PARSED = 8, 12
"""Cycles from a tile's plan to its first piece, and from there to the next one, beside the memory's latency."""
FIRST_PAGE, PAGE = 9, 19
"""Cycles that a page takes before which nothing is read; and the next one, beside those that are hidden: its reader is
ahead by the pieces that have come with others of their line."""
MOST_AHEAD = 32
"""Pieces of which that can be true."""
TURN = 9
"""Cycles between the pieces of two tiles."""
NEEDED = 6
"""Pieces that a tile's first step waits for."""
BEGIN = 5
"""Turns of a tile beside those of its steps."""
STORED = 16, 3
"""Cycles from a tile's last step to its signals, and where all its values are the centre, from its last word."""
OUTSIDE = 2
"""Cycles of a request to external memory beside its latency; it comes behind the last of its lines, one a cycle."""


class UnpackUnit(Unit):
    """Slots of the decoder work on a tile each, a step each in turn.

    Parameters
    ----------
    pages: of all streams. port: to external memory; None: there is none.
    """

    def __init__(self, shared: Shared, pages: Pages, port: Port | None) -> None:
        c = shared.config
        self._pages, self._port = pages, port
        self._sizes = Sizes(c.codec_lanes, SLOTS[c.codec_lanes])
        self._beats = PIECE // max(1, c.external_bytes)  # of a piece
        self._slots = [0] * self._sizes.slots  # cycle from which each is free
        self._slot = 0
        self._setup = self._fetched = self._stored = 0
        self._ahead = 0  # pieces of the page that have been read one after the other
        self._reader = (-1, -1)
        self.unpacked: list[tuple[int, int, int]] = []
        """Beats of pages outside."""
        super().__init__("unpack", shared, ("busy", "wait_input", "wait_output", "wait_semaphore", "tiles",
                                            "zero_tiles"))

    def run(self) -> Process:
        while True:
            i, ready = yield from self.instruction()
            granted = max((yield from self.waits(i, ready)), self._setup)
            self.queue.take(granted)
            sides = max(i.columns.bit_length(), i.channels.bit_length()) + i.rows.bit_length()
            plan = granted + SET_UP + sides
            first = 0
            for number in range(i.bands * i.across):
                columns = i.columns_last if number % i.across == i.across - 1 else i.columns
                start = self._tile(i, columns, plan)
                first = first or start
                self.count("tiles", self._stored - 1, self._stored)
            self._setup = plan + i.bands * i.across
            if i.close:
                self._pages.close(i)
            self.idle, self.clock = self._stored, granted
            self.signal(i, self._stored)
            self.retire(i.tag, granted, first, self._stored)
            yield True

    def _tile(self, i: Fields, columns: int, plan: int) -> int:
        """A tile from its plan to the memory; the cycle of its first value on its way there."""
        size = max(PIECE, self._pages.size(i) * columns // i.columns // PIECE * PIECE)
        zero, raw = size == PIECE, size > i.rows * columns * i.channels
        runs = self._fetch(i, size, plan)
        begin = max(runs[0][0], 0 if zero else self._slots[self._slot])
        if zero:
            row = columns * i.channels
            beats = i.rows * -(-row // self.config.word_bytes) + 1
            start = max(begin, self._stored - STORED[1])
            end = start + beats
        else:
            steps = i.rows * columns * -(-i.channels // LANES)
            stretch = self._stretch(i, columns)
            cycles = self._sizes.period * round(steps * stretch - 2 * (stretch - 1))
            start = begin + (0 if raw else BEGIN * self._sizes.period)
            end = max(start + cycles, *(time + cycles - cycles * PIECE * (before - NEEDED) // size
                                        for time, before in runs[1:]), 0)
            self._slots[self._slot] = end + 3
            self._slot = (self._slot + 1) % len(self._slots)
            beats = i.rows * columns * sum(-(-min(LANES, i.channels - at) // self._sizes.lanes)
                                           for at in range(0, i.channels, LANES)) + 1
        self.count("zero_tiles", begin, begin + zero)
        self.count("busy", start, end, beats)
        self.idle = max(self.idle, end)
        self._stored = max(self._stored, end + STORED[zero])
        return start

    def _stretch(self, i: Fields, columns: int) -> float:
        """Turns of a step: a value's neighbours must be decoded before it."""
        latency = UPPER_LATENCY if i.table_set != MAPS or columns == 1 else LEFT_LATENCY
        between = -(-latency // self._sizes.period) - 1
        return max(1, (between + 1) / min(-(-i.channels // LANES), between + 1, 4))

    def _fetch(self, i: Fields, size: int, plan: int) -> list[tuple[int, int]]:
        """Reads a tile's pieces. For the first ones of each page: the cycle in which there are enough of them to go on,
        and how many are before them."""
        chip, runs = self.shared.banks.aligned_latency, self._pages.read(i, size)
        reply = self.shared.latency + OUTSIDE if runs[0].outside else chip
        first = FETCH + reply + (PARSED + reply if size > PIECE else 0)
        known = plan + first
        if self._reader != (i.stream, i.reader):
            self._reader = i.stream, i.reader
            known = max(known, self._fetched + first) + CHANGE
        time = max(self._fetched + (reply if runs[0].outside and size > PIECE else TURN), known)
        alone = time == known
        if alone:
            self._ahead = 0
        out: list[tuple[int, int]] = []
        pieces, line = 0, max(1, self.config.word_bytes // PIECE)
        for run in runs:
            some = run.size // PIECE
            if run.new:
                hidden = 0 if run.outside else self._ahead // line * (line - 1)
                time += FIRST_PAGE if alone and not pieces else PAGE - hidden
                if run.outside and pieces:
                    time += self.shared.latency + OUTSIDE - LINES // 2
                self._ahead = 0
            if run.outside and self._port:
                time += some // line
                start = self._port.claim(time, some * self._beats)
                end = start + some * self._beats
                self.unpacked.append((start, end, end - start))
                time = end - some
            out.append((time + (1 if pieces else min(NEEDED, some)), pieces))
            pieces += some
            time += some
            self._ahead = min(self._ahead + some, MOST_AHEAD)
        since, period = max(self._fetched, plan), self._sizes.period
        self.count("wait_input", since, time, (time - since - pieces) * (period - 1) // period)
        self._fetched = time
        return out
