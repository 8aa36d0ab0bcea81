"""A report as tables and lines for a terminal."""

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from .model import LayerReport, Report

HINTS = 3
"""What costs most, in the lines below a table."""


def console(**options: Any) -> Console:
    """A console that does not cut tables where the output is not a terminal."""
    plain = Console(**options)
    return plain if plain.is_terminal else Console(width=160, **options)


def exactness(bit_exact: bool | None) -> str:
    """Whether outputs were those of the golden model, in a word or two."""
    return {True: "yes", False: "NO", None: "not checked"}[bit_exact]


def waits(causes: dict[str, int]) -> str:
    """Causes and cycles, the largest first."""
    return ", ".join(f"{cause} {cycles:,}" for cause, cycles in sorted(causes.items(), key=lambda item: -item[1]))


def fills_array(layer: LayerReport) -> bool:
    """Whether the part of the array that a layer fills means anything."""
    return layer.unit == "array" and layer.macs > 0


def title(report: Report) -> str:
    """Which network on which machine."""
    return f"{report.network} on {report.preset} ({report.rows} x {report.cols}), {report.engine}"


def layer_table(given: Report | dict[str, Any]) -> Table:
    """The layers of a report, or of its record."""
    report = Report.of(given)
    table = Table(title=title(report), title_justify="left")
    for name in ("layer", "operator", "unit", "output"):
        table.add_column(name)
    measured = ("cycles", "busy", "utilisation", "waited for (cycles)") if report.cycles is not None else ()
    for name in ("MACs", "array filled", *measured):
        table.add_column(name, justify="left" if name.startswith("waited") else "right")
    for layer in report.layers:
        table.add_row(*_row(layer, report.cycles is not None))
    return table


def _row(layer: LayerReport, measured: bool) -> list[str]:
    row = [layer.name, layer.operator, layer.unit, "x".join(map(str, layer.shape)),
           f"{layer.macs:,}", f"{layer.fill:.0%}" if fills_array(layer) else ""]
    if measured:
        row += [f"{layer.cycles or 0:,}", f"{layer.busy or 0:,}",
                f"{layer.utilisation or 0:.1%}" if layer.macs else "", waits(layer.waits)]
    return row


def summary_lines(given: Report | dict[str, Any]) -> list[str]:
    """The figures below the table."""
    report = Report.of(given)
    memory = report.memory
    lines = []
    if report.cycles is not None:
        rate = report.simulated_cycles_per_second
        lines += [f"cycles {report.cycles:,}, MACs {report.macs:,}, utilisation {report.utilisation:.2%}, "
                  f"bit-exact: {exactness(report.bit_exact)}",
                  f"external memory: {report.external_read_bytes:,} bytes read, "
                  f"{report.external_write_bytes:,} written"
                  + (f"; simulated at {rate:,} cycles a second" if rate else "")]
        lines += _beside_line(report)
    parts = ", ".join(f"{name} {size:,}" for name, size in memory.items() if name not in ("total", "capacity"))
    lines.append(f"unified memory: {memory['total']:,} of {memory['capacity']:,} bytes ({parts})")
    if report.pages:
        lines.append(_pages_line(report.pages))
    lines += [f"lost: {hint.cycles:,} cycles in {hint.layer}: {hint.text}" for hint in report.hints[:HINTS]]
    return [*lines, f"conditions: {report.conditions}"]


def _beside_line(report: Report) -> list[str]:
    """How much of the other units' work the array's hides."""
    parts = [f"{unit.name} {unit.beside_array:.0%}" for unit in report.units if unit.beside_array is not None]
    return [f"busy while the array is busy too: {', '.join(parts)} of their busy cycles"] if parts else []


def _pages_line(pages: dict[str, int]) -> str:
    line = (f"pages of {pages['bytes']} bytes: the program may use {pages['limit']} on the chip, its samples needed "
            f"{pages['needed']}")
    if "high_water" not in pages:
        return line
    used, outside = pages["high_water"], pages["high_water_outside"]
    return (f"{line}; in use at most {used} (a margin of {(used + outside) / max(pages['needed'], 1) - 1:+.0%}), "
            f"outside {outside}")


def bench_table(reports: Sequence[Report]) -> Table:
    """A line a network; the memory's peak and the activations in it in KiB, the simulation's speed in kHz."""
    table = Table(title="benchmark, batch 1", title_justify="left")
    for name in ("network", "goal", "machine"):
        table.add_column(name)
    for name in ("MMAC", "cycles", "utilised", "port busy", "KiB", "activations", "bit-exact", "kHz"):
        table.add_column(name, justify="right")
    for r in reports:
        table.add_row(r.network, r.optimise + ("" if r.codec == "off" else f", {r.codec}"),
                      f"{r.preset} {r.rows} x {r.cols}", f"{r.macs / 1e6:,.2f}", f"{r.cycles or 0:,}",
                      f"{r.utilisation or 0:.1%}", f"{r.port_busy or 0:.1%}",
                      f"{r.memory_peak_bytes / 1024:,.1f}", f"{r.memory['activations'] / 1024:,.1f}",
                      exactness(r.bit_exact), f"{(r.simulated_cycles_per_second or 0) / 1000:,.0f}")
    return table
