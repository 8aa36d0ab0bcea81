"""The vector unit: steps of VECTOR instructions."""

from collections import deque
from collections.abc import Generator
from itertools import islice

from systolith.rtl import isa
from systolith.rtl.vector_address import SLOTS
from systolith.rtl.vector_tables import ROWS as TABLE_ROWS

from .operands import OUTPUT, Operands
from .program import Fields
from .shared import Shared
from .unit import Process, Unit

Starts = list[tuple[int, int]]
"""Runs of steps: the first one's cycle, and how many."""

SET_UP = 2
"""Cycles from taking an instruction to what is known of it at once."""
PRODUCTS = 12, 18
"""The same for the products of one operand, and of two."""
FIRST_STEP = 7
"""Cycles from the loops' start of an instruction to its first step in the pipeline."""
ASKS = 6
"""Cycles from the loops' start to the first request for an operand."""
AHEAD = 22
"""Steps between the loops and the pipeline, at most."""
PARAMETERS = 2
"""Cycles from the request for a parameter set to its use, beside the memory's latency and one for each word."""
TABLE = 5
"""The same for a table."""
OUTPUTS = 32
"""Outputs that stand for all of an instruction where they meet the array's rows in memory."""
ROWS = 4
"""Cycles from a complete block of accumulators to its first row in the pipeline."""
HELD = 4
"""Rows of accumulators that are read before the pipeline takes them."""


class VectorUnit(Unit):
    """A step a cycle: min(lanes, word_bytes / largest element) elements of one window position."""

    def __init__(self, shared: Shared) -> None:
        c = shared.config
        self._blocks, self._operands = shared.blocks, Operands(shared)
        self._latency = shared.banks.aligned_latency
        self._set = 2 * -(-4 * c.cols // c.word_bytes) + 1  # words of a parameter set
        self._planned: deque[tuple[Fields, int]] = deque()
        self._setup: int | None = 0  # cycle from which the set-up is free; None: not known yet
        # cycle from which each part can take the next instruction
        self._parameters = self._loops_free = 0
        self._end = -1  # cycle of the last step
        super().__init__("vector", shared, ("busy", "wait_input", "wait_output", "wait_semaphore"))

    def run(self) -> Process:
        front, loops = self._front(), self._loops()
        while True:
            progress = next(front)
            progress = next(loops) or progress
            self.until = None  # each part waits for something else
            yield progress

    def _front(self) -> Process:
        """Waits and set-up: one instruction ahead of the one in the loops."""
        while True:
            i, ready = yield from self.instruction()
            granted = yield from self.waits(i, ready)
            while self._setup is None:
                yield False
            begin = max(granted, self._setup)
            self._setup = None
            self.queue.take(begin)
            self._planned.append((i, begin))
            yield True

    def _loops(self) -> Process:
        closed: deque[int] = deque([-1] * SLOTS, maxlen=SLOTS)
        while True:
            while not self._planned:
                yield False
            i, begin = self._planned.popleft()
            accumulators = i.source == isa.ACCUMULATORS
            fetch = max(begin + SET_UP, self._parameters)
            plan = max(fetch, begin + (SET_UP if accumulators else PRODUCTS[i.operands]))
            if i.lookup:
                plan = max(plan, max(begin + SET_UP, closed[0] + 1) + TABLE + self._latency + TABLE_ROWS)
            load = max(plan + 1, self._loops_free, closed[0] + 1)
            self._setup = load + 1
            starts: Starts = []
            if accumulators:
                written = yield from self._tiles(i, load, fetch, starts)
            else:
                written = yield from self._memory(i, load, fetch, starts)
            self._parameters = starts[-1][0] + 1
            self._loops_free = max(load + sum(count for _, count in starts) + 1, _step_before(AHEAD, starts) + 1)
            closed.append(written)
            self.idle = self._end + 1
            self.signal(i, written + 1)
            self.retire(i.tag, begin, starts[0][0], written + 1)
            yield True

    def _tiles(self, i: Fields, load: int, fetch: int, starts: Starts) -> Generator[bool, None, int]:
        """Steps on accumulators, block by block; the cycle in which the last output is in memory."""
        first, blocks = load + FIRST_STEP, self._blocks
        steps = self._steps(i)
        size = min(i.elems << i.out_type, self.config.word_bytes)
        places = (i.c + y * i.c_row + x * i.c_pixel for y in range(i.ny) for x in range(i.nx))
        outputs = [self.shared.banks.bytes(at, size) for at in islice(places, OUTPUTS)]
        straight = i.c_pixel <= self.config.word_bytes and i.nx > 1
        for tile in range(i.tiles):
            while len(blocks.done) <= len(blocks.drained):
                self.waits_for = "a block of accumulators"
                yield False
            done = blocks.done[len(blocks.drained)]
            start = max(self._end + 1, first, fetch + PARAMETERS + self._latency + self._set, done + ROWS)
            count = steps[tile == i.tiles - 1]
            self.clock = start + count  # what the array does until then is to be known
            yield True
            end = self.shared.feed.passes(start + OUTPUT, count, outputs, straight=straight) - OUTPUT - 1
            self._step(load, start, count, starts, end)
            self._drain(done, start, starts[-1][1], i.ny * i.nx)
            fetch = start
            yield True
        return self._operands.outputs(self._end)

    def _memory(self, i: Fields, load: int, fetch: int, starts: Starts) -> Generator[bool, None, int]:
        """The same on operands in memory."""
        some, last = self._steps(i)
        count = some * (i.tiles - 1) + last
        words = 5 if i.operands else 3
        begin = max(self._end + 1, load + FIRST_STEP, fetch + PARAMETERS + self._latency + words)
        self.clock = begin + 2 * count  # what others do until then is to be known: steps may take long
        yield True
        start, end, written = self._operands.run(i, self._group(i), count, load + ASKS, begin)
        self._step(load, start, count, starts, end)
        return written

    def _step(self, load: int, start: int, count: int, starts: Starts, end: int | None = None) -> None:
        """Notes `count` steps from cycle `start` on."""
        self.count("wait_input", max(self._end + 1, load), start)
        end = start + count - 1 if end is None else end
        self.count("busy", start, end + 1, count)
        self.count("wait_output", start, end + 1, end + 1 - start - count)
        starts.append((start, count))
        self._end = self.clock = end

    def _group(self, i: Fields) -> int:
        """Elements of a step."""
        largest = max(i.in_type, i.out_type) if i.source == isa.MEMORY else i.out_type
        return min(self.config.vector_lanes, self.config.word_bytes >> largest)

    def _steps(self, i: Fields) -> tuple[int, int]:
        """Steps of a tile, and of the last tile."""
        group, each = self._group(i), i.ny * i.nx * i.wy * i.wx * (1 + i.operands)
        return each * -(-i.elems // group), each * -(-i.elems_last // group)

    def _drain(self, done: int, start: int, count: int, rows: int) -> None:
        """Notes when a block's rows leave the accumulators."""
        drained = self._blocks.drained
        first = max(done, drained[-1][1] if drained else -1) + 1
        last = max(first + rows - 1, start + (rows - HELD) * (count // rows) if rows > HELD else 0)
        drained.append((first, last))


def _step_before(before: int, starts: Starts) -> int:
    """The cycle of the step `before` steps before the last one."""
    for start, count in reversed(starts):
        if before < count:
            return start + count - 1 - before
        before -= count
    return -1
