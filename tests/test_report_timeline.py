"""Whose each cycle is, and marks that are merged, against the same counted one by one."""

from hypothesis import given, settings
from hypothesis import strategies as st

from systolith.gen.report.model import Span
from systolith.gen.report.timeline import share_out
from systolith.gen.report.tracks import LAYERS, Mark, merged, tracks
from tests.report_cases import case

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
