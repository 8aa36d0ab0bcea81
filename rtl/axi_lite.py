"""AXI4-Lite in front of the host's register bus."""

import enum

from amaranth import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .ports import HostBus

OKAY, SLVERR = 0b00, 0b10
"""Responses that the bridge gives."""


class AxiLite(wiring.Signature):
    """AXI4-Lite with 32-bit data, seen from the manager; member names are those of the standard (ARM IHI 0022)."""

    def __init__(self, address_bits: int = 32) -> None:
        if not 3 <= address_bits <= 32:
            raise ValueError(f"address_bits must be from 3 to 32, not {address_bits}")
        self.address_bits = address_bits
        super().__init__({
            "awaddr": Out(address_bits), "awprot": Out(3), "awvalid": Out(1), "awready": In(1),
            "wdata": Out(32), "wstrb": Out(4), "wvalid": Out(1), "wready": In(1),
            "bresp": In(2), "bvalid": In(1), "bready": Out(1),
            "araddr": Out(address_bits), "arprot": Out(3), "arvalid": Out(1), "arready": In(1),
            "rdata": In(32), "rresp": In(2), "rvalid": In(1), "rready": Out(1),
        })


class State(enum.IntEnum):
    """Where the access is that is under way."""

    IDLE = 0
    REQUEST = 1
    RESPONSE = 2
    B = 3
    R = 4


class AxiLiteBridge(wiring.Component):
    """AXI4-Lite subordinate that makes accesses of the host bus.

    Address and data of a write may come in any order and at any distance; a read and a write that wait together go
    in turns. One access at a time, an access in 4 cycles and what the bus takes. An error of the bus is SLVERR.
    The bus has no byte strobes: a write of some of the bytes is SLVERR and has no effect, one of none is OKAY.
    Protection bits are ignored.

    Parameters
    ----------
    address_bits: of the AXI side; the rest of a bus address is 0.

    Members
    -------
    axi: from the manager. bus: to the registers.
    """

    def __init__(self, address_bits: int = 32) -> None:
        super().__init__({"axi": In(AxiLite(address_bits)), "bus": Out(HostBus())})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        axi, bus = self.axi, self.bus
        aw = self._hold(m, axi.awvalid, axi.awready)
        w = self._hold(m, axi.wvalid, axi.wready)
        ar = self._hold(m, axi.arvalid, axi.arready)
        awaddr, araddr = Signal.like(axi.awaddr, reset_less=True), Signal.like(axi.araddr, reset_less=True)
        wdata, wstrb = Signal.like(axi.wdata, reset_less=True), Signal.like(axi.wstrb, reset_less=True)
        for held, register, value in ((aw, awaddr, axi.awaddr), (w, wdata, axi.wdata), (w, wstrb, axi.wstrb),
                                      (ar, araddr, axi.araddr)):
            with m.If(~held):
                m.d.sync += register.eq(value)

        state = Signal(State)
        writing = Signal()  # the access that is under way, or was last
        write = Signal()
        m.d.comb += [
            write.eq(aw & w),  # the next one comes a cycle after it has ended, so that a read has its turn
            bus.request.valid.eq(state == State.REQUEST),
            bus.request.payload.write.eq(writing),
            bus.request.payload.address.eq(Mux(writing, awaddr, araddr)),
            bus.request.payload.data.eq(Mux(writing, wdata, 0)),
            bus.response.ready.eq(state == State.RESPONSE),
            axi.bvalid.eq(state == State.B),
            axi.rvalid.eq(state == State.R),
        ]
        with m.Switch(state):
            with m.Case(State.IDLE):
                with m.If(write | ar):
                    m.d.sync += [writing.eq(write), state.eq(State.REQUEST)]
                    with m.If(write & (wstrb != 0xF)):
                        m.d.sync += [axi.bresp.eq(Mux(wstrb == 0, OKAY, SLVERR)), state.eq(State.B)]
            with m.Case(State.REQUEST):
                with m.If(bus.request.ready):
                    m.d.sync += state.eq(State.RESPONSE)
            with m.Case(State.RESPONSE):
                with m.If(bus.response.valid):
                    response = Mux(bus.response.payload.error, SLVERR, OKAY)
                    with m.If(writing):
                        m.d.sync += [axi.bresp.eq(response), state.eq(State.B)]
                    with m.Else():
                        m.d.sync += [axi.rresp.eq(response), axi.rdata.eq(bus.response.payload.data), state.eq(State.R)]
            with m.Case(State.B):
                with m.If(axi.bready):
                    m.d.sync += [aw.eq(0), w.eq(0), state.eq(State.IDLE)]
            with m.Case(State.R):
                with m.If(axi.rready):
                    m.d.sync += [ar.eq(0), state.eq(State.IDLE)]
        return m

    @staticmethod
    def _hold(m: Module, valid: Signal, ready: Signal) -> Signal:
        """A flag that a channel's value has been taken; who finishes the access clears it."""
        held = Signal(name=f"{valid.name}_held")
        m.d.comb += ready.eq(~held)
        with m.If(valid & ready):
            m.d.sync += held.eq(1)
        return held
