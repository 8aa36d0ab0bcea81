"""A report as one HTML file that needs nothing else: figures, tables, pictures, a style sheet and a script."""

from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path

from . import pictures
from .model import LayerReport, Region, Report
from .terminal import exactness, fills_array, title, waits

_HERE = Path(__file__).parent
_HINTS = 20
"""Lines of what costs the most."""
_FROM_RUN = "Not measured: this engine counts no cycles. Engines verilator and icarus do; model predicts them."


def page(report: Report) -> str:
    """The whole file."""
    name = escape(title(report))
    parts = [_figures(report), _section("What would make it faster", _hints(report)),
             _section("Timeline", _timeline(report)), _section("Layers", _layers(report)),
             _section("Units", _units(report)), _section("Memory", _memory(report)),
             _section("Bytes moved", _traffic(report)), _section("Machine", _machine(report))]
    return (f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
            f'<meta name="viewport" content="width=device-width, initial-scale=1">\n<title>{name}</title>\n'
            f"<style>\n{_style()}</style>\n</head>\n<body>\n<h1>{name}</h1>\n{_conditions(report)}\n"
            + "\n".join(parts) + f"\n<script>\n{(_HERE / 'page.js').read_text()}</script>\n</body>\n</html>\n")


def _style() -> str:
    colours = "".join(f".c{index} {{ fill: hsl({index * 360 // pictures.COLOURS * 7 % 360} 48% var(--light)); }}\n"
                      for index in range(pictures.COLOURS))
    return (_HERE / "page.css").read_text() + colours


def _section(name: str, content: str) -> str:
    return f"<section>\n<h2>{escape(name)}</h2>\n{content}\n</section>"


def _conditions(report: Report) -> str:
    return f'<p class="conditions">Conditions: {escape(report.conditions)}.</p>'


def _note(text: str) -> str:
    return f"<p>{escape(text)}</p>"


def _table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table; the first column is a row's name, numbers stand to the right. Cells are text, numbers or `_Markup`."""
    head = "".join(f'<th scope="col">{escape(column)}</th>' for column in columns)
    body = []
    for row in rows:
        first, *rest = row
        cells = "".join(f'<td class="n">{_cell(cell)}</td>' if _is_figure(cell) else f"<td>{_cell(cell)}</td>"
                        for cell in rest)
        body.append(f'<tr><th scope="row">{_cell(first)}</th>{cells}</tr>\n')
    return (f'<div class="scroll"><table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{"".join(body)}</tbody>\n'
            "</table></div>")


class _Markup(str):
    """Text that is HTML already."""


def _is_figure(cell: object) -> bool:
    return isinstance(cell, int | float | _Markup)


def _cell(cell: object) -> str:
    if isinstance(cell, _Markup):
        return cell
    if isinstance(cell, float):
        return f"{cell:.1%}"
    return f"{cell:,}" if isinstance(cell, int) else escape(str(cell))


def _figures(report: Report) -> str:
    shown: list[tuple[str, object]] = [
        ("multiply-accumulates", report.macs), ("bit-exact", exactness(report.bit_exact))]
    if report.cycles is not None:
        shown = [("cycles", report.cycles), ("utilisation of the array", report.utilisation), *shown,
                 ("bytes read from external memory", report.external_read_bytes),
                 ("bytes written to it", report.external_write_bytes)]
    shown.append(("bytes of unified memory", report.memory_peak_bytes))
    if report.simulated_cycles_per_second:
        shown.append(("cycles simulated a second", report.simulated_cycles_per_second))
    return ('<dl class="figures">\n' + "".join(
        f"<div><dt>{escape(name)}</dt><dd>{_cell(value)}</dd></div>\n" for name, value in shown) + "</dl>")


def _hints(report: Report) -> str:
    if report.cycles is None:
        return _note(_FROM_RUN)
    ideal = report.macs // (report.rows * report.cols)
    text = (f"With every multiplier in every cycle the run would take {ideal:,} cycles; it takes {report.cycles:,}. "
            "Where the others went, the most expensive first:")
    return _note(text) + _table(["layer", "cycles", "part of the run", "cause", "what it is"], [
        (hint.layer, hint.cycles, hint.cycles / report.cycles, hint.cause, hint.text)
        for hint in report.hints[:_HINTS]]) + _conditions(report)


def _timeline(report: Report) -> str:
    if not report.cycles or not report.spans:
        return _note(_FROM_RUN)
    names, drawn = pictures.timeline(report)
    at = [(name, f"top:{index * (pictures.ROW + pictures.GAP) + 3}px") for index, name in enumerate(names)]
    return _zoomed(at, drawn, "Each rectangle is an instruction, from its first busy cycle to its last effect, in the "
                   "colour of its layer; the paler, the less its unit was busy in it. Above: which layer each cycle "
                   "belongs to. trace.json beside this file shows the same in ui.perfetto.dev.") + _conditions(report)


def _zoomed(names: Sequence[tuple[str, str]], drawn: str, caption: str) -> str:
    """A picture along cycles with its controls; `names`: at its left, each with its place."""
    buttons = "".join(f'<button type="button" data-act="{act}">{label}</button>' for act, label in (
        ("in", "+"), ("out", "&minus;"), ("left", "&larr;"), ("right", "&rarr;"), ("all", "all")))
    return (f'<figure data-zoom>\n<div class="tools">{buttons}<output></output></div>\n{_framed(names, drawn)}\n'
            f"<figcaption>{escape(caption)} Drag to move; ctrl and wheel, + and &minus;, or a double click to zoom."
            "</figcaption>\n</figure>\n")


def _framed(names: Sequence[tuple[str, str]], drawn: str) -> str:
    left = "".join(f'<span style="{place}">{escape(name)}</span>' for name, place in names)
    return (f'<div class="picture"><div class="names">{left}</div><div class="view" tabindex="0">{drawn}</div>'
            '<div class="axis"></div></div>')


def _layers(report: Report) -> str:
    columns = ["layer", "operator", "unit", "output", "MACs", "array filled", "why no more",
               "bytes of weights and parameters moved in"]
    if report.cycles is not None:
        columns += ["cycles", "part of the run", "utilisation", "from cycle", "to cycle", "busy", "waited for",
                    "cycles lost"]
    return _note(
        "Cycles are a layer's part of the run and add up; between its first and last cycle other layers may run too, "
        "and what its unit does while the array works for another layer takes none. Busy and waiting cycles are those "
        "of its unit. Lost: all cycles but MACs / multipliers."
        if report.cycles is not None else _FROM_RUN) + _table(
            columns, [_layer(report, layer) for layer in report.layers]) + _conditions(report)


def _layer(report: Report, layer: LayerReport) -> list[object]:
    row: list[object] = [
        layer.name if layer.source in ("", layer.name) else f"{layer.name} ({layer.source})", layer.operator,
        layer.unit, "x".join(map(str, layer.shape)), layer.macs, float(layer.fill) if fills_array(layer) else "",
        "; ".join([*layer.fill_causes, *([layer.note] if layer.note else [])]), layer.traffic.constants_external]
    if report.cycles is not None:
        part = (layer.cycles or 0) / report.cycles
        row += [layer.cycles or 0, _Markup(f'<span class="bar" style="width:{5 * part:.2f}rem"></span>{part:.1%}'),
                float(layer.utilisation or 0) if layer.macs else "", "" if layer.start is None else layer.start,
                "" if layer.end is None else layer.end, layer.busy or 0, waits(layer.waits), waits(layer.lost)]
    return row


def _units(report: Report) -> str:
    if report.cycles is None:
        return _note(_FROM_RUN)
    return _table(["unit", "instructions", "busy cycles", "part of the run", "of these beside a busy array",
                   "with an instruction", "waited for"], [
        (unit.name, unit.instructions, unit.busy, unit.busy / report.cycles,
         "" if unit.beside_array is None else unit.beside_array, unit.active, waits(unit.waits))
        for unit in report.units]) + _conditions(report)


def _memory(report: Report) -> str:
    memory, whole = report.memory, max(report.memory_peak_bytes, 1)
    parts = _table(["part of the unified memory", "bytes", "of the whole"], [
        (name, size, size / max(memory["capacity"], 1)) for name, size in memory.items()])
    names: list[tuple[str, str]] = []
    shown = -1.0
    for region in (*report.regions, Region("tensors", sum(region.bytes for region in report.regions), 0)):
        at = 100 * region.address / whole
        if shown < 0 or at - shown > 4:  # else the names would lie on each other
            names.append((region.name, f"top:{at:.2f}%"))
            shown = at
    caption = (f"Addresses 0 to {report.memory_peak_bytes:,} from the top down; a tensor has the colour of the layer "
               "that makes it. Hover to see its name, shape, bytes and lifetime.")
    out = [parts]
    if report.cycles:
        pool = " In the region of pages: how many of them are in use." if report.filling else ""
        out += ["<h3>By cycles</h3>", _zoomed(names, pictures.memory(report, True), caption + pool)]
    caption += (" From the left to the right: the pieces of work of the program, in order; a tensor made in the bytes "
                "of another shows as that one.")
    out += ["<h3>By pieces of work</h3>", f"<figure>\n{_framed(names, pictures.memory(report, False))}\n"
            f"<figcaption>{escape(caption)}</figcaption>\n</figure>"]
    return "\n".join(out) + _conditions(report)


def _traffic(report: Report) -> str:
    moved = report.traffic
    rows: list[Sequence[object]] = [
        ("read from external memory, as the program says", moved.external_read),
        ("of these: weights and parameters of layers", moved.constants_external),
        ("written to external memory, as the program says", moved.external_write)]
    if report.cycles is not None:
        rows += [("read from external memory, as the machine counted", report.external_read_bytes),
                 ("written to external memory, as the machine counted", report.external_write_bytes)]
    rows += [("read from the unified memory by units and movers", moved.memory_read),
             ("of these: weights", moved.weights_memory),
             ("written to the unified memory by units and movers", moved.memory_write),
             ("program, which the sequencer reads", report.program_bytes)]
    note = "On the chip: what instructions ask for; padding around an image counts as if it were read."
    return _table(["what", "bytes"], rows) + _note(note) + _conditions(report)


def _machine(report: Report) -> str:
    parts = [_table(["configuration", "value"], [(name, _plain(value)) for name, value in report.machine.items()])]
    if report.counters:
        counters = [(f"{unit}.{event}", value) for unit, events in report.counters.items()
                    for event, value in events.items()]
        parts.append("<details><summary>Performance counters</summary>"
                     + _table(["counter", "cycles"], counters) + "</details>")
    more = [("seed of the inputs", report.seed), ("samples", report.samples),
            ("tensors compared with the golden model", report.tensors_compared)]
    parts.append(_table(["run", "value"], [(name, value) for name, value in more if value is not None]))
    return "\n".join(parts) + _conditions(report)


def _plain(value: object) -> object:
    return value if isinstance(value, int | str) else str(value)
