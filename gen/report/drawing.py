"""A picture for a page of text: what each unit does while some layers of a run are made, as SVG without a script."""

from collections.abc import Sequence
from dataclasses import replace
from html import escape

from systolith.gen.errors import UserError

from .model import Report
from .terminal import title
from .tracks import LAYERS, Mark, merged, tracks

WIDTH, LEFT, RIGHT, TOP = 900, 78, 52, 34
"""Of the picture, its columns of names and of percentages, and the lines above; in pixels."""
ROW, GAP = 24, 6
MOST = 100
"""Rectangles of a unit: more are merged."""
STEPS = (1, 2, 5)
LETTER = 6.2
"""Width of a letter of the legend, at most."""

_STYLE = """text { fill: #1f2328; } .quiet { fill: #59636e; } .paper { fill: #ffffff; stroke: #d1d9e0; }
.other { fill: #8c959f; } line { stroke: #d1d9e0; } .b0, .b1 { fill-opacity: .3; } .b2 { fill-opacity: .5; }
.b3 { fill-opacity: .75; }
@media (prefers-color-scheme: dark) { text { fill: #f0f6fc; } .quiet { fill: #9198a1; }
.paper { fill: #0d1117; stroke: #3d444d; } .other { fill: #656c76; } line { stroke: #3d444d; } }
"""


def drawing(report: Report, layers: str) -> str:
    """The units while the layers run whose names are `layers`, or begin with that and a point.

    Each rectangle is an instruction, or some, in the colour of its layer; the paler, the less its unit is busy. On the
    right: the part of the cycles shown in which the unit is busy. `UserError` where nothing was measured, or there
    is no such layer.
    """
    chosen = {tag: layer for tag, layer in enumerate(report.layers)
              if layer.name == layers or layer.name.startswith(f"{layers}.")}
    times = [(layer.start, layer.end) for layer in chosen.values() if layer.start is not None and layer.end is not None]
    if report.cycles is None:
        raise UserError(f"the report of {report.network} has no cycles; make it with --engine verilator, icarus or "
                        "model")
    if not times:
        raise UserError(f"no layer of {report.network} that takes cycles is {layers!r} or begins with "
                        f"{layers + '.'!r}; its first one is {report.layers[0].name!r}")
    begin, end = min(first for first, _ in times), max(last for _, last in times)
    lines = {name: _within(marks, begin, end) for name, marks in tracks(report).items() if name != LAYERS}
    lines = {name: marks for name, marks in lines.items() if marks}
    shown = [tag for tag in chosen if any(mark.tag == tag for marks in lines.values() for mark in marks)]
    colour = {tag: f"k{place}" for place, tag in enumerate(shown)}
    bottom = TOP + len(lines) * (ROW + GAP)
    legend, height = _legend([chosen[tag].name.removeprefix(f"{layers}.") for tag in shown], bottom + 34)
    parts = [_text(LEFT, 20, f"{layers} of {title(report)}: cycles {begin:,} to {end:,} of {report.cycles:,}")]
    parts += _axis(begin, end, bottom)
    for number, (name, marks) in enumerate(lines.items()):
        top = TOP + number * (ROW + GAP)
        parts.append(_text(LEFT - 8, top + 16, name, ' text-anchor="end"'))
        parts += [_rectangle(mark, begin, end, top, colour) for mark in merged(marks, MOST)]
        busy = sum(mark.busy for mark in marks) / (end - begin)
        parts.append(_text(WIDTH - 10, top + 16, f"{busy:.0%}", ' text-anchor="end"'))
    colours = "".join(f".k{place} {{ fill: hsl({place * 137 % 360} 60% {45 + place % 3 * 7}%); }}\n"
                      for place in range(len(shown)))
    return (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-size="12" '
            f'font-family="Helvetica, Arial, sans-serif">\n<title>{escape(f"{layers} of {title(report)}")}</title>\n'
            f"<desc>{escape(report.conditions)}</desc>\n<style>\n{_STYLE}{colours}</style>\n"
            f'<rect class="paper" x="0.5" y="0.5" width="{WIDTH - 1}" height="{height - 1}" rx="6"/>\n'
            + "\n".join([*parts, *legend]) + "\n</svg>\n")


def _within(marks: Sequence[Mark], begin: int, end: int) -> list[Mark]:
    """What of the marks lies in these cycles; busy cycles are taken to lie evenly."""
    out = []
    for mark in marks:
        first, last = max(mark.begin, begin), min(mark.end, end)
        if first < last:
            out.append(replace(mark, begin=first, end=last, busy=round(
                mark.busy * (last - first) / (mark.end - mark.begin))))
    return out


def _place(cycle: int, begin: int, end: int) -> float:
    return LEFT + (cycle - begin) * (WIDTH - LEFT - RIGHT) / (end - begin)


def _rectangle(mark: Mark, begin: int, end: int, top: int, colour: dict[int, str]) -> str:
    x, width = _place(mark.begin, begin, end), (mark.end - mark.begin) * (WIDTH - LEFT - RIGHT) / (end - begin)
    kind = f"{colour.get(mark.tag, 'other')} b{-(-4 * mark.busy // (mark.end - mark.begin))}"
    return f'<rect x="{x:.1f}" y="{top}" width="{max(width, 0.4):.1f}" height="{ROW}" class="{kind}"/>'


def _axis(begin: int, end: int, bottom: int) -> list[str]:
    """A line at every round number of cycles from the first one on."""
    step = next(size * 10 ** power for power in range(12) for size in STEPS if size * 10 ** power * 8 >= end - begin)
    out = []
    for cycle in range(0, end - begin + 1, step):
        x = _place(begin + cycle, begin, end)
        out.append(f'<line x1="{x:.1f}" y1="{TOP - 4}" x2="{x:.1f}" y2="{bottom}"/>')
        out.append(_text(round(x), bottom + 12, f"{cycle:,}", ' text-anchor="middle" class="quiet" font-size="10"'))
    return out


def _legend(names: Sequence[str], top: int) -> tuple[list[str], int]:
    """Names of the layers beside their colours, and the height of the picture that they end."""
    out, x, y = [], LEFT, top
    for place, name in enumerate([*names, "other layers"]):
        width = 16 + round(LETTER * len(name)) + 14
        if x + width > WIDTH - 10 and x > LEFT:
            x, y = LEFT, y + 18
        kind = f"k{place}" if place < len(names) else "other"
        out += [f'<rect x="{x}" y="{y - 10}" width="11" height="11" class="{kind}"/>', _text(x + 16, y, name)]
        x += width
    return out, y + 14


def _text(x: int, y: int, text: str, more: str = "") -> str:
    return f'<text x="{x}" y="{y}"{more}>{escape(text)}</text>'
