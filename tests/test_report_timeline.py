"""Whose each cycle is, and marks that are merged, against the same counted one by one."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from systolith.gen.report import summary_lines
from systolith.gen.report.measurement import Measurement
from systolith.gen.report.model import Span
from systolith.gen.report.timeline import beside, instruction_spans, share_out
from systolith.gen.report.tracks import LAYERS, Mark, merged, tracks
from systolith.sim.rtl.engine import Event
from tests.report_cases import Line, case, measurement

UNITS = ("array", "depthwise", "vector")


@st.composite
def units(draw: st.DrawFn) -> list[Span]:
    """Instructions of some units, each unit's one after the other, tags as they like."""
    spans = []
    for unit in draw(st.permutations(UNITS)):
        at = 0
        for gap, length, tag in draw(st.lists(st.tuples(st.integers(0, 5), st.integers(1, 9), st.integers(0, 3)),
                                              max_size=8)):
            spans.append(Span(unit, tag, f"layer {tag}", at + gap, at + gap + length, length))
            at += gap + length
    return spans


@settings(max_examples=300, deadline=None)
@given(units(), st.integers(0, 7))
def test_every_cycle_has_one_owner(spans: list[Span], rest: int) -> None:
    cycles = max([span.end for span in spans], default=0) + rest + 1
    slices = share_out(spans, cycles, UNITS)
    assert slices[0].begin == 0 and slices[-1].end == cycles
    assert all(a.end == b.begin and (a.unit, a.tag) != (b.unit, b.tag)
               for a, b in zip(slices, slices[1:], strict=False))
    owner = {cycle: piece for piece in slices for cycle in range(piece.begin, piece.end)}
    for cycle in range(cycles):
        working = {span.unit: span.tag for span in spans if span.start <= cycle < span.end}
        expected = next(((unit, working[unit]) for unit in UNITS if unit in working), None)
        if expected is None:
            later = [(span.start, span.tag) for span in spans if span.start > cycle]
            expected = ("", min(later)[1] if later else -1)
        assert (owner[cycle].unit, owner[cycle].tag) == expected, cycle


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 60), st.integers(1, 40), st.integers(0, 2)), min_size=1, max_size=40),
       st.integers(1, 12))
def test_merged_marks_are_few_and_lose_nothing(drawn: list[tuple[int, int, int]], most: int) -> None:
    marks, at = [], 0
    for gap, length, tag in drawn:
        marks.append(Mark(at + gap, at + gap + length, tag, f"n{tag}", length - 1, f"n{tag}", waits=(("x", 1),)))
        at += gap + length
    shown = merged(marks, most)
    assert len(shown) <= most and (len(marks) > most or shown == marks)
    assert all(a.end <= b.begin for a, b in zip(shown, shown[1:], strict=False))
    assert (shown[0].begin, shown[-1].end) == (marks[0].begin, marks[-1].end)
    assert sum(mark.busy for mark in shown) == sum(mark.busy for mark in marks)
    assert sum(mark.count for mark in shown) == len(marks)
    assert sum(dict(mark.waits)["x"] for mark in shown) == len(marks)
    for mark in shown:
        inside = [one for one in marks if mark.begin <= one.begin and one.end <= mark.end]
        assert len(inside) == mark.count and (mark.name, mark.last) == (inside[0].name, inside[-1].name)
        tags = {one.tag for one in inside}
        assert mark.tag == (tags.pop() if len(tags) == 1 else -1)


@settings(max_examples=200, deadline=None)
@given(*[st.lists(st.tuples(st.integers(0, 90), st.integers(1, 90)), min_size=1, max_size=9)] * 2)
def test_busy_beside_another_unit(first: list[tuple[int, int]], second: list[tuple[int, int]]) -> None:
    """As counted one by one, to a cycle an instruction, for units that are busy from its start to its end."""
    lines = [Line("array"), Line("vector")]
    for line, times in zip(lines, (first, second), strict=True):
        for gap, length in times:
            line.instruction(0, ["idle"] * gap, ["busy"] * (length - 1))
    cycles = max(len(line.busy) for line in lines) + 2
    array, vector = ([*line.busy, *[0] * (cycles - len(line.busy))] for line in lines)
    both = sum(a & b for a, b in zip(array, vector, strict=True))
    made = measurement(lines, cycles)
    for busy, found in ((vector, beside(made, "vector", "array")), (array, beside(made, "array", "vector"))):
        assert found is not None and abs(found * sum(busy) - both) <= len(first) + len(second)
    assert beside(made, "norm", "array") is beside(made, "array", "norm") is None


def test_busy_beside_another_unit_where_both_wait() -> None:
    """8 of the vector unit's first 20 cycles and half of the array's: 4 together; then all of 10 beside 5."""
    def event(cycle: int, array: int, vector: int) -> Event:
        return Event(cycle, "vector", 0, (cycle, array, vector))

    made = Measurement(40, ["cycles", "array.busy", "vector.busy"], [40, 15, 18], [event(20, 10, 8), event(30, 15, 18)])
    assert beside(made, "vector", "array") == pytest.approx((4 + 5) / 18)
    assert beside(made, "array", "vector") == pytest.approx((4 + 5) / 15)


def test_busy_beside_another_unit_in_any_run() -> None:
    """Nearly so where they wait now and then; the report has it."""
    for seed in range(4):
        report, lines, cycles = case(seed)
        padded = {line.unit: [*line.busy, *[0] * (cycles - len(line.busy))] for line in lines}
        for unit in report.units:
            if unit.name == "array" or not unit.busy:
                assert unit.beside_array is None
            else:
                both = sum(a & b for a, b in zip(padded["array"], padded[unit.name], strict=True))
                assert unit.beside_array == pytest.approx(both / unit.busy, abs=0.1)
        (line,) = (line for line in summary_lines(report) if line.startswith("busy while the array is busy too: "))
        assert all((f"{unit.name} {unit.beside_array:.0%}" in line) == (unit.name != "array") for unit in report.units
                   if unit.beside_array is not None)
        assert not any("array is busy too" in line for line in summary_lines(replace(report, units=[])))


def test_an_instruction_may_start_before_the_one_before_it_ends() -> None:
    """Where each has its start, as in the cycle model: 0 to 10, then 4 to 20 and 15 to 30."""
    def event(cycle: int, tag: int = 0) -> Event:
        return Event(cycle, "array", tag, (cycle, cycle))

    made = Measurement(30, ["cycles", "array.busy"], [30, 30], [event(10), event(20, 1), event(30, 2)],
                       starts=[event(1), event(5), event(16)])
    assert [(span.tag, span.start, span.end, span.busy) for span in instruction_spans(made, ["a", "b", "c"])] == [
        (0, 0, 10, 10), (1, 10, 20, 10), (2, 20, 30, 10)]
    made.starts[2] = event(26)
    assert [span.start for span in instruction_spans(made, ["a", "b", "c"])] == [0, 10, 25]


def test_titles() -> None:
    one, other = Mark(0, 5, 0, "a", 5, "a"), Mark(6, 9, 1, "b", 3, "b")
    assert one.title == "a" and merged([one, other], 1)[0].title == "a to b"
    assert merged([one], 0) == [one]


def test_tracks() -> None:
    report, lines, _ = case()
    shown = tracks(report)
    assert list(shown) == [LAYERS, *(line.unit for line in lines)]
    for line in lines:
        assert [(mark.begin, mark.end, mark.tag) for mark in shown[line.unit]] == [
            (start, end, tag) for start, (end, tag) in zip(line.starts, line.ends, strict=True)]
        assert all(0 < mark.busy <= mark.end - mark.begin for mark in shown[line.unit])
    layers = shown[LAYERS]
    assert all(a.end <= b.begin and (a.tag != b.tag or a.end < b.begin)
               for a, b in zip(layers, layers[1:], strict=False))
    for tag, layer in enumerate(report.layers):
        assert sum(mark.end - mark.begin for mark in layers if mark.tag == tag) == layer.cycles
