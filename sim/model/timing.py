"""What the model finds: cycles, instructions with their times, counters at any time."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Interval = tuple[int, int, int]
"""Some cycles of an event: from, to, and how many in between."""


@dataclass(frozen=True)
class Span:
    """One instruction in its unit. Cycles count from 0, the first in which the machine runs.

    start: the unit has begun with it. first: its first cycle of work. end: it has retired.
    """

    unit: str
    tag: int
    start: int
    first: int
    end: int


@dataclass(frozen=True)
class Timing:
    """What a program takes. `spans`: instructions of all units in the order of their ends. `events`: by counter,
    "unit.event" as the machine's own counters are called; those of memory conflicts are not there."""

    cycles: int
    spans: list[Span]
    events: dict[str, list[Interval]]

    @property
    def counter_names(self) -> list[str]:
        """"cycles", then the names of `events`."""
        return ["cycles", *self.events]

    def counters(self, times: list[int]) -> NDArray[np.int64]:
        """The counters' values before each of the cycles `times`: [time, counter]."""
        columns = [np.asarray(times)]
        for intervals in self.events.values():
            if not intervals:
                columns.append(np.zeros(len(times), np.int64))
                continue
            begins, ends, counts = np.array(intervals).T
            total = np.cumsum(counts)
            points = np.maximum.accumulate(np.stack([begins, ends], 1).reshape(-1))
            values = np.stack([total - counts, total], 1).reshape(-1)
            columns.append(np.interp(times, points, values, left=0))
        return np.stack(columns, 1).astype(np.int64)
