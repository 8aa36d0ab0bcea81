"""A report as a trace: the Trace Event Format in JSON, which ui.perfetto.dev and chrome://tracing open.

Complete events ("X") of a thread must not overlap but for nesting; a report's tracks do not. A cycle is a microsecond.
"""

from typing import Any

from .model import Report
from .terminal import title
from .tracks import Mark, tracks

_PROCESS = 1


def trace(report: Report) -> dict[str, Any]:
    """The whole trace; events are in order of time, names before them."""
    lines = {name: marks for name, marks in tracks(report).items() if marks}
    names: list[dict[str, Any]] = [_metadata("process_name", 0, name=f"{title(report)}; 1 cycle = 1 us")]
    events = []
    for thread, (name, marks) in enumerate(lines.items(), 1):
        names += [_metadata("thread_name", thread, name=name),
                  _metadata("thread_sort_index", thread, sort_index=thread)]
        events += [_event(report, name, thread, mark) for mark in marks]
    events += _memory(report)
    return {"traceEvents": names + sorted(events, key=lambda event: event["ts"]), "displayTimeUnit": "ns",
            "otherData": {"network": report.network, "conditions": report.conditions, "cycles": report.cycles}}


def _metadata(what: str, thread: int, **values: Any) -> dict[str, Any]:
    return {"ph": "M", "name": what, "pid": _PROCESS, "tid": thread, "args": values}


def _event(report: Report, track: str, thread: int, mark: Mark) -> dict[str, Any]:
    known: dict[str, Any] = {}
    if 0 <= mark.tag < len(report.layers):
        layer = report.layers[mark.tag]
        known = {"layer": mark.tag, "operator": layer.operator, "output": "x".join(map(str, layer.shape))}
    return {"ph": "X", "name": mark.name, "cat": track, "pid": _PROCESS, "tid": thread, "ts": mark.begin,
            "dur": mark.end - mark.begin,
            "args": known | {"busy": mark.busy} | {f"wait {cause}": cycles for cause, cycles in mark.waits}}


def _memory(report: Report) -> list[dict[str, Any]]:
    """A counter of the bytes that hold a tensor which is alive."""
    tensors = [(t.begin, t.end, t.address, t.address + t.bytes) for t in report.tensors
               if t.begin is not None and t.end is not None]
    events = []
    for cycle in sorted({edge for begin, end, _, _ in tensors for edge in (begin, end)}):
        used = top = 0
        for _, _, low, high in sorted((t for t in tensors if t[0] <= cycle < t[1]), key=lambda t: t[2]):
            used += max(high - max(low, top), 0)  # a tensor may be made in the bytes of another
            top = max(top, high)
        events.append({"ph": "C", "name": "bytes of tensors", "pid": _PROCESS, "tid": 0, "ts": cycle,
                       "args": {"bytes": used}})
    return events
