"""What the units share: semaphores, accumulators, and the traffic in the memory's banks."""

import math
from bisect import bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from systolith.rtl import isa
from systolith.rtl.clip import check_length
from systolith.rtl.config import Config

from .banks import Banks
from .semaphores import Semaphore

NEVER = 1 << 60


@dataclass
class Blocks:
    """The accumulators between array and vector unit: of each block, in order, when it was complete (`done`), and in
    which cycles its first and last row were read (`drained`)."""

    done: list[int] = field(default_factory=list)
    drained: list[tuple[int, int]] = field(default_factory=list)


class Stream:
    """Words of the unified memory that somebody writes or reads one after the other: when, and which.

    Parameters
    ----------
    word: bytes of the memory's word. every: cycles a word.
    """

    def __init__(self, word: int, every: int) -> None:
        self._word, self.every = word, every
        self.end = 0
        """Cycle in which the last block that is known ends."""
        self._begins: list[int] = []
        self._places: list[tuple[int, int]] = []  # first word, words

    def add(self, begin: int, address: int, size: int) -> None:
        """A block whose first word comes in cycle `begin`; not before the end of the one before."""
        words = size // self._word
        self.end = begin + words * self.every
        self._begins.append(begin)
        self._places.append((address // self._word, words))

    def words(self, time: int) -> Iterator[tuple[int, int]]:
        """Cycle and number of each word, from cycle `time` on."""
        for at in range(max(0, bisect_right(self._begins, time) - 1), len(self._begins)):
            begin, (first, count) = self._begins[at], self._places[at]
            for word in range(count):
                if begin + word * self.every >= time:
                    yield begin + word * self.every, first + word

    def at(self, time: int) -> int | None:
        """The word whose turn it is in a cycle; None: there is none."""
        index = bisect_right(self._begins, time) - 1
        if index < 0:
            return None
        begin, (first, count) = self._begins[index], self._places[index]
        done = (time - begin) // self.every
        return first + done if done < count else None


@dataclass(frozen=True)
class Reading:
    """What the array reads for a while. rows: gives the banks of a sample of its rows, one a cycle. slow: these stay in
    a bank for several cycles. every: cycles from one word of weights to the next."""

    begin: int
    end: int
    rows: Callable[[], list[int]]
    slow: bool
    every: int


def _end(reading: Reading) -> int:
    return reading.end


class Feed:
    """The array's readings, one after the other; its rows go before all others in the memory."""

    def __init__(self) -> None:
        self._all: list[Reading] = []
        self._slow: list[Reading] = []
        self._paces: dict[tuple[int, ...], float] = {}

    def add(self, reading: Reading) -> None:
        """The next reading."""
        self._all.append(reading)
        if reading.slow:
            self._slow.append(reading)

    def at(self, time: int) -> Reading | None:
        """What is read in a cycle; None: nothing is."""
        index = bisect_right(self._all, time, key=_end)
        return self._all[index] if index < len(self._all) and self._all[index].begin <= time else None

    def passes(self, time: int, accesses: int, sample: list[int], *, straight: bool) -> int:
        """The cycle after the last of some accesses, one a cycle from cycle `time` on; `sample`: the banks of some.

        `straight`: they go from bank to bank, so that only rows that are slow matter: what comes to their bank stays
        behind them, while others make way at once.
        """
        lines = self._slow if straight else self._all
        for index in range(bisect_right(lines, time, key=_end), len(lines)):
            reading = lines[index]
            free = max(0, reading.begin - time)
            if accesses <= free:
                break
            time, accesses = time + free, accesses - free
            pace = self._pace(reading.rows(), sample)
            some = min(accesses, math.ceil((reading.end - time) / pace))
            time, accesses = time + round(some * pace), accesses - some
        return time + accesses

    def _pace(self, rows: list[int], sample: list[int]) -> float:
        """Cycles that an access takes beside rows."""
        key = id(rows), *sample
        if key not in self._paces:
            time = 0
            for banks in sample:
                for _ in rows:
                    if not rows[time % len(rows)] & banks:
                        break
                    time += 1
                time += 1
            self._paces[key] = time / len(sample)
        return self._paces[key]


class Shared:
    """All of it, for one run of a machine.

    Parameters
    ----------
    config: the machine. latency: of its external memory. length: what the register LENGTH says.
    """

    def __init__(self, config: Config, latency: int, length: int = 0) -> None:
        self.config, self.latency, self.length = config, latency, check_length(config, length)
        self.banks = Banks(config)
        self.semaphores = [Semaphore() for _ in range(isa.SEMAPHORES)]
        self.blocks = Blocks()
        self.feed = Feed()
        self.weights = Stream(config.word_bytes, config.word_bytes // max(1, config.external_bytes))
        """What comes from external memory."""
