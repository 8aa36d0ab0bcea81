"""What a report shows along its cycles: for each unit its instructions, and the layers that the cycles belong to."""

from collections.abc import Sequence
from dataclasses import dataclass

from .model import Report

LAYERS = "layers"
"""Name of the track of the layers."""


@dataclass(frozen=True)
class Mark:
    """Something that lasts from `begin` to `end` in a track."""

    begin: int
    end: int
    tag: int
    """Index of the layer; -1: several."""
    name: str
    busy: int
    """Busy cycles of the unit in it."""
    last: str
    """Name of the last layer where there are several."""
    count: int = 1
    """Instructions, or runs of cycles, that it stands for."""
    waits: tuple[tuple[str, int], ...] = ()

    @property
    def title(self) -> str:
        """The name, or the first and the last."""
        return self.name if self.last == self.name else f"{self.name} to {self.last}"


def tracks(report: Report) -> dict[str, list[Mark]]:
    """Marks by track, each track's in order and without overlap: the layers, then the units in the machine's order."""
    out = {LAYERS: _layers(report)}
    for unit in dict.fromkeys([*(unit.name for unit in report.units), *(span.unit for span in report.spans)]):
        mine = sorted((span for span in report.spans if span.unit == unit), key=lambda span: span.start)
        out[unit] = [Mark(span.start, span.end, span.tag, span.layer, min(span.busy, span.end - span.start), span.layer,
                          waits=tuple(span.waits.items())) for span in mine]
    return out


def _layers(report: Report) -> list[Mark]:
    """The slices of layers, neighbours of one layer as one."""
    out: list[Mark] = []
    for piece in report.slices:
        if not 0 <= piece.tag < len(report.layers):
            continue
        begin = piece.begin
        if out and out[-1].tag == piece.tag and out[-1].end == begin:
            begin = out.pop().begin
        name = report.layers[piece.tag].name
        out.append(Mark(begin, piece.end, piece.tag, name, piece.end - begin, name))
    return out


def merged(marks: Sequence[Mark], most: int) -> list[Mark]:
    """At most `most` marks (at least one): those that are short, or close to their neighbours, are joined."""
    out = list(marks)
    reach = 1
    while len(out) > max(most, 1):
        out = _merge(out, reach)
        reach *= 2
    return out


def _merge(marks: Sequence[Mark], reach: int) -> list[Mark]:
    """Joins neighbours that lie within `reach` of each other and are of one layer, or together not longer than that."""
    out = [marks[0]]
    for mark in marks[1:]:
        last = out[-1]
        near = mark.begin - last.end < reach
        if near and (mark.end - last.begin <= reach or mark.tag == last.tag >= 0):
            waits = dict(last.waits)
            for cause, cycles in mark.waits:
                waits[cause] = waits.get(cause, 0) + cycles
            out[-1] = Mark(last.begin, mark.end, last.tag if last.tag == mark.tag else -1, last.name,
                           last.busy + mark.busy, mark.last, last.count + mark.count, tuple(waits.items()))
        else:
            out.append(mark)
    return out
