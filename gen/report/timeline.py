"""When each instruction ran in its unit, and which layer each cycle of a run belongs to."""

from collections.abc import Iterable, Sequence

from systolith.sim.rtl.engine import Event

from .measurement import Measurement
from .model import Slice, Span

BUSY, WAIT = "busy", "wait_"


def is_mover(unit: str) -> bool:
    """Whether a unit brings data for others, ahead of them."""
    return unit.startswith("move_")


def instruction_spans(measurement: Measurement, layers: Sequence[str]) -> list[Span]:
    """The instructions of all units, unit after unit, each unit's in order; `layers`: names by tag."""
    units: dict[str, list[Event]] = {}
    for event in measurement.events:
        units.setdefault(event.unit, []).append(event)
    starts: dict[str, list[Event]] = {}
    for event in measurement.starts:
        starts.setdefault(event.unit, []).append(event)
    return [span for unit, ends in units.items()
            for span in _unit_spans(measurement.counter_names, unit, ends, starts.get(unit, []), layers)]


def _unit_spans(names: list[str], unit: str, ends: list[Event], starts: list[Event],
                layers: Sequence[str]) -> list[Span]:
    columns = {name.partition(".")[2]: index for index, name in enumerate(names) if name.startswith(f"{unit}.")}
    spans = []
    previous, before = 0, (0,) * len(names)
    pending = iter(starts)
    start = None if len(starts) == len(ends) else next(pending, None)
    for end in ends:
        if len(starts) == len(ends):  # one each: that of a later one may come before this one's end
            start = next(pending)
            start = start if start.cycle > previous else None
        while start is not None and start.cycle <= previous:
            start = next(pending, None)
        if start is not None and start.cycle <= end.cycle:
            at, seen = start.cycle - 1, start.counters
        else:  # all that it did was while the one before it was not yet done
            at, seen = previous, before
        gained = {name: end.counters[i] - before[i] for name, i in columns.items()}
        early = {name: seen[i] - before[i] for name, i in columns.items()}
        spans.append(Span(
            unit, end.tag, layers[end.tag] if end.tag < len(layers) else f"tag {end.tag}", at, end.cycle,
            gained.get(BUSY, 0), _waits(early), _waits({n: gained[n] - early[n] for n in columns})))
        previous, before = end.cycle, end.counters
    return spans


def beside(measurement: Measurement, unit: str, other: str) -> float | None:
    """The part of a unit's busy cycles in which another one is busy too; None where it never is.

    Counters are known where an instruction begins or ends. From one such cycle to the next one both units' busy cycles
    are taken to lie evenly, which is exact, but for the cycle of the start, where either is busy all or none of that
    time.
    """
    names = measurement.counter_names
    if f"{unit}.{BUSY}" not in names or f"{other}.{BUSY}" not in names:
        return None
    own, its = (names.index(f"{name}.{BUSY}") for name in (unit, other))
    seen = {0: (0, 0), measurement.cycles: (measurement.counters[own], measurement.counters[its])}
    for event in (*measurement.events, *measurement.starts):
        seen[event.cycle] = (event.counters[own], event.counters[its])
    both, before, at = 0.0, (0, 0), 0
    for cycle, (mine, others) in sorted(seen.items()):
        if cycle > at:
            both += (mine - before[0]) * (others - before[1]) / (cycle - at)
        before, at = (mine, others), cycle
    return both / before[0] if before[0] else None


def _waits(counts: dict[str, int]) -> dict[str, int]:
    return {name.removeprefix(WAIT): value for name, value in counts.items() if name.startswith(WAIT) and value}


def add_up(waits: Iterable[dict[str, int]]) -> dict[str, int]:
    """The sum of waits, cause by cause."""
    out: dict[str, int] = {}
    for one in waits:
        for cause, cycles in one.items():
            out[cause] = out.get(cause, 0) + cycles
    return out


def share_out(spans: Sequence[Span], cycles: int, units: Sequence[str]) -> list[Slice]:
    """All cycles 0 .. cycles - 1 in slices, each the part of the layer for which the first of `units` that has an
    instruction under way works; where none has, the part of the layer that begins next. -1 after the last."""
    lines = [sorted((span for span in spans if span.unit == unit), key=lambda span: span.start) for unit in units]
    starts = sorted((span.start, span.tag) for line in lines for span in line)
    edges = sorted({0, cycles, *(edge for line in lines for span in line for edge in (span.start, span.end))})
    at, upcoming = [0] * len(lines), 0
    slices: list[Slice] = []
    for begin, end in zip(edges, edges[1:], strict=False):
        while upcoming < len(starts) and starts[upcoming][0] <= begin:
            upcoming += 1
        unit, tag = "", starts[upcoming][1] if upcoming < len(starts) else -1
        for index in reversed(range(len(lines))):  # the first one has the last word
            line = lines[index]
            while at[index] < len(line) and line[at[index]].end <= begin:
                at[index] += 1
            if at[index] < len(line) and line[at[index]].start <= begin:
                unit, tag = units[index], line[at[index]].tag
        if slices and (slices[-1].unit, slices[-1].tag) == (unit, tag):
            slices[-1].end = end
        else:
            slices.append(Slice(begin, end, unit, tag))
    return slices
