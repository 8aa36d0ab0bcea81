"""The unpack unit: tiles from pages, through the decoder's slots, into memory."""

from systolith.rtl.codec.decoder_ops import Sizes
from systolith.rtl.codec.decoder_walk import LEFT_LATENCY, UPPER_LATENCY
from systolith.rtl.codec.tables import LANES
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
FIRST_PAGE, PAGE, AHEAD = 9, 18, 5
"""Cycles that a page takes that a tile begins with; that it goes on in; and where pieces that have come before hide as
much of them as possible: each hides half of a cycle."""
TURN = 9
"""Cycles between the pieces of two tiles."""
NEEDED = 6
"""Pieces that a tile's first step waits for."""
BEGIN = 12
"""Cycles of a tile beside its steps' turns."""
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
        begin = self._fetch(i, size, plan, 0 if zero else self._slots[self._slot])
        if zero:
            row = columns * i.channels
            beats = i.rows * -(-row // self.config.word_bytes) + 1
            start = max(begin, self._stored - STORED[1])
            end = start + beats
        else:
            steps = i.rows * columns * -(-i.channels // LANES)
            stretch = self._stretch(i, columns)
            turns = round(steps * stretch - 2 * (stretch - 1))
            start = begin + (0 if raw else BEGIN)
            end = max(start + self._sizes.period * turns, self._fetched + NEEDED)
            self._slots[self._slot] = end + 3
            self._slot = (self._slot + 1) % len(self._slots)
            beats = i.rows * columns * sum(-(-min(LANES, i.channels - at) // self._sizes.lanes)
                                           for at in range(0, i.channels, LANES)) + 1
        self.count("zero_tiles", begin, begin + zero)
        self.count("busy", start, end, beats)
        self.count("wait_input", max(plan, self.idle), start)
        self.idle = max(self.idle, end)
        self._stored = max(self._stored, end + STORED[zero])
        return start

    def _stretch(self, i: Fields, columns: int) -> float:
        """Turns of a step: a value's neighbours must be decoded before it."""
        latency = UPPER_LATENCY if i.rows == 1 or columns == 1 else LEFT_LATENCY
        between = -(-latency // self._sizes.period) - 1
        return max(1, (between + 1) / min(-(-i.channels // LANES), between + 1, 4))

    def _fetch(self, i: Fields, size: int, plan: int, free: int) -> int:
        """Reads a tile's pieces; the cycle in which it can begin in a slot that is free from cycle `free` on."""
        chip, runs = self.shared.banks.aligned_latency, self._pages.read(i, size)
        reply = self.shared.latency + OUTSIDE if runs[0].outside else chip
        first = FETCH + reply + (PARSED + reply if size > PIECE else 0)
        known = plan + first
        if self._reader != (i.stream, i.reader):
            self._reader = i.stream, i.reader
            known = max(known, self._fetched + first) + CHANGE
        time = max(self._fetched + (reply if runs[0].outside and size > PIECE else TURN), known)
        page = AHEAD if time > known else FIRST_PAGE
        pieces, begin = 0, 0
        for run in runs:
            some = run.size // PIECE
            if run.new:
                time += PAGE - LINES // 2 + self.shared.latency + OUTSIDE if run.outside and pieces else page
            if run.outside and self._port:
                time += run.size // max(PIECE, self.config.word_bytes)
                start = self._port.claim(time, some * self._beats)
                end = start + some * self._beats
                self.unpacked.append((start, end, end - start))
                time = end - some
            needed = NEEDED - pieces
            if needed > 0:
                begin = time + min(needed, some)
            pieces += some
            time += some
            page = AHEAD if page == AHEAD else max(AHEAD, PAGE - some // 2)
        self._fetched = time
        return max(begin, free)
