"""The array: rows, weight tiles and accumulator blocks of ARRAY instructions."""

from collections import deque
from collections.abc import Callable, Generator
from functools import cache
from itertools import islice

from systolith.rtl.feeder import Feeder
from systolith.rtl.multiply import Products
from systolith.sim.golden.array import check_array
from systolith.sim.machine.machine import MachineError

from .banks import LOADED, array_pace, feeder_rows
from .program import Fields
from .semaphores import Semaphore, granted
from .shared import Reading, Shared
from .unit import Process, Unit

FIRST_ROW = 8
"""Cycles from the feeder's start of an instruction to its first row, beside the memory's latency."""
AHEAD = Feeder.DEPTH + 2
"""Rows whose addresses are made before the array takes them, at most."""
LAST_READ = 3
"""Cycles from the last address to the instruction's signals."""
SAMPLE = 64
"""Rows that stand for all of an instruction where others meet them in memory."""
LONG_AGO = -(1 << 40)
_SHAPE = ("rows_y", "rows_x", "ky", "kx", "kc", "tiles", "y_start", "height", "y_step", "y_dilation", "x_start",
          "row_bytes", "row_pitch", "x_step", "kx_step", "kc_step", "strided")


def product_cycles(i: Fields) -> int:
    """Cycles that the products of an instruction's row pitch take; see `RowProducts`."""
    start = i.y_start.bit_length() if i.y_start >= 0 else (~i.y_start).bit_length() + 1
    return 2 + max(start, i.y_step.bit_length(), i.y_dilation.bit_length())


class ArrayUnit(Unit):
    """A tile of weights costs max(its rows, `rows`) cycles; more where its weights, its half of the accumulators or its
    first row are late."""

    def __init__(self, shared: Shared) -> None:
        c = shared.config
        self._rows, self._blocks, self._banks, self._feed = c.rows, shared.blocks, shared.banks, shared.feed
        self._settled = c.rows + Products.latency + 4 + c.cols  # cycles from a row's entry to its sum, written
        self._loaded = shared.banks.aligned_latency + LOADED  # from the grant of a tile's last word to the swap
        self._paces: dict[tuple[int, ...], tuple[int, int]] = {}
        # of the last tiles, newest last: cycle of the swap, of the grant of the last word, of the take's grant
        self._swaps = deque([LONG_AGO] * 3, maxlen=3)
        self._read = deque([LONG_AGO] * 2, maxlen=2)
        self._granted = LONG_AGO
        self._entered = -1  # cycle of the last row
        self._fed = -1  # cycle in which the feeder has made the last address
        super().__init__("array", shared,
                         ("busy", "wait_weights", "wait_input", "wait_accumulators", "wait_semaphore"))

    def run(self) -> Process:
        while True:
            i, ready = yield from self.instruction()
            # Takes of the tiles before go first.
            granted_ = yield from self.waits(i, max(ready, self._read[0] + 1, self._granted + 1))
            offered = max(granted_, ready + product_cycles(i))
            feed, load = max(offered, self._fed + 1), max(offered, self._read[1] + 1)
            self.queue.take(max(feed, load))
            first_row = feed + FIRST_ROW + self._banks.latency
            self.count("wait_input", max(feed, self._entered) + 1, first_row)
            rows, tiles = i.rows_y * i.rows_x, i.ky * i.kx * i.kc
            try:
                check_array(i, self.config)
            except ValueError as error:
                raise MachineError(f"ILLEGAL_OPERAND: {error}") from None
            step = i.x_step if i.rows_x > 1 else i.y_step * i.row_pitch
            pace = self._pace(i)
            sample = self._sample(i, rows, pace[0] // pace[1])
            self._granted = load
            begin = 0
            for block in range(i.tiles):
                row = first_row if block == 0 else LONG_AGO
                swap = yield from self._block(i, load, row, rows, tiles, pace)
                begin = begin or swap
                if 2 * rows * tiles > self._entered - swap:  # else it mostly waits for weights
                    self._feed.add(Reading(swap - AHEAD, self._entered - AHEAD, sample,
                                           step < self.config.word_bytes, max(1, rows // self._rows)))
                self._blocks.done.append(self._entered + self._settled)
                self.clock = self._entered
                yield True
            self._fed = max(feed + rows * tiles * i.tiles, self._row_before(AHEAD, rows))
            self.signal(i, max(self._fed, self._read[1]) + LAST_READ)
            self.idle = self._entered + 1
            self.retire(i.tag, max(feed, load), begin, self._blocks.done[-1] + 1)

    def _pace(self, i: Fields) -> tuple[int, int]:
        """Cycles for a number of tiles: (cycles, tiles)."""
        period = self._banks.period
        key = (*(getattr(i, name) for name in _SHAPE), i.a % period, i.b % period,
               *((i.ring, i.ring_bytes) if i.strided else ()))
        if key not in self._paces:
            self._paces[key] = array_pace(i, self.config, self._banks)
        return self._paces[key]

    def _sample(self, i: Fields, rows: int, pace: int) -> Callable[[], list[int]]:
        """The banks of some of an instruction's rows, found when somebody wants to know them.

        A tile of `rows` rows takes `pace` cycles.
        """
        @cache
        def sample() -> list[int]:
            feed = list(islice(feeder_rows(i, self._rows, self._banks), SAMPLE))
            idle = [0] * (pace - rows)
            return [banks for at in range(0, len(feed), rows) for banks in (*feed[at:at + rows], *idle)]

        return sample

    def _row_before(self, count: int, rows: int) -> int:
        """About when the row `count` rows before the last one was taken."""
        if count < rows:
            return self._entered - count
        return self._swaps[max(0, 2 - count // rows)]

    def _block(self, i: Fields, load: int, first_row: int, rows: int, tiles: int, pace: tuple[int, int],
               ) -> Generator[bool, None, int]:
        """The K tiles of one block of accumulators; the cycle of its first row.

        load: cycle in which the loader got the instruction. first_row: the
        earliest cycle of the first row. pace: see `_pace`.
        """
        height, number = self._rows, len(self._blocks.done)
        while number >= 2 and len(self._blocks.drained) < number - 1:
            self.waits_for = "a free half of the accumulators"
            self.stays(self._blocks.drained)
            yield False
        drained = self._blocks.drained[number - 2] if number >= 2 else (LONG_AGO, LONG_AGO)
        ready = self.shared.semaphores[i.ready] if i.ready else None
        free = self.shared.semaphores[i.free] if i.free else None
        swap3, swap2, swap1 = self._swaps
        read2, read1 = self._read
        taken, entered = self._granted, self._entered
        each, rest = divmod(pace[0], pace[1])
        loaded = self._loaded + (height if i.transposed else 0)  # words wait until their tile is turned round
        debt = late_weights = late_blocks = refused = 0
        first = 0
        settle = max(0, 4 - rows)
        progress = False
        for tile in range(tiles):
            start = load + 1
            if ready is not None:
                while ready.taken == len(ready.times):
                    self.waits_for, self.clock = "a tile of weights", entered
                    if not progress:
                        self.stays(ready.times)
                    yield progress
                    progress = False
                asked = max(taken, read2, load) + 1
                taken = granted(asked, ready.times[ready.taken])
                refused += max(0, taken - asked - rows)
                ready.taken += 1
                start = taken + 1
            read = max(read1 + 1, start) + height - 1
            room = swap3 + height
            if read < room:
                read = room
            if free is not None:
                free.give(read + 1)
            follows = entered + 1
            debt += rest
            weights = max(read + loaded, swap1 + each + debt // pace[1])
            debt %= pace[1]
            space = follows + settle if tile else max(drained[0] + 1, first_row)
            if tile == 1:
                space = max(space, drained[1] + 2)
            swap = max(follows, weights, space)
            if weights >= space:
                late_weights += swap - follows
            elif space > first_row:
                late_blocks += swap - follows
            entered = swap + rows - 1
            if not tile:
                first = swap
                if entered <= drained[1]:
                    late_blocks += drained[1] + 1 - entered
                    entered = drained[1] + 1
            swap3, swap2, swap1 = swap2, swap1, swap
            read2, read1 = read1, read
            progress = True
            left = tiles - tile - 1
            if (read == room and left > 3 and tile and rows == each and not rest
                    and swap1 - swap2 == rows == swap2 - swap3 and (ready is None or self._early(ready, left, swap1))):
                # From here on no row waits: a tile every `rows` cycles.
                reads = range(swap3 + height, swap3 + height + rows * left, rows)
                for read in reads if free is not None else ():
                    free.give(read + 1)  # type: ignore[union-attr]
                if ready is not None:
                    ready.taken += left
                    taken = reads[-3] + 5
                read2, read1 = reads[-2:]
                entered += rows * left
                swap1 += rows * left
                swap2, swap3 = swap1 - rows, swap1 - 2 * rows
                break
        self.count("busy", first, entered + 1, rows * tiles)
        self.count("wait_weights", self._entered + 1, entered + 1, late_weights)
        self.count("wait_semaphore", self._entered + 1, entered + 1, refused)
        self.count("wait_accumulators", self._entered + 1, entered + 1, late_blocks)
        self._swaps.extend((swap3, swap2, swap1))
        self._read.extend((read2, read1))
        self._granted, self._entered = taken, entered
        return first

    def _early(self, ready: Semaphore, left: int, swap: int) -> bool:
        """Whether the weights of the next `left` tiles have come long before they are needed."""
        last = ready.taken + left
        return last <= len(ready.times) and ready.times[last - 1] + self._rows + 2 * self._loaded <= swap
