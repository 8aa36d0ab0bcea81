"""What a report says of a run adds up, and is what the run's cycles, counted one by one, say."""

import dataclasses
import json
import math

import pytest

from systolith.gen.report import Measurement, Report, layer_table, run_record, run_report, summary_lines
from systolith.gen.report.build import fill_causes
from systolith.gen.report.model import Span
from systolith.gen.report.timeline import instruction_spans
from systolith.gen.report.tracks import LAYERS, tracks
from systolith.rtl import isa
from tests.report_cases import CAUSES, Line, artefact, case, measurement, text
from tests.test_rtl_machine import CONFIG

SEEDS = range(5)


@pytest.mark.parametrize("seed", SEEDS)
def test_spans_are_the_instructions(seed: int) -> None:
    report, lines, _ = case(seed)
    for line in lines:
        spans = [span for span in report.spans if span.unit == line.unit]
        assert [span.start for span in spans] == line.starts
        assert [(span.end, span.tag) for span in spans] == line.ends
        previous = 0
        for span in spans:
            assert previous <= span.start < span.end and span.layer == report.layers[span.tag].name
            assert span.busy == sum(line.busy[previous:span.end])
            assert min([*span.waits.values(), *span.waits_before.values()], default=1) > 0
            for cause in CAUSES:
                seen = line.waits[cause]
                assert span.waits_before.get(cause, 0) == sum(seen[previous:span.start])
                assert span.waits.get(cause, 0) == sum(seen[span.start:span.end])
            previous = span.end


@pytest.mark.parametrize("seed", SEEDS)
def test_layers_add_up(seed: int) -> None:
    report, lines, cycles = case(seed)
    assert report.cycles == cycles and report.cycles_outside is not None and report.cycles_outside >= 3
    assert sum(layer.cycles or 0 for layer in report.layers) + report.cycles_outside == cycles
    assert [piece.begin for piece in report.slices[1:]] == [piece.end for piece in report.slices[:-1]]
    assert (report.slices[0].begin, report.slices[-1].end) == (0, cycles)
    for tag, layer in enumerate(report.layers):
        ideal = layer.macs // CONFIG.macs
        assert sum(layer.lost.values()) + ideal == layer.cycles and min(layer.lost.values(), default=1) > 0
        mine = {line.unit: [(start, end) for start, (end, t) in zip(line.starts, line.ends, strict=True) if t == tag]
                for line in lines}
        for share in layer.units:
            assert share.instructions == len(mine[share.unit])
            assert (share.start, share.end) == (mine[share.unit][0][0], mine[share.unit][-1][1])
            assert share.active == sum(end - start for start, end in mine[share.unit])
            if share.unit == layer.unit:
                assert (layer.busy, layer.waits) == (share.busy, share.waits)
        assert {share.unit for share in layer.units} == {unit for unit, spans in mine.items() if spans}
        working = [span for unit, spans in mine.items() if unit != "move_in" for span in spans]
        assert (layer.start, layer.end) == ((min(s for s, _ in working), max(e for _, e in working)) if working
                                            else (None, None))
        own = sum(end - start for start, end in mine.get(layer.unit, []))
        assert (layer.utilisation is None) == (own == 0)
        if layer.utilisation is not None:
            assert layer.utilisation == pytest.approx(layer.macs / CONFIG.macs / max(layer.cycles, own), abs=1e-4)
            assert layer.utilisation <= 1
    assert report.utilisation == pytest.approx(report.macs / CONFIG.macs / cycles, abs=1e-4)


@pytest.mark.parametrize("seed", SEEDS)
def test_units_add_up(seed: int) -> None:
    report, lines, _ = case(seed)
    assert [unit.name for unit in report.units] == [line.unit for line in lines]
    for unit, line in zip(report.units, lines, strict=True):
        shares = [share for layer in report.layers for share in layer.units if share.unit == unit.name]
        assert unit.instructions == len(line.ends) == sum(share.instructions for share in shares)
        assert unit.busy == sum(line.busy) == sum(share.busy for share in shares)
        assert unit.active == sum(share.active for share in shares)
        assert unit.waits == {cause: sum(seen) for cause, seen in line.waits.items()}
        assert unit.waits == {cause: sum(share.waits.get(cause, 0) for share in shares) for cause in CAUSES}
    assert report.counters["array"]["busy"] == next(unit.busy for unit in report.units if unit.name == "array")
    assert report.external_read_bytes == report.counters["move_in"]["busy"] * CONFIG.external_bytes
    assert report.external_write_bytes == 0


def test_fill_has_reasons() -> None:
    first, second, total, *_, last = artefact().graph.nodes
    columns = "9 output channels in 2 x 5 columns (90%)"
    for node, (ky, kx, kc, tiles), says in (
            (first, (3, 1, 3, 2), ["a kernel row has 9 input bytes for 3 x 4 rows (75%)", columns]),
            (first, (3, 3, 1, 2), ["a pixel has 3 input bytes for 4 rows (75%)", columns]),
            (first, (1, 1, 7, 2), ["a window has 27 input bytes for 7 x 4 rows (96%)", columns]),
            (second, (3, 1, 7, 2), ["a kernel row has 27 input bytes for 7 x 4 rows (96%)", columns]),
            (last, (1, 1, 3, 1), ["a pixel has 9 input bytes for 3 x 4 rows (75%)"]),
            (total, (1, 1, 1, 1), [])):
        assert fill_causes(node, isa.ARRAY(ky=ky, kx=kx, kc=kc, tiles=tiles), CONFIG) == says
        assert fill_causes(node, None, CONFIG) == []
    layers = {layer.name: layer for layer in case()[0].layers}
    assert layers["first"].fill_causes[-1] == columns and layers["sum"].fill_causes == []
    for name in ("first", "second", "last"):  # the reasons explain the figure
        parts = [int(cause.rsplit("(", 1)[1][:-2]) / 100 for cause in layers[name].fill_causes]
        assert math.prod(parts) == pytest.approx(layers[name].fill, abs=0.01)


def test_json_holds_everything() -> None:
    report = case()[0]
    record = json.loads(json.dumps(report.record()))
    assert Report.of(record) == report and Report.of(report) is report
    assert Report.of(record | {"of the example": 1}) == report
    unmeasured = run_report(artefact(), "none", "tiny", None, None, 0)
    assert Report.of(json.loads(json.dumps(unmeasured.record()))) == unmeasured
    assert unmeasured.cycles is None and not unmeasured.spans and "compiled only" in unmeasured.conditions


def test_conditions() -> None:
    report = case()[0]
    for part in ("batch 1", "4 x 5", "131072 bytes", "4 bytes a cycle", "latency 32", "verilator"):
        assert part in report.conditions
    shown = measurement(*_lines(Line("array")))
    assert "the last of 7 samples" in run_report(artefact(), "icarus", "tiny", None, shown, 32, samples=7).conditions
    assert "engine golden counts none" in run_report(artefact(), "golden", "tiny", None, None, 32).conditions
    resident = dataclasses.replace(artefact(), config=CONFIG.replace(external_bytes=0))
    assert "weights lie in the unified memory" in run_report(resident, "icarus", "tiny", True, shown, 32).conditions


def _lines(*lines: Line) -> tuple[list[Line], int]:
    return list(lines), max([len(line.busy) for line in lines], default=0) + 5


def test_the_terminal_shows_records_too() -> None:
    """Programs that keep the record show the same."""
    report = case()[0]
    assert text(layer_table(report.record())) == text(layer_table(report))
    assert summary_lines(report.record()) == summary_lines(report)
    lines = "\n".join(summary_lines(report))
    assert f"cycles {report.cycles:,}" in lines and report.conditions in lines and "bit-exact: yes" in lines
    assert sum(line.startswith("lost: ") for line in summary_lines(report)) == 3
    assert report.hints[0].text in lines
    record = run_record(artefact(), "none", "tiny", None, None, 0)
    assert record["cycles"] is None and "cycles" not in "".join(summary_lines(record)[:-1])
    assert "utilisation" not in text(layer_table(record)) and "utilisation" in text(layer_table(report))


def test_units_are_found_by_name() -> None:
    """A unit that nobody has heard of, and one without counters or starts, have their share."""
    warp, array = Line("warp"), Line("array")
    for tag in (0, 2, 0):
        warp.instruction(tag, ["semaphore"] * 3, ["busy", "input"])
    array.instruction(0, ["weights"] * 20, ["busy"] * 9)
    made = measurement([warp, array], 40)
    quiet = [dataclasses.replace(event, unit="quiet", cycle=event.cycle + 2) for event in made.events
             if event.unit == "warp"]
    report = run_report(artefact(), "verilator", "tiny", True,
                        dataclasses.replace(made, events=[*made.events, *quiet]), 32)
    assert [unit.name for unit in report.units] == ["warp", "array"]
    assert report.units[0].waits == {"semaphore": 9, "input": 3, "weights": 0}
    first = report.layers[0]
    assert [(share.unit, share.busy, share.active) for share in first.units] == [
        ("warp", 4, 6), ("array", 10, 10), ("quiet", 0, 14)]
    assert first.lost["alone: warp"] + report.layers[2].lost["alone: warp"] == 9
    assert (first.start, first.end) == (0, 30)  # without starts an instruction begins where the one before it ends


def test_what_belongs_to_no_layer_is_outside() -> None:
    line = Line("vector")
    for tag in (1, 6, 1):  # there are 6 layers
        line.instruction(tag, [], ["busy"] * 9)
    report = run_report(artefact(), "verilator", "tiny", True, measurement([line], 33), 32)
    assert report.cycles_outside == 13 and [layer.cycles for layer in report.layers[:2]] == [0, 20]
    assert report.spans[1].layer == "tag 6"
    assert [(mark.begin, mark.end) for mark in tracks(report)[LAYERS]] == [(0, 10), (20, 30)]


def test_a_run_without_starts() -> None:
    report, lines, cycles = case()
    made = measurement(lines, cycles)
    spans = instruction_spans(Measurement(made.cycles, made.counter_names, made.counters, made.events),
                              [layer.name for layer in report.layers])
    for line in lines:
        mine = [span for span in spans if span.unit == line.unit]
        assert [span.start for span in mine] == [0, *(span.end for span in mine[:-1])]
        assert sum(span.busy for span in mine) == sum(line.busy)


def test_an_instruction_that_was_busy_only_before_the_other_ended() -> None:
    line = Line("vector")
    line.instruction(0, ["semaphore"], ["busy"] * 5)
    line.ends.append((10, 1))  # in the pipeline behind the first
    spans = instruction_spans(measurement([line], 12), ["a", "b"])
    assert [(span.start, span.end, span.busy) for span in spans] == [(1, 7, 6), (7, 10, 0)]


def test_tensors_have_their_own_bytes() -> None:
    report, lines, cycles = case()
    assert {name for tensor in report.tensors for name in (tensor.name, *tensor.also)} == set(artefact().graph.tensors)
    own = [tensor for tensor in report.tensors if not tensor.within]
    start = sum(region.bytes for region in report.regions)
    assert [region.address for region in report.regions] == [0, *(
        region.address + region.bytes for region in report.regions[:-1])]
    for index, a in enumerate(own):
        assert start <= a.address and a.address + a.bytes <= report.memory_peak_bytes
        for b in own[index + 1:]:
            assert (a.last < b.first or b.last < a.first or a.address + a.bytes <= b.address
                    or b.address + b.bytes <= a.address), (a, b)
    by_name = {tensor.name: tensor for tensor in report.tensors}
    assert by_name["pool"].also == ["flat"] and by_name["sum"].within in ("", "first", "second")
    assert (by_name["input"].begin, by_name["input"].layer) == (0, -1) and by_name["first"].layer == 0
    assert by_name["last"].end == cycles and by_name["pool"].end == report.layers[5].end
    assert by_name["first"].end == max(report.layers[1].end or 0, report.layers[2].end or 0)
    vector = next(line for line in lines if line.unit == "vector")
    number = next(one.number for one in artefact().written if one.tensor == "second")
    assert by_name["second"].begin == vector.starts[number]


def test_spans_know_their_layers() -> None:
    assert all(isinstance(span, Span) and 0 <= span.tag < 6 for span in case()[0].spans)
