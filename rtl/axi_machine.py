"""The machine behind AXI4-Lite: for a system that has such a bus."""

from amaranth import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In

from .axi_lite import AxiLite, AxiLiteBridge
from .config import Config
from .machine import Machine


class AxiMachine(wiring.Component):
    """Members of `Machine`, with `axi` (32-bit addresses and data) in place of `host`."""

    def __init__(self, config: Config) -> None:
        self.machine = Machine(config)
        members = dict(self.machine.signature.members)
        del members["host"]
        super().__init__({"axi": In(AxiLite()), **members})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.machine = machine = self.machine
        m.submodules.bridge = bridge = AxiLiteBridge()
        wiring.connect(m, wiring.flipped(self.axi), bridge.axi)
        wiring.connect(m, bridge.bus, machine.host)
        for name, member in self.signature.members.items():
            if member.is_port and name != "axi":
                m.d.comb += getattr(self, name).eq(getattr(machine, name))
            elif name != "axi":
                wiring.connect(m, getattr(machine, name), wiring.flipped(getattr(self, name)))
        return m
