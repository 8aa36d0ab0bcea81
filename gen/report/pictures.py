"""A report's pictures as SVG: units over time, and the unified memory over time.

Horizontally a picture's unit is a cycle (or a layer), vertically a pixel (or a byte): the page stretches it, and its
script changes the part that is shown. Without a script everything is there, and hovering tells about each rectangle.
"""

from html import escape

from .memory import POOL
from .model import Report, TensorReport
from .terminal import waits
from .tracks import Mark, merged, tracks

COLOURS = 12
"""Classes c0 .. c11: a layer's is its index modulo this."""
MOST = 2400
"""Rectangles of the timeline: more are merged."""
ROW, GAP = 26, 4
"""Height of a track and the space below it."""


def rectangle(x: int, y: int, width: int, height: int, kind: str, about: str) -> str:
    """A rectangle; its first line of `about` is its name."""
    return (f'<rect x="{x}" y="{y}" width="{width}" height="{height}" class="{kind}"><title>{escape(about)}</title>'
            "</rect>")


def svg(width: int, height: int, content: str, pixels: int) -> str:
    """A picture of that size in its own units, `pixels` high."""
    return (f'<svg class="marks" viewBox="0 0 {width} {height}" style="height:{pixels}px" preserveAspectRatio="none" '
            f'role="img">{content}</svg>')


def timeline(report: Report) -> tuple[list[str], str]:
    """Names of the tracks, from the top, and the picture of them."""
    assert report.cycles is not None
    lines = {name: marks for name, marks in tracks(report).items() if marks}
    content = []
    for index, (_, marks) in enumerate(lines.items()):
        shown = merged(marks, MOST // len(lines))
        content += [_mark(mark, index * (ROW + GAP), odd) for mark, odd in zip(shown, _odd(shown), strict=True)]
    height = len(lines) * (ROW + GAP)
    return list(lines), svg(report.cycles, height, "".join(content), height)


def _odd(marks: list[Mark]) -> list[bool]:
    """Every other one of neighbours of one colour, so that they can be told apart."""
    out: list[bool] = []
    for index, mark in enumerate(marks):
        out.append(index > 0 and marks[index - 1].tag == mark.tag and not out[-1])
    return out


def _mark(mark: Mark, y: int, odd: bool) -> str:
    length = mark.end - mark.begin
    about = [mark.title, f"cycles {mark.begin:,} to {mark.end:,} ({length:,}), busy {mark.busy:,}"]
    if mark.waits:
        about.append(f"waited for {waits(dict(mark.waits))}")
    if mark.count > 1:
        about.append(f"{mark.count:,} instructions, shown as one")
    kind = f"c{mark.tag % COLOURS}" if mark.tag >= 0 else "several"
    kind += f" b{-(-4 * mark.busy // length)}" + (" odd" if odd else "")
    return rectangle(mark.begin, y, length, ROW, kind, "\n".join(about))


def memory(report: Report, by_cycles: bool) -> str:
    """Where each tensor lies: from the left to the right pieces of work, or cycles; from the top down addresses."""
    start = min((tensor.first for tensor in report.tensors), default=0)
    steps = max((tensor.last + 1 - start for tensor in report.tensors), default=1)
    width = (report.cycles or 1) if by_cycles else steps
    content = [rectangle(0, region.address, width, region.bytes, "region odd" if index % 2 else "region",
                         f"{region.name}\n{region.bytes:,} bytes from address {region.address:,}, the whole time")
               for index, region in enumerate(report.regions)]
    content += _filling(report) if by_cycles else []
    for tensor in report.tensors:
        begin, end = ((tensor.begin, tensor.end) if by_cycles else (tensor.first - start, tensor.last + 1 - start))
        if begin is not None and end is not None and (by_cycles or not tensor.within):
            kind = "several" if tensor.layer < 0 else f"c{tensor.layer % COLOURS}"
            content.append(rectangle(begin, tensor.address, max(end - begin, 0), tensor.bytes, kind,
                                     _about(report, tensor)))
    return svg(max(width, 1), max(report.memory_peak_bytes, 1), "".join(content), 360)


def _filling(report: Report) -> list[str]:
    """How full the pool of pages is, cycle by cycle: no page has a place of its own for longer than it is used."""
    pool = next((region for region in report.regions if region.name == POOL), None)
    if pool is None or not report.filling:
        return []
    drawn = []
    joined = -(-len(report.filling) // MOST)
    steps = [(begin, max(pages for _, pages in report.filling[at:at + joined]))
             for at, (begin, _) in list(enumerate(report.filling))[::joined]]
    for (begin, pages), (end, _) in zip(steps, [*steps[1:], (report.cycles or 0, 0)], strict=True):
        size = pages * report.pages["bytes"]
        about = f"{pages:,} pages in use\n{size:,} of {pool.bytes:,} bytes\ncycles {begin:,} to {end:,}"
        drawn.append(rectangle(begin, pool.address, end - begin, size, "pages", about))
    return drawn


def _about(report: Report, tensor: TensorReport) -> str:
    shape = "x".join(map(str, tensor.shape))
    lines = [tensor.name, f"{shape} {tensor.dtype}, {tensor.bytes:,} bytes from address {tensor.address:,}",
             f"pieces of work {tensor.first:,} to {tensor.last:,}"]
    if tensor.begin is not None and tensor.end is not None:
        lines.append(f"cycles {tensor.begin:,} to {tensor.end:,}")
    if tensor.rows < tensor.shape[0]:
        lines.append(f"{tensor.rows:,} of its {tensor.shape[0]:,} rows at a time")
    if tensor.within:
        lines.append(f"made in the bytes of {tensor.within}")
    within = [*tensor.also, *(other.name for other in report.tensors if other.within == tensor.name)]
    if within:
        lines.append(f"in its bytes also {', '.join(within)}")
    return "\n".join(lines)
