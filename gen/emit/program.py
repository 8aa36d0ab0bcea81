"""A program under construction: instructions in order, each waiting for those whose results or memory it needs."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from systolith.gen.errors import UserError
from systolith.rtl import isa
from systolith.rtl.isa import Instruction, InstructionType

from .hazards import Hazards

WEIGHT_READY, WEIGHT_FREE = 1, 2
"""Semaphores between the mover and the array's weight loader."""
PROGRAM_READY = 3
"""Semaphore that the next part of a program gives when it is there, where it comes in parts."""
STREAMS_FROM, STREAM_ROWS = 1 << 32, 1 << 16
"""Addresses behind all others that stand for rows of streams."""
_AT_ONCE = 2
"""Waits of an instruction, and signals."""
_BEHIND = "behind"
"""Idle instructions of the vector unit, as those who take a semaphore of their own."""
_RUNS_AHEAD = frozenset({"vector", "depthwise", "softmax", "norm"})
"""Units that start an instruction before the results of the one before it are in memory."""


@dataclass(frozen=True)
class Region:
    """Bytes that an instruction reads or writes; `partly`: only some of them."""

    address: int
    size: int
    partly: bool = False


HOST = "host"
"""What brings rows of inputs while the program runs; it works in order, as units do."""


@dataclass(frozen=True)
class HostRow:
    """The host writes row `row` of an input to `address` when each semaphore of `after` has been given so often since
    the start, then gives 1 to each of `gives`."""

    tensor: str
    row: int
    address: int
    after: dict[int, int]
    gives: tuple[int, ...]


@dataclass(eq=False)
class Issued:
    """An instruction in the program, with two waits at most where it is not the vector unit's or the host's."""

    kind: InstructionType | None
    """None: something that the host does."""
    values: dict[str, int]
    unit: str
    number: int
    """Within its unit."""
    at: int
    """Within the program."""
    known: dict[str, int] = field(default_factory=dict)
    """For each unit how many of its instructions are complete when this one starts."""
    waits: list["Issued"] = field(default_factory=list)
    signals: list[str] = field(default_factory=list)
    """Units that wait for this one."""
    before: tuple[Instruction, ...] = ()
    """What the sequencer does itself before it hands this one on."""
    idle: bool = False
    """One of the vector unit that only waits, for another unit's instruction behind it."""

    def clip(self) -> dict[str, int]:
        """The fields that clip it, for the instruction that takes what it makes."""
        return {name: self.values[name] for name in ("first", "clip") if name in self.values}


class Program:
    """Collects instructions; finds what each must wait for from the bytes that it reads and writes.

    For each pair of units there is a semaphore: an instruction that another unit waits for gives one to it, and the
    one that waits takes one. What is known already (through earlier waits, also of others) is not waited for again.
    """

    def __init__(self) -> None:
        self.issued: list[Issued] = []
        self._units: dict[str, list[Issued]] = {name: [] for name in (*isa.UNITS.values(), HOST)}
        self.feeds: list[HostRow] = []
        """What the host does while the program runs, once `instructions` has been called."""
        self.starts: list[int] = []
        """Where pieces start in the list of `instructions`, once it has been called."""
        self._marks: set[int] = set()
        self._fed: dict[Issued, str] = {}
        self._hazards = Hazards()

    def mark(self) -> None:
        """A piece starts here."""
        self._marks.add(len(self.issued))

    def count(self, unit: str) -> int:
        """Instructions of the unit so far."""
        return len(self._units[unit])

    def add(self, kind: InstructionType, reads: Iterable[Region] = (), writes: Iterable[Region] = (),
            after: Issued | None = None, behind: str = "", /, **values: int) -> Issued:
        """Adds an instruction with its fields. `after`: one that is complete by nature when this one writes. `behind`:
        a unit all of whose instructions so far must be done.

        Raises FieldError for a value that does not fit its field.
        """
        kind(**values)
        return self._add(kind, isa.UNITS[kind.opcode >> 4], reads, writes, values, after, behind)

    def feed(self, tensor: str, row: int, address: int, writes: Iterable[Region]) -> Issued:
        """The host brings a row of an input."""
        new = self._add(None, HOST, (), writes, {"row": row, "address": address})
        self._fed[new] = tensor
        return new

    def _add(self, kind: InstructionType | None, unit: str, reads: Iterable[Region], writes: Iterable[Region],
             values: dict[str, int], after: Issued | None = None, behind: str = "") -> Issued:
        line = self._units[unit]
        new = Issued(kind, values, unit, len(line), len(self.issued), dict(line[-1].known) if line else {})
        needs: dict[str, int] = {}
        for region in reads:
            _merge(needs, self._hazards.read(region.address, region.size, unit, new.number))
        if unit not in _RUNS_AHEAD:
            needs.pop(unit, None)
        if behind and self._units[behind]:
            needs[behind] = self._units[behind][-1].number
        self._wait(new, needs)
        if after is not None:
            _merge(new.known, after.known)
            _merge(new.known, {after.unit: after.number + 1})
        needs = {}
        for region in writes:
            _merge(needs, self._hazards.write(region.address, region.size, unit, new.number, partly=region.partly))
        if unit != "unpack":  # which works on several tiles at once; others' writes follow all that they did before
            needs.pop(unit, None)
        self._wait(new, needs)
        if unit not in ("vector", HOST) and len(new.waits) > _AT_ONCE:
            self._wait_ahead(new)
        line.append(new)
        self.issued.append(new)
        return new

    def _wait_ahead(self, new: Issued) -> None:
        """Leaves all waits but one to an idle instruction of the vector unit before it, which is then the other. That
        one is an instruction like others, with what the vector unit knows: semaphores are taken in the order in which
        they are given."""
        line, first = self._units["vector"], next(one for one in new.waits if one.unit != "vector")
        idle = Issued(isa.VECTOR, {"tag": new.values.get("tag", 0)}, "vector", len(line), new.at,
                      dict(line[-1].known) if line else {}, idle=True)
        self._wait(idle, {one.unit: one.number for one in new.waits if one.unit != "vector" and one is not first})
        if idle.waits:
            line.append(idle)
            self.issued.append(idle)
            new.at += 1
        new.waits = [first, line[-1]]
        _merge(new.known, line[-1].known)
        new.known["vector"] = line[-1].number + 1

    def _wait(self, new: Issued, needs: dict[str, int]) -> None:
        """Waits for instructions `needs` of each unit, but for what is known."""
        # The latest first, in program order: what it knows may save the others.
        wanted = sorted((self._units[unit][number] for unit, number in needs.items()),
                        key=lambda one: -one.at)
        for one in wanted:
            if new.known.get(one.unit, 0) > one.number:
                continue
            new.waits = [other for other in new.waits if other.unit != one.unit] + [one]
            _merge(new.known, one.known)
            new.known[one.unit] = one.number + 1

    def instructions(self, start: Iterable[Instruction], scratch: int, most: int, first: int = WEIGHT_FREE + 1,
                     ) -> tuple[list[Instruction], dict[Issued, int]]:
        """The whole program with its waits and signals, after `start`, up to END; and each one's number in its unit.

        An instruction has two signals; where it needs more, idle ones of the vector unit go after it. These write a
        byte at `scratch`. most: semaphores of the machine. first: of those that it may use.
        """
        semaphores: dict[tuple[str, str], int] = {}

        def semaphore(giver: str, taker: str) -> int:
            return semaphores.setdefault((giver, taker), first + len(semaphores))

        for one in self.issued:
            one.signals.clear()
            for other in one.waits:
                other.signals.append(one.unit)
                semaphore(other.unit, one.unit)
        for one in self.issued:
            if one.kind is not None and one.unit != "vector" and len(one.signals) > _AT_ONCE:
                semaphore(one.unit, _BEHIND)
        if first - 1 + len(semaphores) >= most:
            raise UserError(f"the program needs {first - 1 + len(semaphores)} semaphores; the machine has "
                            f"{most - 1}")
        out = list(start)
        counts = dict.fromkeys(self._units, 0)
        numbers = {}
        self.feeds, taken = [], dict.fromkeys(semaphores.values(), 0)
        self.starts = []
        for one in self.issued:
            if one.at in self._marks:
                self.starts.append(len(out))
            if one.kind is None:
                ready = [semaphores[other.unit, HOST] for other in one.waits]
                taken |= {number: taken[number] + 1 for number in ready}
                self.feeds.append(HostRow(self._fed[one], one.values["row"], one.values["address"],
                                       {number: taken[number] for number in ready},
                                       tuple(semaphores[HOST, unit] for unit in one.signals)))
                continue
            waits = [semaphores[other.unit, one.unit] for other in one.waits]
            signals = [semaphores[one.unit, unit] for unit in one.signals]
            ahead, after = _pairs("wait", waits[_AT_ONCE:]), signals[_AT_ONCE:]
            if one.unit != "vector" and after:  # an idle instruction gives what is too much
                after = [signals[1], *after]
                signals[1] = semaphores[one.unit, _BEHIND]
            behind = _pairs("signal", after)
            if one.unit != "vector" and behind:
                behind[0] |= _fields("wait", signals[1:2])
            out += [_idle(one, fields, scratch) for fields in ahead]
            counts["vector"] += len(ahead)
            fields = _fields("wait", waits[:_AT_ONCE]) | _fields("signal", signals[:_AT_ONCE])
            out += one.before
            out.append(_idle(one, fields, scratch) if one.idle else one.kind(**one.values, **fields))
            numbers[one] = counts[one.unit]
            counts[one.unit] += 1
            out += [_idle(one, fields, scratch) for fields in behind]
            counts["vector"] += len(behind)
        return [*out, isa.END()], numbers


def _fields(verb: str, semaphores: list[int]) -> dict[str, int]:
    """Fields of an instruction that waits for one of each of the semaphores (or signals them)."""
    return {name: value for index, semaphore in enumerate(semaphores)
            for name, value in ((f"{verb}{index}", semaphore), (f"{verb}{index}_count", 1))}


def _pairs(verb: str, semaphores: list[int]) -> list[dict[str, int]]:
    """The same for any number of them, in as many instructions as it takes."""
    return [_fields(verb, semaphores[at:at + _AT_ONCE]) for at in range(0, len(semaphores), _AT_ONCE)]


def _idle(one: Issued, fields: dict[str, int], scratch: int) -> Instruction:
    """An instruction for the vector unit, beside `one`, that does nothing but wait and signal, and write a byte at
    `scratch`."""
    return isa.VECTOR(source=isa.MEMORY, tiles=1, ny=1, nx=1, wy=1, wx=1, elems=1, elems_last=1, **fields,
                      tag=one.values.get("tag", 0), c=scratch)


def _merge(known: dict[str, int], more: dict[str, int]) -> None:
    for unit, number in more.items():
        known[unit] = max(known.get(unit, -1), number)
