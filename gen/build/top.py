"""What goes into a board's FPGA: a machine, its serial link and its clock."""

from typing import Any

from amaranth import ClockDomain, ClockSignal, Const, Instance, Module, ResetSignal, Signal
from amaranth.lib import wiring
from amaranth.lib.cdc import FFSynchronizer
from amaranth.lib.wiring import In, Out

from systolith.rtl.config import Config
from systolith.rtl.machine import Machine
from systolith.rtl.uart import UartBridge

from .pll import Pll

LINK_TIMEOUT_S = 0.02
"""Silence within a frame of the serial link after which it is given up."""


class BoardTop(wiring.Component):
    """A machine behind a serial link, in a clock domain made by a PLL; reset until 2**8 cycles after the PLL locks.

    Parameters
    ----------
    config: of the machine; it has no external memory here. clock: settings of the PLL, with its output's frequency.
    source_mhz: of `clk_in`. baud: of the link. leds: how many.

    Members
    -------
    clk_in: the board's oscillator. rx, tx: serial line. led: running, interrupt, link error, PLL locked, blink.
    """

    def __init__(self, config: Config, clock: Pll, source_mhz: float, baud: int, leds: int) -> None:
        self.clock = clock
        self.source_mhz = source_mhz
        self.machine = Machine(config)
        divisor = round(clock.mhz * 1e6 / baud)
        self.bridge = UartBridge(divisor, timeout=round(LINK_TIMEOUT_S * clock.mhz * 1e6))
        super().__init__({"clk_in": In(1), "rx": In(1), "tx": Out(1), "led": Out(leds)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        locked = self._clock_and_reset(m)
        m.submodules.machine = machine = self.machine
        m.submodules.link = link = self.bridge
        wiring.connect(m, link.bus, machine.host)
        blink = Signal(26)
        failed = Signal()
        m.d.sync += blink.eq(blink + 1)
        with m.If(link.errors.any()):
            m.d.sync += failed.eq(1)
        shown = [machine.running, machine.interrupt, failed, locked, blink[-1]]
        m.d.comb += [link.rx.eq(self.rx), self.tx.eq(link.tx)]
        m.d.comb += [self.led[index].eq(light) for index, light in enumerate(shown[:len(self.led)])]
        return m

    def _clock_and_reset(self, m: Module) -> Signal:
        """The domains `sync` and `early` (the same clock, never reset); the PLL's lock, in that clock."""
        m.domains.sync = ClockDomain()
        m.domains.early = ClockDomain(reset_less=True)
        fast, lock, locked, count = Signal(), Signal(), Signal(), Signal(9)
        m.submodules.pll = _ehxplll(self.clock, self.source_mhz, self.clk_in, fast, lock)
        m.submodules.lock = FFSynchronizer(lock, locked, o_domain="early")
        m.d.comb += [ClockSignal("sync").eq(fast), ClockSignal("early").eq(fast), ResetSignal("sync").eq(~count[-1])]
        with m.If(~locked):
            m.d.early += count.eq(0)
        with m.Elif(~count[-1]):
            m.d.early += count.eq(count + 1)
        return locked


def _ehxplll(clock: Pll, source_mhz: float, source: Signal, output: Signal, lock: Signal) -> Any:
    """The ECP5's PLL with its first output as feedback; see Lattice FPGA-TN-02200."""
    ports: dict[str, Any] = {f"i_{name}": Const(0) for name in (
        "RST", "STDBY", "PHASESEL0", "PHASESEL1", "PLLWAKESYNC", "ENCLKOP")}
    ports |= {f"i_{name}": Const(1) for name in ("PHASEDIR", "PHASESTEP", "PHASELOADREG")}
    return Instance(
        "EHXPLLL",
        a_FREQUENCY_PIN_CLKI=f"{source_mhz:g}", a_FREQUENCY_PIN_CLKOP=f"{clock.mhz:g}",
        a_ICP_CURRENT="12", a_LPF_RESISTOR="8", a_MFG_ENABLE_FILTEROPAMP="1", a_MFG_GMCREF_SEL="2",
        p_PLLRST_ENA="DISABLED", p_INTFB_WAKE="DISABLED", p_STDBY_ENABLE="DISABLED", p_DPHASE_SOURCE="DISABLED",
        p_OUTDIVIDER_MUXA="DIVA", p_OUTDIVIDER_MUXB="DIVB", p_OUTDIVIDER_MUXC="DIVC", p_OUTDIVIDER_MUXD="DIVD",
        p_CLKI_DIV=clock.reference, p_CLKFB_DIV=clock.feedback, p_FEEDBK_PATH="CLKOP",
        p_CLKOP_ENABLE="ENABLED", p_CLKOP_DIV=clock.output, p_CLKOP_CPHASE=clock.output // 2, p_CLKOP_FPHASE=0,
        i_CLKI=source, i_CLKFB=output, o_CLKOP=output, o_LOCK=lock, **ports)
