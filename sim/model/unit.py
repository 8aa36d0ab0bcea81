"""What the models of all units have in common: queue, semaphores, and the record of what the unit did when."""

from collections import deque
from collections.abc import Generator, Iterator, Sized
from types import SimpleNamespace

from systolith.rtl import isa
from systolith.rtl.clip import clip_cycles, clipped, is_clipped

from .program import Fields
from .shared import Shared
from .timing import Interval, Span

Process = Iterator[bool]
"""A unit at work: each step yields True, or False where it cannot go on before other units do."""

QUEUED = 3
"""Cycles from the sequencer's word to the queue's register."""


class Queue:
    """A unit's instruction queue: when its words come and go.

    Parameters
    ----------
    depth: words of the FIFO in front of the register that holds a whole instruction.
    """

    def __init__(self, depth: int) -> None:
        self._depth = depth
        self._waiting: deque[tuple[int, int, Fields]] = deque()
        self._words = 0
        self.headers: list[int] = []
        """Of each instruction that has come: cycle of its first word."""
        self._begins: list[int] = []  # of each instruction: its first word's number
        self.taken: list[int] = []
        """Of each instruction that has left: the cycle."""
        self._oldest = 0  # the instruction whose words the next one has to wait for

    @property
    def instructions(self) -> int:
        """How many have come so far."""
        return len(self.headers)

    def _shift(self, number: int) -> int:
        """Cycle in which an instruction's first word leaves the FIFO."""
        before = self.taken[number - 1] + 1 if number else 0
        return max(before, self.headers[number] + QUEUED)

    def room(self, length: int) -> int | None:
        """Earliest cycle in which the last word of an instruction of `length` words can enter; None: not known yet."""
        needed = self._words + length - 1 - self._depth  # this word must have left
        if needed < 0:
            return 0
        begins = self._begins
        while self._oldest + 1 < len(begins) and begins[self._oldest + 1] <= needed:
            self._oldest += 1
        if self._oldest > len(self.taken):
            return None
        return self._shift(self._oldest) + needed - begins[self._oldest] + 1

    def push(self, header: int, end: int, length: int, fields: Fields) -> None:
        """An instruction whose words leave the sequencer from cycle `header` to cycle `end - 1`."""
        self.headers.append(header)
        self._begins.append(self._words)
        self._words += length
        self._waiting.append((end, length, fields))

    def next(self) -> tuple[Fields, int] | None:
        """The oldest instruction not looked at yet, and the cycle from which it is whole; None: there is none.

        The one before it must have been taken.
        """
        if not self._waiting:
            return None
        end, length, fields = self._waiting.popleft()
        return fields, max(end + QUEUED, self._shift(len(self.taken)) + length)

    def take(self, time: int) -> None:
        """The oldest instruction leaves in cycle `time`."""
        self.taken.append(time)


class Unit:
    """Base of the models of the units.

    Parameters
    ----------
    name: of the unit. shared: what it shares with others. events: names of its counters.
    """

    def __init__(self, name: str, shared: Shared, events: tuple[str, ...]) -> None:
        self.name, self.shared, self.config = name, shared, shared.config
        self.queue = Queue(shared.config.queue_words)
        self.clock = 0
        """How far the unit's times are known; the unit with the lowest goes first."""
        self.idle = 0
        """Cycle from which the unit has nothing to do, as far as is known."""
        self.spans: list[Span] = []
        self.events: dict[str, list[Interval]] = {event: [] for event in events}
        self.waits_for = ""
        """What a unit that cannot go on waits for."""
        self.until: Sized | None = None
        self.seen = 0
        """While `until` has this length it need not be asked whether it can go on."""
        self.process: Process = self.run()

    def run(self) -> Process:
        """The unit's work."""
        raise NotImplementedError

    def stays(self, until: Sized) -> None:
        """The unit cannot go on before that has grown: for the `yield False` that follows."""
        self.until, self.seen = until, len(until)

    def instruction(self) -> Generator[bool, None, tuple[Fields, int]]:
        """The next instruction, and the cycle from which it is at the queue's end."""
        while (found := self.queue.next()) is None:
            self.waits_for = ""
            self.stays(self.queue.headers)
            yield False
        fields, ready = found
        kind = isa.BY_OPCODE[fields.opcode]
        if is_clipped(kind, vars(fields), self.shared.length):
            return SimpleNamespace(**clipped(kind, vars(fields), self.shared.length)), ready + clip_cycles(kind)
        return found

    def _take(self, semaphore: int, count: int, asked: int) -> Generator[bool, None, int]:
        """The cycle in which a take is granted that is offered from cycle `asked` on."""
        log = self.shared.semaphores[semaphore]
        while log.known < count:
            self.waits_for = f"{count} of semaphore {semaphore} (it has {log.known})"
            self.stays(log.times)
            yield False
        return log.take(asked, count)

    def waits(self, i: Fields, asked: int) -> Generator[bool, None, int]:
        """The cycle from which an instruction has what it waits for, if it asks from cycle `asked` on."""
        begin = asked
        if i.wait0 and i.wait0_count:
            asked = (yield from self._take(i.wait0, i.wait0_count, asked)) + 1
        if i.wait1 and i.wait1_count:
            asked = (yield from self._take(i.wait1, i.wait1_count, asked)) + 1
        self.count("wait_semaphore", max(begin, self.idle), asked)
        return asked

    def signal(self, i: Fields, time: int) -> int:
        """Gives an instruction's signals from cycle `time` on, one a cycle; the cycle after the last."""
        for semaphore, count in ((i.signal0, i.signal0_count), (i.signal1, i.signal1_count)):
            if semaphore and count:
                self.shared.semaphores[semaphore].give(time, count)
                time += 1
        return time

    def count(self, event: str, begin: int, end: int, cycles: int | None = None) -> None:
        """Notes an event: `cycles` cycles, all unless given, out of those from `begin` to `end`."""
        cycles = end - begin if cycles is None else cycles
        if cycles > 0:
            self.events[event].append((begin, max(end, begin + 1), cycles))

    def retire(self, tag: int, start: int, first: int, end: int) -> None:
        """Notes an instruction; see `Span`."""
        self.spans.append(Span(self.name, tag, start, first, end))
