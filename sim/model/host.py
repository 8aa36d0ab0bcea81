"""The host: brings rows of inputs while the program runs."""

from collections.abc import Sequence
from typing import NamedTuple

from .shared import Shared
from .unit import Process, Unit

BEGIN = 1
"""Cycle of the host's first access after the start."""
STATUS, COUNT, GIVE, WRITE = 3, 4, 4, 4
"""Cycles of an access to the status, to a semaphore's count, of a give, and of a word's write to the memory."""
READ_WORD = 4
"""Cycles of a word's read from the memory, beside the memory's latency."""
GIVEN = 2
"""Cycles from the access to the give."""


class HostRow(NamedTuple):
    """The host writes `size` bytes to `address` when each semaphore of `after` has been given so often since the start,
    then gives 1 to each of `gives`."""

    address: int
    size: int
    after: dict[int, int]
    gives: tuple[int, ...]


class Host(Unit):
    """What `sim.rtl.session` does: it looks at a semaphore and at the status until there is room for a row, writes the
    row word by word, and tells of it."""

    def __init__(self, shared: Shared, rows: Sequence[HostRow]) -> None:
        self._rows = rows
        super().__init__("host", shared, ())

    def run(self) -> Process:
        time = BEGIN
        for row in self._rows:
            for semaphore, count in row.after.items():
                log = self.shared.semaphores[semaphore]
                while len(log.times) < count:
                    self.waits_for = f"{count} of semaphore {semaphore}"
                    yield False
                late = max(0, log.times[count - 1] + 1 - time)
                time += -(-late // (COUNT + STATUS)) * (COUNT + STATUS) + COUNT
            ragged = (row.address % 4 != 0) + ((row.address + row.size) % 4 != 0)
            words = -(-(row.address % 4 + row.size) // 4)
            time += ragged * (READ_WORD + self.shared.banks.aligned_latency) + words * WRITE
            for semaphore in row.gives:
                self.shared.semaphores[semaphore].give(time + GIVEN)
                time += GIVE
            self.clock = time
            yield True
        self.waits_for = ""
        while True:
            yield False
