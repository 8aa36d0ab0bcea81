"""Makes the report of a run from the compiled network and what the simulation measured."""

import dataclasses
from typing import Any

from systolith.gen.emit.artefact import Artefact, Layer
from systolith.gen.graph import Conv2D, Graph, Node
from systolith.gen.passes.shorten import shortened, tokens_of
from systolith.rtl import isa
from systolith.rtl.clip import clipped, is_clipped
from systolith.rtl.config import Config
from systolith.rtl.isa import Instruction

from .hints import hints, lost_cycles
from .measurement import Measurement
from .memory import regions, tensors
from .model import LayerReport, Report, Slice, Span, Traffic, UnitReport, UnitShare
from .timeline import add_up, beside, instruction_spans, is_mover, share_out
from .traffic import executed, traffic

ARRAY = "array"
"""The unit that others should work beside of."""


def run_report(artefact: Artefact, engine: str, preset: str, bit_exact: bool | None, measurement: Measurement | None,
               latency: int, *, seed: int | None = None, samples: int = 1,
               tensors_compared: int | None = None, length: int | None = None) -> Report:
    """Everything that is known of a run.

    engine: which one ran it, "none" for none. measurement: of the last inference, None where nothing is measured.
    latency: cycles to the first beat of the external memory. seed, samples, tensors_compared: see `Report`. length:
    tokens of the last inference where they may be fewer than the network's.
    """
    c = artefact.config
    short = None if length is None or length == tokens_of(artefact.graph) else shortened(artefact.graph, length)
    whole = Traffic()
    parts = [Traffic() for _ in artefact.layers]
    arrays: dict[int, Instruction] = {}
    for instruction, times in executed(artefact.program, c.instruction_slots):
        if short and is_clipped(instruction.kind, instruction.values, length or 0):
            instruction = Instruction(instruction.kind, clipped(instruction.kind, instruction.values, length or 0))
        moved = traffic(instruction, c, artefact.constant_bytes) * times
        whole += moved
        if instruction.tag < len(parts):
            parts[instruction.tag] += moved
        if instruction.kind is isa.ARRAY:
            arrays.setdefault(instruction.tag, instruction)
    nodes = {node.output: node for node in artefact.graph.nodes}
    layers = _of_length(artefact, short) if short else artefact.layers
    report = Report(
        network=artefact.graph.name, preset=preset, rows=c.rows, cols=c.cols, engine=engine, batch=1,
        macs=sum(layer.macs for layer in layers), bit_exact=bit_exact,
        memory_peak_bytes=artefact.sizes["total"], memory=artefact.sizes,
        external_bytes_per_cycle=c.external_bytes, optimise=artefact.optimise, codec=artefact.codec,
        pages={"bytes": c.page_bytes, "limit": artefact.pages.limit, "needed": artefact.pages.needed}
        if artefact.pages else {}, machine=dataclasses.asdict(c),
        conditions=_conditions(artefact, engine, measurement is not None, latency, samples)
        + (f"; a sequence of {length} of {tokens_of(artefact.graph)} tokens" if short else ""), length=length,
        traffic=whole, program_bytes=4 * len(artefact.program), seed=seed, samples=samples,
        tensors_compared=tensors_compared, regions=regions(artefact),
        layers=[_layer(layer, fill_causes(nodes.get(layer.output), arrays.get(tag), c), part)
                for tag, (layer, part) in enumerate(zip(layers, parts, strict=True))])
    if measurement:
        _measured(report, measurement)
    report.tensors = tensors(artefact, report.layers, report.spans, report.cycles)
    return report


def run_record(artefact: Artefact, engine: str, preset: str, bit_exact: bool | None,
               measurement: Measurement | None, latency: int) -> dict[str, Any]:
    """`run_report` as JSON has it."""
    return run_report(artefact, engine, preset, bit_exact, measurement, latency).record()


def _conditions(artefact: Artefact, engine: str, measured: bool, latency: int, samples: int) -> str:
    c = artefact.config
    if not measured:
        return "batch 1, no cycles: " + ("compiled only" if engine == "none" else f"engine {engine} counts none")
    weights = (f"weights start in external memory ({c.external_bytes} bytes a cycle, latency {latency} cycles)"
               if c.external_bytes else "weights lie in the unified memory")
    fed = "brought by the host row by row meanwhile" if artefact.feeds else "in it at the start"
    return (f"batch 1, array {c.rows} x {c.cols}, unified memory {c.memory_bytes} bytes, input {fed}, {weights}, "
            "cycles from the first instruction to the last result in memory, "
            + ("predicted by the cycle model; " if engine == "model" else f"measured on RTL ({engine}); ")
            + (f"the last of {samples} samples; " if samples > 1 else "") + "one MAC is two operations")


def fill_causes(node: Node | None, array: Instruction | None, config: Config) -> list[str]:
    """Why the weight tiles of an operator do not fill the array; `array`: the first of its instructions there."""
    if not isinstance(node, Conv2D) or array is None:
        return []
    channels, _, width, inputs = node.weights.shape
    run, whole = node.weights.size // (channels * array.ky * array.kx), array.kc * config.rows
    causes = []
    if run < whole:
        what = "pixel" if run == inputs else "kernel row" if run == width * inputs else "window"
        causes.append(f"a {what} has {run} input bytes for {_times(array.kc, config.rows)} rows ({run / whole:.0%})")
    if channels < array.tiles * config.cols:
        causes.append(f"{channels} output channels in {_times(array.tiles, config.cols)} columns "
                      f"({channels / (array.tiles * config.cols):.0%})")
    return causes


def _times(count: int, size: int) -> str:
    return str(size) if count == 1 else f"{count} x {size}"


def _of_length(artefact: Artefact, short: Graph) -> list[Layer]:
    """The layers for a shorter sequence: their shapes, and of their multiply-accumulates the part that it has."""
    out = []
    for layer, node, less in zip(artefact.layers, artefact.graph.nodes, short.nodes, strict=True):
        before, after, macs = artefact.graph.tensors[node.output], short.tensors[node.output], layer.macs
        if macs and hasattr(node, "macs") and hasattr(less, "macs"):
            macs = macs * less.macs(after) // node.macs(before)
        out.append(dataclasses.replace(layer, shape=after.shape, macs=macs))
    return out


def _layer(layer: Layer, causes: list[str], moved: Traffic) -> LayerReport:
    return LayerReport(layer.name, layer.operator, layer.unit, layer.source, list(layer.shape), layer.macs,
                       round(layer.fill, 4), causes, layer.note, moved)


def _measured(report: Report, measurement: Measurement) -> None:
    """Fills in what only a measurement tells."""
    report.cycles, report.counters = measurement.cycles, measurement.nested()
    multipliers = report.rows * report.cols
    report.utilisation = round(report.macs / (report.cycles * multipliers), 4)
    paged = report.counters.get("external", {})
    beats = 0
    for name, unit, event in (("read", "move_in", "unpacked"), ("write", "move_out", "packed")):
        moved = report.counters.get(unit, {}).get("busy", 0) + paged.get(event, 0)
        setattr(report, f"external_{name}_bytes", moved * report.external_bytes_per_cycle)
        beats += moved
    report.pages_outside_bytes = sum(paged.values()) * report.external_bytes_per_cycle
    report.port_busy = round(beats / report.cycles, 4)
    if report.pages and measurement.pages:
        report.pages |= {"high_water": measurement.pages[0], "high_water_outside": measurement.pages[1]}
        for cycle, pages in measurement.filling:
            if pages != (report.filling[-1][1] if report.filling else 0):
                report.filling.append([cycle, pages])
    report.simulated_cycles_per_second = round(report.cycles / measurement.seconds) if measurement.seconds else None
    report.spans = instruction_spans(measurement, [layer.name for layer in report.layers])
    report.slices = share_out(report.spans, report.cycles, _by_work(report))
    report.cycles_outside = report.cycles
    spans: list[list[Span]] = [[] for _ in report.layers]
    slices: list[list[Slice]] = [[] for _ in report.layers]
    for span in report.spans:
        if span.tag < len(spans):
            spans[span.tag].append(span)
    for piece in report.slices:
        if 0 <= piece.tag < len(slices):
            slices[piece.tag].append(piece)
    for layer, mine, parts in zip(report.layers, spans, slices, strict=True):
        _measured_layer(layer, mine, parts, multipliers)
        report.cycles_outside -= layer.cycles or 0
    report.units = _units(report, measurement)
    report.hints = hints(report)


def _by_work(report: Report) -> list[str]:
    """The units but for movers: first the one with the most multiply-accumulates."""
    units = [unit for unit in dict.fromkeys(span.unit for span in report.spans) if not is_mover(unit)]
    return sorted(units, key=lambda unit: -sum(layer.macs for layer in report.layers if layer.unit == unit))


def _measured_layer(layer: LayerReport, spans: list[Span], slices: list[Slice], multipliers: int) -> None:
    layer.cycles = sum(piece.end - piece.begin for piece in slices)
    for unit in dict.fromkeys(span.unit for span in spans):
        mine = [span for span in spans if span.unit == unit]
        layer.units.append(UnitShare(
            unit, len(mine), min(span.start for span in mine), max(span.end for span in mine),
            sum(span.end - span.start for span in mine), sum(span.busy for span in mine),
            add_up(waits for span in mine for waits in (span.waits_before, span.waits))))
    working = [share for share in layer.units if not is_mover(share.unit)]
    if working:
        layer.start, layer.end = min(share.start for share in working), max(share.end for share in working)
    for share in working:
        if share.unit == layer.unit:
            layer.busy, layer.waits = share.busy, share.waits
            layer.utilisation = round(layer.macs / (max(layer.cycles, share.active) * multipliers), 4)
    layer.lost = lost_cycles(layer, spans, slices, multipliers)


def _units(report: Report, measurement: Measurement) -> list[UnitReport]:
    """All units that have counters of their own instructions, also those that had nothing to do."""
    out = []
    for name, counts in report.counters.items():
        if "busy" in counts:
            mine = [span for span in report.spans if span.unit == name]
            waits = {event.removeprefix("wait_"): value for event, value in counts.items() if event.startswith("wait_")}
            part = beside(measurement, name, ARRAY) if name != ARRAY else None
            out.append(UnitReport(name, len(mine), counts["busy"], waits, sum(span.end - span.start for span in mine),
                                  None if part is None else round(part, 4)))
    return out
