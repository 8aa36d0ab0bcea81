"""The trace: what Perfetto wants of complete events, names and counters, and what the report says."""

import json
from typing import Any

import pytest

from systolith.gen.report.trace import trace
from systolith.gen.report.tracks import LAYERS
from tests.report_cases import case


def _events(seed: int = 1, evil: bool = False) -> list[dict[str, Any]]:
    return json.loads(json.dumps(trace(case(seed, evil)[0])))["traceEvents"]


@pytest.mark.parametrize("seed", range(3))
def test_events_are_in_order_and_do_not_overlap(seed: int) -> None:
    events = _events(seed)
    names = [event for event in events if event["ph"] == "M"]
    timed = [event for event in events if event["ph"] != "M"]
    assert events == names + timed and {event["ph"] for event in timed} == {"X", "C"}
    assert [event["ts"] for event in timed] == sorted(event["ts"] for event in timed)
    free: dict[tuple[int, int], int] = {}
    for event in timed:
        assert all(type(event[key]) is int for key in ("pid", "tid", "ts"))
        if event["ph"] == "X":
            track = event["pid"], event["tid"]
            assert event["ts"] >= free.get(track, 0) and type(event["dur"]) is int and event["dur"] > 0
            free[track] = event["ts"] + event["dur"]


@pytest.mark.parametrize("evil", [False, True])
def test_tracks_have_names(evil: bool) -> None:
    report, lines, _ = case(1, evil)
    events = _events(1, evil)
    names = {event["tid"]: event["args"]["name"] for event in events if event["name"] == "thread_name"}
    assert list(names.values()) == [LAYERS, *(line.unit for line in lines)]
    assert {event["tid"] for event in events if event["ph"] == "X"} == set(names)
    order = {event["tid"]: event["args"]["sort_index"] for event in events if event["name"] == "thread_sort_index"}
    assert sorted(names, key=lambda tid: order[tid]) == list(names)
    (process,) = [event for event in events if event["name"] == "process_name"]
    assert report.network in process["args"]["name"] and "1 cycle = 1 us" in process["args"]["name"]
    assert len({event["pid"] for event in events}) == 1


def test_events_are_the_instructions() -> None:
    report, lines, _ = case()
    events = [event for event in _events() if event["ph"] == "X"]
    for line in lines:
        mine = [event for event in events if event["cat"] == line.unit]
        assert [(event["ts"], event["ts"] + event["dur"]) for event in mine] == [
            (start, end) for start, (end, _) in zip(line.starts, line.ends, strict=True)]
        for event, span in zip(mine, (span for span in report.spans if span.unit == line.unit), strict=True):
            layer = report.layers[span.tag]
            assert event["name"] == layer.name and event["args"]["layer"] == span.tag
            assert event["args"]["operator"] == layer.operator and event["args"]["busy"] == span.busy
            assert {key.removeprefix("wait "): value for key, value in event["args"].items()
                    if key.startswith("wait ")} == span.waits
    layers = [event for event in events if event["cat"] == LAYERS]
    assert sum(event["dur"] for event in layers) == sum(layer.cycles or 0 for layer in report.layers)


def test_memory_is_counted() -> None:
    report, _, cycles = case()
    counters = [event for event in _events() if event["ph"] == "C"]
    for index, event in enumerate(counters):
        alive = {at for t in report.tensors if (t.begin or 0) <= event["ts"] < (t.end or 0)
                 for at in range(t.address, t.address + t.bytes)}
        assert event["args"]["bytes"] == len(alive)
        assert index == 0 or event["ts"] > counters[index - 1]["ts"]
    assert counters[0]["ts"] == 0 and counters[-1] == counters[-1] | {"ts": cycles, "args": {"bytes": 0}}


def test_the_trace_says_its_conditions() -> None:
    report = case()[0]
    assert trace(report)["otherData"] == {"network": "small", "conditions": report.conditions, "cycles": report.cycles}
