"""Operands and outputs of VECTOR instructions on memory: when banks let them pass."""

from collections.abc import Iterator
from itertools import count, islice

from systolith.rtl.isa import VECTOR
from systolith.rtl.vector_datapath import QUEUE
from systolith.rtl.vector_lane import CLAMPED
from systolith.rtl.vector_tables import LOOKED_UP

from .banks import Banks
from .program import Fields
from .shared import NEVER, Reading, Shared

STEPS = 128
"""Steps of an instruction that are followed one by one; the rest goes on at their pace."""
ANSWER = 1
"""Cycles from the answer to the request for an operand to the step that uses it."""
OUTPUT = CLAMPED + LOOKED_UP + 4
"""Cycles from a step to the request for its output."""
WORDS = 16
"""Operands on their way, at most."""
RECENT = 64
"""Cycles after which an output is in memory for sure."""
CHECK = 16
"""Cycles between two looks at whether the array reads rows."""


def _steps(i: Fields, group: int, banks: Banks) -> Iterator[tuple[int, int]]:
    """Of each step of a VECTOR on memory: the banks of its operand, and of the output that follows it; 0: none."""
    in_size, out_size, period = 1 << i.in_type, 1 << i.out_type, banks.period
    reads, windows = banks.sets(banks.word_bytes), i.wy * i.wx * (1 + i.operands)
    operands = ((i.a, i.a_tile, i.a_row, i.a_pixel), (i.b, i.b_tile, i.b_row, i.b_pixel))[:1 + i.operands]
    for t in range(i.tiles):
        elems = i.elems if t < i.tiles - 1 else i.elems_last
        for y in range(i.ny):
            for x in range(i.nx):
                for e in range(0, elems, group):
                    stores = banks.sets(min(group, elems - e) * out_size)
                    store = stores[(i.c + t * i.c_tile + y * i.c_row + x * i.c_pixel + e * out_size) % period]
                    left = windows
                    for wy in range(i.wy):
                        iy = i.y_start + y * i.y_step + wy * i.wy_step
                        for wx in range(i.wx):
                            ix = i.x_start + x * i.x_step + wx * i.wx_step
                            inside = 0 <= iy < i.height and 0 <= ix < i.width
                            for at, tile, row, pixel in operands:
                                left -= 1
                                yield (reads[(at + t * tile + iy * row + ix * pixel + e * in_size) % period]
                                       if inside else 0, store if left == 0 else 0)


class _Visitor:
    """The words of somebody else, each until it is granted: `due` is the cycle from which `bank` is asked for."""

    def __init__(self, words: Iterator[tuple[int, int]], banks: Banks) -> None:
        self._words, self._banks = words, banks
        self.next()

    def next(self) -> None:
        """Goes on to the next word."""
        self.due, word = next(self._words, (NEVER, 0))
        self.bank = self._banks.word(word)


class _Weights(_Visitor):
    """The words that the array's weight loader reads beside its rows."""

    def __init__(self, banks: Banks) -> None:
        self._time, self._every = NEVER, 1
        super().__init__(self._straight(), banks)

    def _straight(self) -> Iterator[tuple[int, int]]:
        for word in count():
            yield self._time, word
            self._time += self._every

    def beside(self, reading: Reading | None, time: int) -> None:
        """What the array reads from cycle `time` on."""
        if reading is None:
            self.due = self._time = NEVER
        else:
            self._every = reading.every
            if self.due == NEVER:
                self.due = self._time = time


class Operands:
    """The vector unit's two streams of accesses, in order: operands and outputs, one each a cycle at best.

    Where two ports want one bank, one waits. Streams that run side by side over the same banks may so hold each other
    up; whether they do depends on how far apart they are, so the outputs of the instruction before and what others
    stream at the time count too.
    """

    def __init__(self, shared: Shared) -> None:
        self._banks, self._feed, self._weights = shared.banks, shared.feed, shared.weights
        self._word = shared.config.word_bytes
        self._answer = shared.banks.latency + ANSWER
        self._asked = -1  # cycle of the last request for an operand
        self._stores: list[tuple[int, int]] = []  # outputs that may not be in memory yet: banks, cycle of the request
        # who goes first, of operand, output, weights, mover and fetch; at the start as the memory's ports are numbered
        self._order: tuple[int, ...] = (2, 0, 4, 1, 3)

    def outputs(self, end: int) -> int:
        """The grant of the last output of an instruction on accumulators, whose last step is in cycle `end`."""
        self._stores.clear()
        return end + OUTPUT

    def _rows(self, weights: _Weights, time: int) -> list[int]:
        """The rows that the array reads in a cycle; none is an empty list."""
        reading = self._feed.at(time)
        weights.beside(reading, time)
        return reading.rows() if reading else []

    def run(self, i: Fields, group: int, total: int, asks: int, begin: int) -> tuple[int, int, int]:
        """Runs an instruction of `total` steps; the cycles of its first and last step and of the last output's grant.

        Parameters
        ----------
        group: elements of a step. asks: cycle of the first request. begin: of the first step, at the earliest.
        """
        steps = list(islice(_steps(i, group, self._banks), STEPS))
        entered, stores, after = self._follow(steps, max(asks, self._asked + 1), begin)
        first, end = entered[0], entered[-1]
        if total > STEPS:
            pace = (end - entered[STEPS // 2 - 1]) / (STEPS - STEPS // 2)
            end += round((total - STEPS) * pace)
        self._asked = end - self._answer
        self._stores = [(banks, cycle + end - entered[-1]) for banks, cycle in stores if cycle > entered[-1]]
        return first, end, end + after

    def _follow(self, steps: list[tuple[int, int]], asks: int, begin: int,
                ) -> tuple[list[int], list[tuple[int, int]], int]:
        """Follows steps access by access.

        Their cycles; their outputs, with the cycles of their requests; cycles from the last step to the last output.
        """
        followed = len(steps)
        stores, stored = [one for one in self._stores if one[1] > asks - RECENT], 0
        arrived: list[int] = []  # of the operands asked for: cycle from which the step can enter
        entered: list[int] = []
        granted = asks
        order = self._order
        time = min(asks, stores[0][1]) if stores else asks
        fetched = -(-4 * VECTOR.length // self._word)  # while an instruction runs another one is fetched
        visitors = [weights := _Weights(self._banks), _Visitor(self._weights.words(time), self._banks),
                    _Visitor(((asks + word * self._word // 4, word) for word in range(fetched)), self._banks)]
        rows = self._rows(weights, time)
        while len(entered) < followed or stored < len(stores):
            asked, enters = len(arrived), len(entered)
            wanted = asked < followed and asked < enters + WORDS and time >= asks
            read = steps[asked][0] if wanted else 0
            write = stores[stored][0] if stored < len(stores) and stores[stored][1] <= time else 0
            if time % CHECK == 0:
                rows = self._rows(weights, time)
            first = rows[time % len(rows)] if rows else 0
            used, passed = read | write, (1 if read else 0) | (2 if write else 0)
            clash = read & write | first & used
            requests = [read, write]
            for place, visitor in enumerate(visitors, 2):
                bank = visitor.bank if visitor.due <= time else 0
                requests.append(bank)
                if bank:
                    clash |= bank & (used | first)
                    used |= bank
                    passed |= 1 << place
            if clash:
                passed, order = _arbitrate(requests, order, first)
            if wanted and (passed & 1 or not read):
                arrived.append(time + self._answer)
            if passed & 2:
                stored += 1
                granted = time
            if passed & 28:
                for place, visitor in enumerate(visitors, 2):
                    if passed >> place & 1:
                        visitor.next()
            if enters < len(arrived) and arrived[enters] <= time >= begin and len(stores) - stored < QUEUE:
                store = steps[enters][1]
                if store:
                    stores.append((store, time + OUTPUT))
                entered.append(time)
            time += 1
        self._order = order
        return entered, stores, granted - entered[-1]


def _arbitrate(requests: list[int], order: tuple[int, ...], first: int) -> tuple[int, tuple[int, ...]]:
    """Which of the requests, sets of banks by port, are granted, as a set of ports, and the next order: see
    `rtl.arbiter`.

    `first`: banks that the port before all others takes.
    """
    used = passed = refused = 0
    for port in order:
        banks = requests[port]
        if banks and not banks & first:  # what the first one refuses holds up nobody
            if banks & used:
                refused |= banks
            else:
                passed |= 1 << port
            used |= banks
    last = [port for port in order if passed >> port & 1 and requests[port] & refused]
    return passed, (*(port for port in order if port not in last), *last)
