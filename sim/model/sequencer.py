"""The sequencer: executes the program and hands instructions to the queues of the units."""

from collections.abc import Callable, Generator

from systolith.rtl import assembly, isa
from systolith.sim.machine.machine import MachineError

from .program import Fields, bring, decode
from .shared import Shared
from .unit import Process, Unit

JUMP = 6
"""Cycles from a jump to the first word from its target, beside the memory's latency."""
SCALE = isa.LENGTH_BITS - 2
"""Cycles of a multiplication by LENGTH; meanwhile the next words are fetched."""
FINISH = 3
"""Cycles from the last unit's end to the end of the run."""


class Sequencer(Unit):
    """Passes a word a cycle to the units' queues; a full queue holds up what is behind it.

    Parameters
    ----------
    words: the memory as 32-bit words, a list of its own. entry: number of the program's first one. units: by name.
    external: the external memory, out of which parts of the program may come.
    finished: tells when the last unit has ended, None while one is at work.
    """

    def __init__(self, shared: Shared, words: list[int], entry: int, units: dict[str, Unit],
                 finished: Callable[[], int | None], external: bytes = b"") -> None:
        self._words, self._entry, self._units, self._finished = words, entry, units, finished
        self._external = external
        self.cycles = 0
        """Of the whole run; 0 until it has ended."""
        super().__init__("sequencer", shared, ("wait_semaphore",))

    def run(self) -> Process:
        jump = JUMP + self.shared.banks.aligned_latency
        at, time = self._entry, jump
        loops: list[list[int]] = []
        expander = assembly.Expander(self.config.instruction_slots)
        while True:
            self.clock = time
            start, compact = at, self._words[at] & isa.COMPACT if at < len(self._words) else 0
            kind, i, at = decode(self._words, at, expander)
            if kind is isa.END:
                while (end := self._finished()) is None:
                    self.waits_for = "the units to end"
                    yield False
                self.cycles = max(time, end) + FINISH
                yield True
            elif kind is isa.LOOP:
                if len(loops) == isa.LOOP_DEPTH or not i.count:
                    raise MachineError(f"LOOP_NESTING at {4 * start:#x}")
                loops.append([at, i.count])
                time += 3
            elif kind is isa.NEXT:
                if not loops:
                    raise MachineError(f"LOOP_NESTING at {4 * start:#x}")
                time += 2
                loops[-1][1] -= 1
                if loops[-1][1]:
                    at, time = loops[-1][0], time - 1 + jump
                else:
                    loops.pop()
            elif kind is isa.JUMP:
                if loops:
                    raise MachineError(f"LOOP_NESTING at {4 * start:#x}")
                if i.address % 4:
                    raise MachineError(f"ILLEGAL_OPERAND: JUMP to {i.address:#x}")
                at, time = i.address // 4, time + 2 + jump
            elif kind is isa.ADDRESS:
                time += 5 + (SCALE if i.scaled and self.config.clips else 0)
            elif kind is isa.SYNC:
                given = yield from self.waits(i, time + 3)
                time = max(given + 1, self.signal(i, given))
                yield True
            else:
                time = yield from self._dispatch(kind, i, time + (compact != 0))  # its mask takes a cycle

    def _dispatch(self, kind: isa.InstructionType, i: Fields, time: int) -> Generator[bool, None, int]:
        """Passes an instruction on from cycle `time`; the cycle after its last word."""
        name = isa.UNITS[kind.opcode >> 4]
        if name not in self._units:
            raise MachineError(f"ILLEGAL_INSTRUCTION: {kind.name} on a machine without that unit")
        if kind is isa.MOVE_IN:
            bring(self._words, i, self._external)
        queue = self._units[name].queue
        while (room := queue.room(kind.length)) is None:
            self.waits_for = f"room in the queue of {name}"
            self.stays(queue.taken)
            yield False
        end = max(time + kind.length, room)
        queue.push(time, end, kind.length, i)
        yield True
        return end
