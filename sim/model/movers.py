"""The movers: blocks between external and unified memory."""

from bisect import bisect_right

from .program import Fields
from .semaphores import granted
from .shared import Shared
from .unit import Process, Unit

CHUNK = 64
"""Blocks that are computed before other units have their turn; 1 where both directions are in use."""
REQUEST = 1
"""Cycles from a block's offer to its request of external memory."""
STORED = 4
"""Cycles from a block's last beat to its give: the last word goes to memory meanwhile."""
READ = 11
"""Cycles from a block's offer to its first beat on the way out."""
NO_WAIT, STEP = 3, 2
"""Cycles from one offer to the next without a take; and to the next one's take."""


class Port:
    """The external memory's one beat a cycle, for both directions: which cycles are taken."""

    def __init__(self) -> None:
        self._begins: list[int] = []
        self._ends: list[int] = []

    def claim(self, time: int, beats: int) -> int:
        """The first of `beats` free cycles on end, not before `time`; they are taken."""
        begins, ends = self._begins, self._ends
        at = bisect_right(ends, time)
        while at < len(begins) and begins[at] < time + beats:
            time = max(time, ends[at])
            at += 1
        begins.insert(at, time)
        ends.insert(at, time + beats)
        return time


class Mover(Unit):
    """What both directions share: the walk over an instruction's blocks.

    Parameters
    ----------
    port: where the directions meet; None: this one has it for itself.
    """

    def __init__(self, name: str, shared: Shared, port: Port | None) -> None:
        self._width, self._port = shared.config.external_bytes, port
        self._offered = self._ended = -1  # cycles of the last block's offer and last beat
        super().__init__(name, shared, ("busy", "wait_external", "wait_memory", "wait_semaphore"))

    def run(self) -> Process:
        semaphores = self.shared.semaphores
        chunk = 1 if self._port else CHUNK
        while True:
            i, ready = yield from self.instruction()
            begin = yield from self.waits(i, ready)
            take = semaphores[i.take] if i.take else None
            give = semaphores[i.give] if i.give else None
            self._offered = begin  # a block's take comes two cycles after this
            address, first, moved, since = i.a, 0, 0, begin
            done = begin
            for number in range(i.blocks):
                if take is None:
                    self._offered += NO_WAIT
                else:
                    while take.taken == len(take.times):
                        self.waits_for, self.clock = f"1 of semaphore {i.take} (it has 0)", self._ended
                        self._moved(since, moved, i)
                        if not moved:
                            self.stays(take.times)
                        yield moved > 0
                        since, moved = self._ended + 1, 0
                    self._offered = granted(self._offered + STEP, take.times[take.taken]) + 1
                    take.taken += 1
                done = self._block(self._offered, address, i.block_bytes)
                address += i.step
                if i.ring_bytes and address >= i.ring + i.ring_bytes:
                    address -= i.ring_bytes
                first = first or self._ended + 1 - i.block_bytes // self._width
                moved += 1
                if give is not None:
                    give.give(done)
                if number % chunk == chunk - 1:
                    self.clock = self._ended
                    yield True
            self._moved(since, moved, i)
            self.queue.take(self._offered)
            self.idle, self.clock = self._offered + 1, self._ended
            self.retire(i.tag, begin, first, self.signal(i, done + (give is not None)))
            yield True

    def _moved(self, since: int, blocks: int, i: Fields) -> None:
        """Notes the beats of some blocks."""
        self.count("busy", since, self._ended + 1, blocks * i.block_bytes // self._width)

    def _claim(self, time: int, size: int) -> None:
        """Moves the beats of a block, not before cycle `time`."""
        beats = size // self._width
        time = max(time, self._ended + 1)
        if self._port:
            time = self._port.claim(time, beats)
        self._ended = time + beats - 1

    def _block(self, offer: int, address: int, size: int) -> int:
        """Moves a block at a memory address that is offered in cycle `offer`; the cycle of its give."""
        raise NotImplementedError


class MoveIn(Mover):
    """Requests run ahead of the data; beats follow each other without a gap as long as requests are early enough."""

    def _block(self, offer: int, address: int, size: int) -> int:
        self._claim(offer + REQUEST + self.shared.latency, size)
        stream = self.shared.weights
        stream.add(self._ended + 2 + (1 - size // self.config.word_bytes) * stream.every, address, size)
        return self._ended + STORED


class MoveOut(Mover):
    """Words are read ahead; a block is done when its last beat is in external memory."""

    def _block(self, offer: int, address: int, size: int) -> int:
        self._claim(offer + READ, size)
        return self._ended + self.shared.latency + STORED
