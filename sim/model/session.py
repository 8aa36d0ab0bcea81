"""A compiled network on the cycle model: what an RTL engine would measure, without values."""

import time

from systolith.gen.emit.artefact import Artefact
from systolith.gen.report import Measurement
from systolith.sim.rtl.engine import Event

from .host import HostRow
from .model import predict
from .timing import Timing


def timing_of(artefact: Artefact, length: int = 0, most: int | None = None) -> Timing:
    """The prediction for one inference; `length`: what the register LENGTH says; `most`: see `predict`."""
    tensors = artefact.graph.tensors
    feeds = [HostRow(row.address, tensors[row.tensor].bytes // tensors[row.tensor].shape[0], row.after, row.gives)
             for row in artefact.feeds]
    return predict(artefact.config, artefact.memory, feeds=feeds,
                   tile_bytes=artefact.pages.tile_bytes if artefact.pages else {}, external=artefact.external,
                   length=length, most=most)


def measure(artefact: Artefact, length: int = 0) -> Measurement:
    """The prediction for one inference, in the form of a measurement; the inputs do not matter."""
    begin = time.perf_counter()
    timing = timing_of(artefact, length)
    seconds = time.perf_counter() - begin
    starts = sorted(timing.spans, key=lambda span: span.first)
    return Measurement(timing.cycles, timing.counter_names, timing.counters([timing.cycles])[0].tolist(),
                       _events(timing, [(span.end, span.unit, span.tag) for span in timing.spans]), seconds,
                       # RTL engines see a busy cycle when it has been counted
                       _events(timing, [(span.first + 1, span.unit, 0) for span in starts]))


def _events(timing: Timing, times: list[tuple[int, str, int]]) -> list[Event]:
    """Cycle (from 0), unit and tag as events; an RTL engine counts the cycle of an event too."""
    counters = timing.counters([cycle for cycle, _, _ in times])
    return [Event(cycle + 1, unit, tag, tuple(row.tolist()))
            for (cycle, unit, tag), row in zip(times, counters, strict=True)]
