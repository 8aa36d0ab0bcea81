"""The machine with a model of external memory around it: what RTL simulators run."""

from amaranth import Module, ResetInserter, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from .config import Config
from .external import ExternalMemoryModel
from .isa import UNITS
from .machine import Machine
from .ports import HostBus, Retired

LATENCY = 32
"""Cycles from a request to external memory to its first beat."""


class BenchTop(wiring.Component):
    """Members of `Machine`, and the storage side of `ExternalMemoryModel` in place of the external port.

    Every unit has its `<unit>_retired`, also where the machine has no such unit. Where there is a codec, the pages in
    use are one more counter, the last one. DSP primitives are replaced by the generic multiplier, which takes the same
    cycles.
    """

    def __init__(self, config: Config, latency: int = LATENCY) -> None:
        self.config = config
        self.machine = Machine(config, simulated=True)
        width = max(1, config.external_bytes)
        self.latency = latency
        super().__init__({
            "host": In(HostBus()),
            "interrupt": Out(1),
            "running": Out(1),
            **{f"{unit}_retired": Out(Retired) for unit in UNITS.values()},
            "counters": Out(data.ArrayLayout(unsigned(32),
                                             len(self.machine.counter_names) + bool(config.codec_lanes))),
            "store_address": Out(32),
            "store_read_data": In(8 * width),
            "store_write": Out(1),
            "store_write_data": Out(8 * width),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.machine = machine = self.machine
        wiring.connect(m, wiring.flipped(self.host), machine.host)
        m.d.comb += [self.interrupt.eq(machine.interrupt), self.running.eq(machine.running),
                     self.counters.eq(machine.counters)]
        if self.config.codec_lanes:
            m.d.comb += self.counters[-1].eq(machine.pages_used)
        for unit in machine.units:
            m.d.comb += getattr(self, f"{unit}_retired").eq(getattr(machine, f"{unit}_retired"))
        if self.config.external_bytes:
            model = ResetInserter(machine.external_reset)(
                ExternalMemoryModel(self.config.external_bytes, self.latency, 32))
            m.submodules.external = model
            wiring.connect(m, machine.external, model.port)
            m.d.comb += [
                self.store_address.eq(model.store_address),
                model.store_read_data.eq(self.store_read_data),
                self.store_write.eq(model.store_write),
                self.store_write_data.eq(model.store_write_data),
            ]
        return m
