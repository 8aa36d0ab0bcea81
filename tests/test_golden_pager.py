"""The pager's model by itself: what readers find in the pages that they get, whatever the order of the requests."""

from typing import Any

import hypothesis.strategies as st
from hypothesis import given, settings

from systolith.rtl.pager_ports import PageRequestKind as Kind
from systolith.rtl.pager_ports import PagerError
from systolith.sim.golden.pager import Answer, PagerModel

REQUESTS = st.tuples(st.sampled_from(list(Kind)), st.integers(0, 2), st.integers(0, 2), st.integers(1, 3))


@settings(max_examples=300, deadline=None)
@given(st.integers(1, 6), st.integers(0, 3), st.integers(0, 7), st.lists(REQUESTS, max_size=150))
def test_contents(pages: int, outside: int, limit: int, requests: list[tuple[Any, int, int, int]]) -> None:
    """Each writer marks its pages with numbers that are used once; a reader finds those of its stream, in order, none
    left out and none overwritten. In the end everything comes back."""
    model = PagerModel(pages, outside, 3, 3, limit)
    marks: dict[int, tuple[int, int]] = {}  # of each page: its stream's opening, number within
    written: dict[int, tuple[int, int]] = {}  # of each stream: opening, pages written
    on: dict[tuple[int, int], int] = {}  # pages that a reader has had
    openings = 0
    for kind, stream, reader, count in requests:
        page, ok, _ = model.request(kind, stream, reader, count)
        if not ok:
            continue
        if kind == Kind.OPEN:
            openings += 1
            written[stream] = openings, 0
            on.update({(stream, r): 0 for r in range(3)})
        elif kind == Kind.EXTEND:
            opening, number = written[stream]
            written[stream] = opening, number + 1
            marks[page] = written[stream]
        elif kind == Kind.FOLLOW:
            on[stream, reader] += 1
            assert marks[page] == (written[stream][0], on[stream, reader])
        assert model.used <= min(limit, pages) and model.used_outside <= outside
    for stream in list(model.open):
        if not model.open[stream].finished:
            model.request(Kind.FINISH, stream)
        for reader in list(model.open[stream].at) if stream in model.open else []:
            model.request(Kind.DROP, stream, reader)
    assert model.used == model.used_outside == 0 and not model.open


def test_order_of_pages() -> None:
    """The page that came back last is given first; then those that were never used; then those outside; then none."""
    model = PagerModel(4, 1, 1, 1, limit=3)
    model.request(Kind.OPEN, 0, count=1)
    assert [model.request(Kind.EXTEND, 0) for _ in range(2)] == [Answer(0), Answer(1)]
    assert model.request(Kind.FOLLOW, 0) == Answer(0) and model.request(Kind.FOLLOW, 0) == Answer(1)
    assert [model.request(Kind.EXTEND, 0).page for _ in range(3)] == [0, 2, 4]
    assert model.request(Kind.EXTEND, 0) == Answer(ok=0) and model.refusals == 1
    assert model.chip.high_water == 3 and model.beyond.high_water == 1 and model.code == PagerError.NONE


def test_end_and_drop() -> None:
    """A reader at the end is told so and keeps its page until it drops; the writer's page stays while it writes."""
    model = PagerModel(4, 0, 1, 2)
    model.request(Kind.OPEN, 0, count=2)
    model.request(Kind.EXTEND, 0)
    model.request(Kind.DROP, 0, 1)
    assert model.request(Kind.FOLLOW, 0, 0) == Answer(0) and model.request(Kind.FOLLOW, 0, 0) == Answer(ok=0)
    model.request(Kind.DROP, 0, 0)
    assert model.used == 1 and model.request(Kind.EXTEND, 0) == Answer(0)
    assert model.request(Kind.FINISH, 0) == Answer() and model.used == 0 and not model.open
    model.request(Kind.OPEN, 0, count=1)
    model.request(Kind.FINISH, 0)
    assert model.request(Kind.FOLLOW, 0) == Answer(ok=0, end=1) and 0 in model.open
    assert model.request(Kind.DROP, 0) == Answer() and not model.open
    assert model.request(Kind.DROP, 0) == Answer(ok=0) and model.code == PagerError.STREAM_NOT_OPEN
