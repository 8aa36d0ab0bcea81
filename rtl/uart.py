"""The host's register bus over a serial line."""

import enum

from amaranth import Module, Signal, unsigned
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out

from .frames import Command, FrameReceiver, FrameSender, LinkStatus
from .ports import HostBus
from .serial import SerialReceiver, SerialTransmitter


class State(enum.IntEnum):
    """What the bridge does."""

    RECEIVE = 0
    FETCH = 1
    """reads the buffer for a write"""
    FETCHED = 2
    """the word is on its way"""
    REQUEST = 3
    RESPONSE = 4
    STORE = 5
    """puts a single word into the buffer: an address or the errors"""
    START = 6
    SEND = 7


class UartBridge(wiring.Component):
    """Executes the requests that `frames` defines, one after the other, and replies.

    A request that is damaged, too long or too slow has no effect and gets an error reply; the errors are kept until
    a STATUS request has read them. Whatever comes in, the next good request after a silence of `timeout` is executed.

    Parameters
    ----------
    divisor: cycles a bit, at least 4. max_words: of a request or reply, 1 to 255 (a buffer of as many words).
    timeout: cycles without a byte after which a frame is given up. A host's operating system may pause in the
    middle of a frame: this should be milliseconds.

    Members
    -------
    rx, tx: the line. bus: to the registers.
    errors: the errors since the last STATUS, bit n for `LinkStatus` n, bit 0 for bytes outside frames.
    """

    def __init__(self, divisor: int, max_words: int = 64, timeout: int = 1 << 20) -> None:
        self._receiver = FrameReceiver(max_words, timeout)
        self._serial_receiver = SerialReceiver(divisor)
        self._serial_transmitter = SerialTransmitter(divisor)
        self.divisor = divisor
        self.max_words = max_words
        self.timeout = timeout
        super().__init__({
            "rx": In(1, init=1),
            "tx": Out(1, init=1),
            "bus": Out(HostBus()),
            "errors": Out(1 + max(LinkStatus)),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.serial_receiver = line = self._serial_receiver
        m.submodules.serial_transmitter = transmitter = self._serial_transmitter
        m.submodules.receiver = receiver = self._receiver
        m.submodules.sender = sender = FrameSender()
        m.submodules.buffer = buffer = memory.Memory(shape=unsigned(32), depth=self.max_words, init=[])
        write, read = buffer.write_port(), buffer.read_port()
        wiring.connect(m, sender.o, transmitter.i)
        fetched = Signal(32, reset_less=True)  # a block RAM's data comes late in its cycle
        m.d.comb += [
            line.rx.eq(self.rx),
            self.tx.eq(transmitter.tx),
            *(getattr(receiver, name).eq(getattr(line, name)) for name in ("data", "valid", "broken", "active")),
            sender.word.eq(fetched),
        ]
        m.d.sync += fetched.eq(read.data)
        state = Signal(State)
        index = Signal(8)  # of the access
        status = Signal(8)
        words = Signal(8)  # of the reply
        m.d.comb += [
            sender.sequence.eq(receiver.header.sequence), sender.status.eq(status), sender.words.eq(words),
            sender.start.eq(state == State.START),
            receiver.release.eq(sender.done),
            read.addr.eq(sender.index),
            write.en.eq(receiver.store), write.addr.eq(receiver.index), write.data.eq(receiver.word),
        ]
        single = Signal(32)  # the only word of a reply that is no READ's
        with m.Switch(state):
            with m.Case(State.RECEIVE):
                m.d.sync += [index.eq(0), status.eq(receiver.status), words.eq(0)]
                with m.If(receiver.done):
                    self._begin(m, state, single)
            with m.Case(State.FETCH):
                m.d.comb += read.addr.eq(index)
                m.d.sync += state.eq(State.FETCHED)
            with m.Case(State.FETCHED):
                m.d.comb += read.addr.eq(index)
                m.d.sync += state.eq(State.REQUEST)
            with m.Case(State.REQUEST, State.RESPONSE):
                m.d.comb += read.addr.eq(index)
                self._access(m, state, index, status, words, single, write)
            with m.Case(State.STORE):
                m.d.comb += [write.en.eq(1), write.addr.eq(0), write.data.eq(single)]
                m.d.sync += [words.eq(1), state.eq(State.START)]
            with m.Case(State.START):
                m.d.sync += state.eq(State.SEND)
            with m.Case(State.SEND):
                with m.If(sender.done):
                    m.d.sync += state.eq(State.RECEIVE)
        m.d.comb += [
            self.bus.request.payload.write.eq(receiver.header.command == Command.WRITE),
            self.bus.request.payload.address.eq(receiver.header.address + (index << 2)),
            self.bus.request.payload.data.eq(fetched),
        ]
        self._keep_errors(m, state, status)
        return m

    def _begin(self, m: Module, state: Signal, single: Signal) -> None:
        """A request is there."""
        receiver = self._receiver
        with m.If(receiver.status != LinkStatus.OK):
            m.d.sync += state.eq(State.START)
        with m.Elif(receiver.header.command == Command.STATUS):
            m.d.sync += [single.eq(self.errors), self.errors.eq(0), state.eq(State.STORE)]
        with m.Else():
            m.d.sync += state.eq(State.FETCH)

    def _access(self, m: Module, state: Signal, index: Signal, status: Signal, words: Signal, single: Signal,
                write: memory.WritePort) -> None:
        """One access after the other, until the last or an error."""
        header, bus = self._receiver.header, self.bus
        reading = header.command == Command.READ
        m.d.comb += [bus.request.valid.eq(state == State.REQUEST), bus.response.ready.eq(state == State.RESPONSE)]
        with m.If((state == State.REQUEST) & bus.request.ready):
            m.d.sync += state.eq(State.RESPONSE)
        with m.If((state == State.RESPONSE) & bus.response.valid):
            m.d.comb += [write.en.eq(reading), write.addr.eq(index), write.data.eq(bus.response.payload.data)]
            m.d.sync += [index.eq(index + 1), state.eq(State.FETCH)]
            with m.If(bus.response.payload.error):
                m.d.sync += [status.eq(LinkStatus.BUS), single.eq(bus.request.payload.address), state.eq(State.STORE)]
            with m.Elif(index == header.words - 1):
                m.d.sync += state.eq(State.START)
                with m.If(reading):
                    m.d.sync += words.eq(header.words)

    def _keep_errors(self, m: Module, state: Signal, status: Signal) -> None:
        with m.If(self._receiver.stray):
            m.d.sync += self.errors[0].eq(1)
        with m.If(self._serial_receiver.broken):
            m.d.sync += self.errors[LinkStatus.BROKEN].eq(1)
        with m.If((state == State.START) & (status != LinkStatus.OK)):
            m.d.sync += self.errors.bit_select(status[:3], 1).eq(1)
