"""Frames of the byte link: bursts of register accesses with a check sum.

A request: START, sequence, command, words, address (4 bytes), `words` words if it is a WRITE, check sum (2 bytes).
A reply: REPLY, sequence, status, words, that many words, check sum. Numbers are little-endian; the check sum is
CRC-16/MODBUS over all that lies between the first byte and itself. Every request gets one reply, with the request's
sequence number; the host sends the next request after it.

- READ, WRITE: `words` words from `address` on. The reply of a READ that is OK has the words.
- STATUS: no words, the address is ignored. The reply has one word: the errors since the last STATUS, bit n for
  status n, bit 0 for bytes outside frames.
"""

import enum

from amaranth import Cat, Const, Module, Mux, Signal, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.crc import Algorithm
from amaranth.lib.crc.catalog import CRC16_MODBUS
from amaranth.lib.wiring import In, Out

START, REPLY = 0x5A, 0xA5
"""First bytes of a request and of a reply."""
CHECK: Algorithm = CRC16_MODBUS


class Command(enum.IntEnum):
    """What a request asks for."""

    READ = 1
    WRITE = 2
    STATUS = 3


class LinkStatus(enum.IntEnum):
    """What became of a request; all but OK and BUS mean that it has had no effect."""

    OK = 0
    CHECK_SUM = 1
    LENGTH = 2
    """more words than the buffer has, or none"""
    TIMEOUT = 3
    """a byte was too late"""
    COMMAND = 4
    """there is no such command"""
    BUS = 5
    """nothing lives at an address; the reply has it as its only word, and accesses before it have been made"""
    BROKEN = 6
    """a byte without stop bit"""


class Header(data.Struct):
    """The request's bytes after START, up to the words."""

    sequence: unsigned(8)
    command: unsigned(8)
    words: unsigned(8)
    address: unsigned(32)


def check_sum(text: bytes) -> bytes:
    """The two bytes that end a frame with `text` after its first byte."""
    return CHECK(data_width=8).compute(text).to_bytes(2, "little")


class ReceiverState(enum.IntEnum):
    """Where the receiver is in a frame."""

    HUNT = 0
    HEADER = 1
    VERIFY = 2
    WORDS = 3
    CHECK_SUM = 4
    FLUSH = 5
    """after an error: waits until the line has been quiet"""
    DONE = 6


class FrameReceiver(wiring.Component):
    """Takes requests out of bytes, and the words of a WRITE into a buffer.

    After an error it waits until no byte has come for `timeout` cycles before it is done, so that the rest of a bad
    frame is not taken for the next one.

    Parameters
    ----------
    max_words: of a request, up to 255. timeout: cycles after which a byte of a frame is late.

    Members
    -------
    data, valid, broken, active: from `SerialReceiver`.
    done: a request is there, as `header` and `status` (`LinkStatus`; the header means nothing unless it is OK).
    release: pulse; looks for the next request. Bytes between `done` and it are stray.
    stray: pulse; a byte outside a frame. store, index, word: writes the buffer.
    """

    def __init__(self, max_words: int, timeout: int) -> None:
        if not 1 <= max_words <= 255:
            raise ValueError(f"max_words must be from 1 to 255, not {max_words}")
        if timeout < 1:
            raise ValueError(f"timeout must be at least 1 cycle, not {timeout}")
        self.max_words = max_words
        self.timeout = timeout
        super().__init__({
            "data": In(8), "valid": In(1), "broken": In(1), "active": In(1),
            "done": Out(1), "header": Out(Header), "status": Out(8), "release": In(1),
            "stray": Out(1), "store": Out(1), "index": Out(8), "word": Out(32),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.check = check = CHECK(data_width=8).create()
        state = Signal(ReceiverState)
        left = Signal(3)  # bytes of the header, the word or the check sum, less one
        quiet = Signal(range(self.timeout + 1))
        silent = Signal()
        framed = state.matches(ReceiverState.HEADER, ReceiverState.WORDS, ReceiverState.CHECK_SUM)
        m.d.comb += [
            silent.eq(quiet == self.timeout),
            self.done.eq(state == ReceiverState.DONE),
            self.stray.eq(self.valid & (self.done | ((state == ReceiverState.HUNT) & (self.data != START)))),
            check.start.eq(state == ReceiverState.HUNT),
            check.valid.eq(self.valid & framed),
            check.data.eq(self.data),
        ]
        with m.If(self.active | self.valid | self.broken | ~(framed | (state == ReceiverState.FLUSH))):
            m.d.sync += quiet.eq(0)
        with m.Elif(~silent):
            m.d.sync += quiet.eq(quiet + 1)
        with m.If(self.valid):
            m.d.sync += left.eq(left - 1)
        header = self.header.as_value()
        with m.Switch(state):
            with m.Case(ReceiverState.HUNT):
                m.d.sync += [self.status.eq(LinkStatus.OK), self.index.eq(0), left.eq(6)]
                with m.If(self.valid & (self.data == START)):
                    m.d.sync += state.eq(ReceiverState.HEADER)
            with m.Case(ReceiverState.HEADER):
                with m.If(self.valid):
                    m.d.sync += header.eq(Cat(header[8:], self.data))
                    with m.If(left == 0):
                        m.d.sync += state.eq(ReceiverState.VERIFY)
            with m.Case(ReceiverState.VERIFY):  # two byte times are far longer than this cycle
                self._verify(m, state, left)
            with m.Case(ReceiverState.WORDS):
                self._words(m, state, left)
            with m.Case(ReceiverState.CHECK_SUM):
                with m.If((left == 7) & ~self.valid):  # both bytes have come, and are in the sum
                    m.d.sync += state.eq(ReceiverState.DONE)
                    with m.If(~check.match_detected):
                        m.d.sync += [self.status.eq(LinkStatus.CHECK_SUM), state.eq(ReceiverState.FLUSH)]
            with m.Case(ReceiverState.FLUSH):
                with m.If(silent):
                    m.d.sync += state.eq(ReceiverState.DONE)
            with m.Case(ReceiverState.DONE):
                with m.If(self.release):
                    m.d.sync += state.eq(ReceiverState.HUNT)
        with m.If(framed & silent):
            m.d.sync += [self.status.eq(LinkStatus.TIMEOUT), state.eq(ReceiverState.DONE)]
        with m.If(framed & self.broken):
            m.d.sync += [self.status.eq(LinkStatus.BROKEN), state.eq(ReceiverState.FLUSH)]
        return m

    def _verify(self, m: Module, state: Signal, left: Signal) -> None:
        header = self.header
        write = header.command == Command.WRITE
        m.d.sync += [left.eq(Mux(write, 3, 1)), state.eq(Mux(write, ReceiverState.WORDS, ReceiverState.CHECK_SUM))]
        counted = (header.words != 0) & (header.words <= self.max_words)
        with m.If(~header.command.matches(Command.READ, Command.WRITE, Command.STATUS)):
            m.d.sync += [self.status.eq(LinkStatus.COMMAND), state.eq(ReceiverState.FLUSH)]
        with m.Elif(Mux(header.command == Command.STATUS, header.words != 0, ~counted)):
            m.d.sync += [self.status.eq(LinkStatus.LENGTH), state.eq(ReceiverState.FLUSH)]

    def _words(self, m: Module, state: Signal, left: Signal) -> None:
        full = Signal()
        m.d.sync += full.eq(self.valid & (left == 0))
        m.d.comb += self.store.eq(full)
        with m.If(self.valid):
            m.d.sync += self.word.eq(Cat(self.word[8:], self.data))
            with m.If(left == 0):
                m.d.sync += left.eq(3)
        with m.If(full):
            m.d.sync += self.index.eq(self.index + 1)
            with m.If(self.index == self.header.words - 1):
                m.d.sync += [left.eq(1), state.eq(ReceiverState.CHECK_SUM)]


class SenderState(enum.IntEnum):
    """Which part of a reply goes out."""

    IDLE = 0
    HEAD = 1
    WORDS = 2
    CHECK_SUM = 3


class FrameSender(wiring.Component):
    """Makes the bytes of a reply; its words come from a buffer.

    Members
    -------
    start: pulse; sends a reply with `sequence`, `status` and `words`, which stay as they are until `done`.
    index, word: reads the buffer; `word` follows `index` by two cycles.
    o: stream of bytes. done: pulse; the last byte has been taken.
    """

    start: In(1)
    sequence: In(8)
    status: In(8)
    words: In(8)
    index: Out(8)
    word: In(32)
    o: Out(stream.Signature(8))
    done: Out(1)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.check = check = CHECK(data_width=8).create()
        state = Signal(SenderState)
        byte = Signal(2)
        settled, waited = Signal(), Signal()  # the buffer and the sum have answered to the last byte
        sent, summed = Signal(), Signal()
        head = Cat(self.sequence, self.status, self.words)
        m.d.comb += [
            self.o.valid.eq((state != SenderState.IDLE) & settled),
            sent.eq(self.o.valid & self.o.ready),
            check.start.eq(state == SenderState.IDLE),
        ]
        m.d.sync += [check.data.eq(self.o.payload), check.valid.eq(summed)]
        m.d.sync += [waited.eq((state != SenderState.IDLE) & ~sent),
                     settled.eq(waited & (state != SenderState.IDLE) & ~sent)]
        with m.If(sent):
            m.d.sync += byte.eq(byte + 1)
        with m.Switch(state):
            with m.Case(SenderState.IDLE):
                m.d.sync += [byte.eq(0), self.index.eq(0)]
                with m.If(self.start):
                    m.d.sync += state.eq(SenderState.HEAD)
            with m.Case(SenderState.HEAD):
                m.d.comb += [self.o.payload.eq(Cat(Const(REPLY, 8), head).word_select(byte, 8)),
                             summed.eq(sent & (byte != 0))]
                with m.If(sent & (byte == 3)):
                    m.d.sync += state.eq(Mux(self.words == 0, SenderState.CHECK_SUM, SenderState.WORDS))
            with m.Case(SenderState.WORDS):
                m.d.comb += [self.o.payload.eq(self.word.word_select(byte, 8)), summed.eq(sent)]
                with m.If(sent & (byte == 3)):
                    m.d.sync += self.index.eq(self.index + 1)
                    with m.If(self.index == self.words - 1):
                        m.d.sync += state.eq(SenderState.CHECK_SUM)
            with m.Case(SenderState.CHECK_SUM):
                m.d.comb += self.o.payload.eq(check.crc.word_select(byte[0], 8))
                with m.If(sent & (byte == 1)):
                    m.d.comb += self.done.eq(1)
                    m.d.sync += state.eq(SenderState.IDLE)
        return m
