"""Tells when instructions begin, for the timeline: logic around a machine, in simulations only."""

from dataclasses import replace
from typing import Any

from amaranth import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from systolith.rtl.ports import Retired

from .engine import Event

SUFFIX = "_start"
"""Engines name events by ports: those of `array_start_retired` are starts of instructions of `array`."""


class FirstBusy(wiring.Component):
    """Pulses at a unit's first busy cycle after each end of an instruction, and after a run's start.

    A unit's instructions end in order, so that is the start of the next one. Where a unit has more than one
    under way, the time until the older one's end counts as the older one's.

    Members
    -------
    running: of the machine. busy: the unit's counter of busy cycles. retired: an instruction ends in this cycle.
    start: pulse, in the cycle after the busy one: counters show an event one cycle later.
    """

    def __init__(self) -> None:
        super().__init__({"running": In(1), "busy": In(32), "retired": In(1), "start": Out(1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        before = Signal(32)
        armed = Signal(init=1)
        m.d.comb += self.start.eq(armed & (self.busy > before))  # a clear makes it smaller
        m.d.sync += before.eq(self.busy)
        with m.If(self.retired | ~self.running):
            m.d.sync += armed.eq(1)
        with m.Elif(self.start):
            m.d.sync += armed.eq(0)
        return m


class Starts(wiring.Component):
    """A bench with, for each unit that counts busy cycles, a port `<unit>_start_retired`: the pulse of `FirstBusy`.

    Parameters
    ----------
    bench: has `running`, `counters` and, for each unit, `<unit>_retired`.
    counter_names: of `counters`, in order; a unit's is "<unit>.busy".

    Members
    -------
    Those of the bench; `<unit>_start_retired`, whose tag is 0.
    """

    def __init__(self, bench: Any, counter_names: list[str]) -> None:
        self._bench = bench
        units = [name.removesuffix("_retired") for name in bench.signature.members if name.endswith("_retired")]
        self._busy = {unit: counter_names.index(f"{unit}.busy") for unit in units if f"{unit}.busy" in counter_names}
        super().__init__({**dict(bench.signature.members.items()),
                          **{f"{unit}{SUFFIX}_retired": Out(Retired) for unit in self._busy}})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.bench = bench = self._bench
        for name, member in bench.signature.members.items():
            inner, outer = getattr(bench, name), getattr(self, name)
            if member.is_signature:
                wiring.connect(m, wiring.flipped(outer), inner)
            else:
                m.d.comb += inner.eq(outer) if member.flow == wiring.In else outer.eq(inner)
        for unit, index in self._busy.items():
            m.submodules[f"{unit}{SUFFIX}"] = watch = FirstBusy()
            m.d.comb += [
                watch.running.eq(bench.running),
                watch.busy.eq(bench.counters[index]),
                watch.retired.eq(getattr(bench, f"{unit}_retired").valid),
                getattr(self, f"{unit}{SUFFIX}_retired").valid.eq(watch.start),
            ]
        return m


def split(events: list[Event]) -> tuple[list[Event], list[Event]]:
    """Starts, under the names of their units, and ends."""
    starts = [replace(event, unit=event.unit.removesuffix(SUFFIX)) for event in events if event.unit.endswith(SUFFIX)]
    return starts, [event for event in events if not event.unit.endswith(SUFFIX)]
