"""The units that work on memory alone: depthwise convolution, softmax and norms."""

from collections import deque
from typing import NamedTuple

from systolith.rtl.depthwise_outputs import output_lanes
from systolith.rtl.depthwise_setup import REACH, ROWS
from systolith.rtl.depthwise_walk import COLUMNS
from systolith.rtl.isa import NORM_ELEMS
from systolith.rtl.norm_root import CYCLES as ROOT
from systolith.rtl.vector_address import SLOTS

from .program import Fields
from .shared import Shared
from .unit import Process, Unit

MEASURE = 5
"""Cycles that the depthwise unit measures a window, beside one for each of its rows or columns."""
STRIP = 11
"""Cycles from the plan of an instruction to the first word of its first strip."""
ARRIVAL = 4
"""Cycles from the answer of the memory to the first tap that uses it."""
NEXT = 3
"""Cycles without a word between two strips."""
TILE = 3
"""Cycles that a tile takes at least."""
OUTPUT = 26
"""Cycles from a tile's last tap to the grant of its first output."""
DIVISION = 15
"""Cycles that a row of a softmax takes at least."""
TABLE = 256
SOFTMAX = 60
"""Cycles from a row's last read to its last output, beside those of the passes."""
MOMENTS = 60
"""Cycles from the grant of a row's last read to the first chunk of its second pass."""
ROWS_AHEAD = 7
"""Rows that the norm unit reads before it has its parameters, at most."""
NORM = 30
"""Cycles from a chunk in the norm unit's second pass to the grant of its output."""


class Strip(NamedTuple):
    """Output rows of the depthwise unit that are computed side by side: words to read, input columns, tiles, cycles
    of a tile, and outputs of a tile."""

    words: int
    columns: int
    tiles: int
    each: int
    outputs: int


def strips(i: Fields, cols: int, lanes: int, banks: int) -> list[Strip]:
    """The strips of one group of channels of a DEPTHWISE instruction."""
    side = lanes // cols
    window_y, window_x = (i.ky - 1) * i.y_dilation + 1, (i.kx - 1) * i.x_dilation + 1
    height = side
    while height > 1 and (height - 1) * i.y_step + window_y > ROWS:
        height //= 2
    overlaps = i.x_step <= window_x
    wide = side > 1 and overlaps and (side - 1) * i.x_step + window_x <= REACH
    columns = window_x + (i.rows_x - 1) * min(i.x_step, window_x)
    positions = ([i.x_start + k for k in range(columns)] if overlaps else
                 [i.x_start + x * i.x_step + k for x in range(i.rows_x) for k in range(window_x)])
    inside = sum(0 <= ix < i.width for ix in positions)
    chunks = -(-cols // output_lanes(cols, side))
    out = []
    for y in range(0, i.rows_y, height):
        rows = min(height, i.rows_y - y)
        top = i.y_start + y * i.y_step
        bottom = top + (rows - 1) * i.y_step + window_y
        high = max(0, min(bottom, i.height) - max(top, 0))
        across = side // (1 << (rows - 1).bit_length()) if wide else 1
        pixels = rows * min(across, i.rows_x)
        words = high * inside + columns - inside if high else columns
        words += NEXT + rows * i.rows_x // banks  # outputs take banks now and then
        out.append(Strip(words, columns, -(-i.rows_x // across), max(i.ky * i.kx, pixels * chunks, TILE), pixels))
    return out


def _freed(window: deque[tuple[int, int, int]]) -> int:
    """When the last column of the newest strip finds room: the window's older columns are computed by then."""
    older = sum(columns for columns, _, _ in window) - COLUMNS
    while window and older > window[0][0]:
        older -= window.popleft()[0]
    if older <= 0:
        return 0
    columns, start, end = window[0]
    return start + (end - start) * older // columns


class DepthwiseUnit(Unit):
    """A tap a cycle for lanes / cols outputs; the words are read ahead, as far as the window's columns reach."""

    def __init__(self, shared: Shared) -> None:
        self._set = 2 * -(-4 * shared.config.cols // shared.config.word_bytes) + 1
        super().__init__("depthwise", shared, ("busy", "wait_input", "wait_output", "wait_semaphore"))

    def run(self) -> Process:
        lanes = self.config.depthwise_lanes
        arrival = self.shared.banks.latency + ARRIVAL
        fetched = computed = -1  # cycles of the last word's request and of the last tap
        setup, feed = 0, self.shared.feed
        window: deque[tuple[int, int, int]] = deque()  # strips with columns in the window: how many, first and last tap
        closed: deque[int] = deque([-1] * SLOTS, maxlen=SLOTS)
        while True:
            i, ready = yield from self.instruction()
            begin = max((yield from self.waits(i, ready)), setup)
            plan = max(begin + MEASURE + max(i.ky, i.kx), closed[0] + 1)
            self.queue.take(plan)
            setup = plan + 1
            fetched, first, busy = max(fetched, plan + STRIP), 0, 0
            group = strips(i, self.config.cols, lanes, self.config.banks)
            before = computed + 1
            # what the array does until then is to be known
            self.clock = max(before, plan) + i.tiles * sum(strip.tiles * strip.each for strip in group)
            yield True
            inputs = [self.shared.banks.read(i.a + x * i.a_pixel + y * i.a_row)
                      for x in range(min(i.width, COLUMNS)) for y in range(min(i.height, i.ky + 3))]
            for _ in range(i.tiles):
                constants = i.ky * i.kx + self._set
                for strip in group:
                    begins = fetched + constants + strip.words // strip.columns * min(strip.columns, i.kx)
                    start = max(computed + 1, begins + arrival)
                    end = start + strip.tiles * strip.each - 1
                    window.append((strip.columns, start, end))
                    fetched = max(feed.passes(fetched, constants + strip.words, inputs, straight=False), _freed(window))
                    computed = max(end, fetched + arrival + strip.each)
                    busy += strip.tiles * i.ky * i.kx
                    first = first or start
                    constants = 0
            written = computed + OUTPUT + group[-1].outputs
            closed.append(written)
            self.count("busy", first, computed + 1, busy)
            self.count("wait_input", max(before, plan), computed + 1, computed + 1 - max(before, plan) - busy)
            self.idle, self.clock = computed + 1, computed
            self.signal(i, written + 1)
            self.retire(i.tag, begin, first, written + 1)
            yield True


class SoftmaxUnit(Unit):
    """Three passes over different rows at once; the table of an instruction is loaded while the one before it runs."""

    def __init__(self, shared: Shared) -> None:
        super().__init__("softmax", shared, ("busy", "wait_input", "wait_output", "wait_semaphore"))

    def run(self) -> Process:
        ended = loaded = -1  # cycles of the last row's first pass, and of the last table's load
        while True:
            i, ready = yield from self.instruction()
            begin = yield from self.waits(i, ready)
            self.queue.take(begin)
            chunks = -(-i.elems // self.config.softmax_lanes)
            loaded = max(loaded, begin) + TABLE + self.shared.banks.latency
            start = max(begin + 2, ended + 1)
            ended = max(start + i.rows * max(chunks, DIVISION), loaded + (i.rows - 1) * max(chunks, DIVISION))
            written = ended + 2 * chunks + SOFTMAX
            self.count("busy", start, written, written - start)
            self.idle, self.clock = ended + 1, ended
            self.signal(i, written + 1)
            self.retire(i.tag, begin, start, written + 1)
            yield True


class NormUnit(Unit):
    """Two passes over different rows at once; the parameters of an instruction are loaded while the one before it
    runs, where there is room for both."""

    def __init__(self, shared: Shared) -> None:
        super().__init__("norm", shared, ("busy", "wait_input", "wait_output", "wait_semaphore"))

    def run(self) -> Process:
        lanes = self.config.norm_lanes
        room = NORM_ELEMS // lanes
        read = loaded = made = -1  # cycles of the last chunk of the first pass, of the last parameters, of the second
        held = 0  # chunks of parameters of the instruction before
        while True:
            i, ready = yield from self.instruction()
            begin = yield from self.waits(i, ready)
            self.queue.take(begin)
            chunks = -(-i.elems // lanes)
            each = max(chunks, ROOT, 2 * chunks + MOMENTS - room)
            fetch = max(loaded, begin) if held + chunks <= room else max(loaded, begin, made)
            loaded, held = fetch + self._load(i, chunks, each) + self.shared.banks.latency, chunks
            start = max(begin + 2, read + 1)
            first = max(start + chunks + MOMENTS, loaded, made + NORM)
            made = first + (i.rows - 1) * each + chunks
            read = max(start + chunks, made - chunks - MOMENTS)
            written = made + NORM
            self.count("busy", start, written, written - start)
            self.idle, self.clock = read + 1, read
            self.signal(i, written + 1)
            self.retire(i.tag, begin, start, written + 1)
            yield True

    def _load(self, i: Fields, chunks: int, each: int) -> int:
        """Cycles that the parameters take at the port that they share with the rows."""
        word_bytes = self.config.word_bytes
        words = max(-(-8 * i.elems // word_bytes), chunks)
        row = -(-(i.elems << i.in_type) // word_bytes)
        ahead = min(row * min(i.rows, ROWS_AHEAD), (NORM_ELEMS << i.in_type) // word_bytes)
        return words + min(ahead, words * row // max(each - row, row))
