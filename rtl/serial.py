"""Bytes over two wires: an asynchronous receiver and transmitter, 8 data bits, no parity, 1 stop bit."""

import enum

from amaranth import Cat, Const, Module, Signal, unsigned
from amaranth.lib import cdc, stream, wiring
from amaranth.lib.wiring import In, Out


def check_divisor(divisor: int) -> None:
    """Raises ValueError for cycles a bit with which a bit's middle cannot be found."""
    if divisor < 4:
        raise ValueError(f"divisor must be at least 4 cycles a bit, not {divisor}")


class State(enum.IntEnum):
    """Where the receiver is in a byte."""

    IDLE = 0
    START = 1
    DATA = 2
    STOP = 3
    BROKEN = 4
    """waits for the line to rest after a bad stop bit"""


class SerialReceiver(wiring.Component):
    """Takes bytes off a line that rests at 1; each bit is looked at in its middle.

    A sender may be off by 3 % or so. A start bit that has gone by its middle is noise and ignored.

    Parameters
    ----------
    divisor: cycles a bit, at least 4.

    Members
    -------
    rx: the line, not synchronous. data: the byte, in the cycle of a pulse of `valid`. broken: pulse; there was no stop
    bit (the byte is lost). active: within a byte.
    """

    def __init__(self, divisor: int) -> None:
        check_divisor(divisor)
        self.divisor = divisor
        super().__init__({"rx": In(1, init=1), "data": Out(8), "valid": Out(1), "broken": Out(1), "active": Out(1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        rx = Signal(init=1)
        m.submodules.synchronizer = cdc.FFSynchronizer(self.rx, rx, init=1)
        state = Signal(State)
        wait = Signal(range(self.divisor))
        bits = Signal(3)
        now = Signal()
        m.d.comb += [now.eq(wait == 0), self.active.eq(state != State.IDLE)]
        m.d.sync += [wait.eq(wait - 1), self.valid.eq(0), self.broken.eq(0)]
        with m.If(now):
            m.d.sync += wait.eq(self.divisor - 1)
        with m.Switch(state):
            with m.Case(State.IDLE):
                m.d.sync += wait.eq(self.divisor // 2 - 1)
                with m.If(~rx):
                    m.d.sync += state.eq(State.START)
            with m.Case(State.START):
                with m.If(now):
                    m.d.sync += [bits.eq(7), state.eq(State.DATA)]
                    with m.If(rx):
                        m.d.sync += state.eq(State.IDLE)
            with m.Case(State.DATA):
                with m.If(now):
                    m.d.sync += [self.data.eq(Cat(self.data[1:], rx)), bits.eq(bits - 1)]
                    with m.If(bits == 0):
                        m.d.sync += state.eq(State.STOP)
            with m.Case(State.STOP):
                with m.If(now & rx):
                    m.d.sync += [self.valid.eq(1), state.eq(State.IDLE)]
                with m.Elif(now):
                    m.d.sync += [self.broken.eq(1), state.eq(State.BROKEN)]
            with m.Case(State.BROKEN):
                with m.If(rx):
                    m.d.sync += state.eq(State.IDLE)
        return m


class SerialTransmitter(wiring.Component):
    """Puts bytes on a line that rests at 1, each in 10 * `divisor` cycles.

    Parameters
    ----------
    divisor: cycles a bit, at least 4.

    Members
    -------
    i: stream of bytes. tx: the line.
    """

    def __init__(self, divisor: int) -> None:
        check_divisor(divisor)
        self.divisor = divisor
        super().__init__({"i": In(stream.Signature(unsigned(8))), "tx": Out(1, init=1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        wait = Signal(range(self.divisor))
        bits = Signal(9)  # data and stop bit that are still to go
        left = Signal(range(11))
        m.d.comb += self.i.ready.eq(left == 0)
        with m.If(self.i.ready & self.i.valid):
            m.d.sync += [bits.eq(Cat(self.i.payload, Const(1, 1))), self.tx.eq(0), left.eq(10),
                         wait.eq(self.divisor - 1)]
        with m.Elif(wait != 0):
            m.d.sync += wait.eq(wait - 1)
        with m.Elif(left != 0):
            m.d.sync += [wait.eq(self.divisor - 1), left.eq(left - 1), self.tx.eq(bits[0]),
                         bits.eq(Cat(bits[1:], Const(1, 1)))]
        return m
