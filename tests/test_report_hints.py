"""Lost cycles: how many, why, and in whose name."""

import dataclasses
from typing import Any

from systolith.gen.report import layer_table, run_report
from systolith.gen.report.hints import FILL, NOTHING, hints, lost_cycles
from systolith.gen.report.model import Hint, LayerReport, Slice, Span, Traffic, UnitShare
from tests.report_cases import Line, artefact, case, measurement, text


def test_hints_are_ordered_and_worth_it() -> None:
    report = case()[0]
    assert report.hints == hints(report)
    costs = [hint.cycles for hint in report.hints]
    assert costs == sorted(costs, reverse=True) and len(costs) > 5
    lost = sorted(((layer.name, cause, cycles) for layer in report.layers for cause, cycles in layer.lost.items()
                   if 1000 * cycles >= (report.cycles or 0)))
    assert sorted((hint.layer, hint.cause, hint.cycles) for hint in report.hints) == lost
    assert all(len(hint.text) > 20 for hint in report.hints)
    small = dataclasses.replace(report, cycles=max(costs) * 1000)
    assert [hint.cycles for hint in hints(small)] == [max(costs)] * costs.count(max(costs))


def _hint(cause: str, **changes: Any) -> str:
    """What is said of a cause, of a layer like "first"."""
    report = dataclasses.replace(case()[0])
    layer = dataclasses.replace(report.layers[0], lost={cause: report.cycles or 0}, **changes)
    report.layers = [layer]
    (hint,) = hints(report)
    assert isinstance(hint, Hint) and hint.cycles == report.cycles
    return hint.text


def test_hints_say_why() -> None:
    first: LayerReport = case()[0].layers[0]
    says = "the array is 25% filled: too few; too narrow"
    assert _hint(FILL, fill=0.25, fill_causes=["too few", "too narrow"]) == says
    assert "makes 2.0 products a busy cycle, of 20" in _hint(FILL, fill_causes=[], busy=first.macs // 2)
    assert "last result before it" in _hint(NOTHING) and "accumulators" in _hint("accumulators")
    assert _hint("moonlight") == "the array unit waits for moonlight"
    assert "still makes its results" in _hint("alone: vector") and "vector" in _hint("alone: vector")
    assert "while no products are made" in _hint("alone: warp", macs=0)
    moved = Traffic(constants_external=4000)
    for busy, waits, says in ((950, {}, "limited by the bandwidth of external memory"),
                              (400, {"memory": 9, "semaphore": 30}, "not for want of bandwidth"),
                              (400, {"memory": 9, "semaphore": 30}, "waited for semaphore")):
        said = _hint("weights", traffic=moved, busy=450, units=[UnitShare("move_in", 1, 0, 1000, 1000, busy, waits)])
        assert says in said and "4,000 bytes of weights and parameters take 1,000 cycles at 4 bytes" in said
        assert ("; 9 bytes a cycle would keep up with the array unit" in said) == (busy == 950)
    assert "not loaded yet" in _hint("weights", traffic=Traffic())


def test_a_layer_that_another_hides() -> None:
    """A unit works beside the array: the cycles are the array's layer's, its own are what is left."""
    array, vector = Line("array"), Line("vector")
    array.instruction(0, [], ["busy"] * 500)
    vector.instruction(2, ["input"] * 100, ["busy"] * 100)
    report = run_report(artefact(), "verilator", "tiny", True, measurement([array, vector], 502), 32)
    assert report.layers[2].cycles == 0 and report.layers[2].busy == 101 and report.layers[2].lost == {}
    assert report.layers[0].cycles == 501 and report.layers[0].lost == {FILL: 501 - 8748 // 20}


def test_a_layer_that_another_hides_in_part() -> None:
    """What its unit did in the cycles that are not its own costs nothing."""
    layer = dataclasses.replace(case()[0].layers[0], unit="depthwise", macs=200)
    spans = [Span("depthwise", 0, "first", 0, 100, 80, {"semaphore": 7}, {"input": 20})]
    slices = [Slice(50, 100, "depthwise", 0), Slice(100, 103, "vector", 0), Slice(103, 105, "", 0)]
    assert lost_cycles(layer, spans, slices, 20) == {"alone: vector": 3, NOTHING: 2, FILL: 35, "input": 5}


def test_a_layer_beside_the_array() -> None:
    """The depthwise unit works while the array does: hardly a cycle is its own, but it is no faster than it is."""
    array, depthwise = Line("array"), Line("depthwise")
    array.instruction(0, [], ["busy"] * 499)
    depthwise.instruction(1, [], ["busy"] * 509)
    layers = [artefact().layers[0], dataclasses.replace(artefact().layers[1], unit="depthwise", macs=5100),
              *artefact().layers[2:]]
    report = run_report(dataclasses.replace(artefact(), layers=layers), "verilator", "tiny", True,
                        measurement([array, depthwise], 511), 32)
    assert report.layers[1].cycles == 10 and report.layers[1].utilisation == 0.5 and report.layers[1].lost == {}
    fill = f"{report.layers[1].fill:.0%}"
    assert fill in text(layer_table(case()[0])).split("second")[1].split("\n")[0]
    assert fill not in text(layer_table(report)).split("second")[1].split("\n")[0]  # it fills no array


def test_a_wait_for_weights_is_no_other_wait() -> None:
    """While the weights' semaphore refuses, the array counts two waits."""
    layer = dataclasses.replace(case()[0].layers[0], macs=200)
    for semaphore, rest in ((70, {"semaphore": 10, "start and end": 5}), (60, {"start and end": 15}),
                            (50, {"start and end": 15})):
        spans = [Span("array", 0, "first", 0, 100, 20, {}, {"semaphore": semaphore, "weights": 60, "input": 5})]
        found = lost_cycles(layer, spans, [Slice(0, 100, "array", 0)], 20)
        assert found == {FILL: 10, "weights": 60, "input": 5} | rest
