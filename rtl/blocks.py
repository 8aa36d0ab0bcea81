"""The walk over a move instruction's blocks, and their bursts on the external port."""

from amaranth import Module, Mux, Signal, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from .config import ADDRESS_BITS
from .isa import MOVE_IN, SEMAPHORE_NUMBER_BITS
from .issue import Signals
from .ports import Burst, MemoryReadPort, Take

MAX_BURST = 256
"""Beats of the longest burst."""


class BlockEnd(data.Struct):
    """What is due when a block is done: 1 to `give`, and after the last block the instruction's signals."""

    give: unsigned(SEMAPHORE_NUMBER_BITS)
    last: unsigned(1)
    signals: Signals
    tag: unsigned(16)


class Block(data.Struct):
    """A block to copy. `size`: bytes."""

    address: unsigned(ADDRESS_BITS)
    external: unsigned(32)
    size: unsigned(ADDRESS_BITS)
    end: BlockEnd


class Blocks(wiring.Component):
    """Splits move instructions into blocks, each offered once its `take` is granted; at best one in three cycles.

    Block i is at A + i * step, wrapped once into the ring. Fields that cannot be executed (no blocks, no bytes, sizes
    or addresses that do not fit the widths, a step longer than the ring) raise `error` until reset, and the
    instruction is not begun. A block of an `indexed` instruction takes as many cycles more as its number has bits, and
    those of a read.

    Parameters
    ----------
    word_bytes: of the memory. external_bytes: of the external port. aligned: memory addresses must be multiples
    of the word. indexed: there may be `indexed` instructions.

    Members
    -------
    i: stream of instructions; taken with the last block. o: stream of `Block`. take: asked once a block.
    waiting: 1 while a take is refused. error: see above. numbers: unaligned reads, where `indexed`.
    """

    def __init__(self, word_bytes: int, external_bytes: int, aligned: bool, indexed: bool = False) -> None:
        self.word_bytes, self.external_bytes, self.aligned, self.indexed = (
            word_bytes, external_bytes, aligned, indexed)
        super().__init__({
            **({"numbers": Out(MemoryReadPort(word_bytes))} if indexed else {}),
            "i": In(stream.Signature(MOVE_IN.layout())),
            "o": Out(stream.Signature(Block)),
            "take": Out(stream.Signature(Take)),
            "waiting": Out(1),
            "error": Out(1),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        p, block = self.i.payload, self.o.payload
        address = Signal(ADDRESS_BITS, reset_less=True)
        external = Signal(32, reset_less=True)
        left = Signal(16, reset_less=True)  # blocks after this one
        number_at = Signal(ADDRESS_BITS, reset_less=True)
        wrapped = Signal(ADDRESS_BITS + 2, reset_less=True)  # bytes past the ring's end; negative: inside
        m.d.comb += [
            self.take.payload.semaphore.eq(p.take),
            self.take.payload.count.eq(1),
            self.waiting.eq(self.take.valid & ~self.take.ready),
            block.address.eq(address),
            block.external.eq(external),
            block.size.eq(p.block_bytes),
            block.end.give.eq(p.give),
            block.end.last.eq(left == 0),
            block.end.signals.signal0.eq(p.signal0),
            block.end.signals.signal0_count.eq(p.signal0_count),
            block.end.signals.signal1.eq(p.signal1),
            block.end.signals.signal1_count.eq(p.signal1_count),
            block.end.tag.eq(p.tag),
        ]
        with m.FSM():
            with m.State("IDLE"):
                m.d.sync += [address.eq(p.a), external.eq(p.external), left.eq(p.blocks - 1), number_at.eq(p.c)]
                with m.If(self.i.valid):
                    m.next = "CHECK"
            with m.State("CHECK"):
                m.d.sync += wrapped.eq(address - p.ring - p.ring_bytes)
                m.next = "ERROR"
                with m.If(self._possible(m)):
                    m.next = "TAKE"
            with m.State("TAKE"):
                with m.If((p.ring_bytes != 0) & ~wrapped[-1]):
                    m.d.sync += [address.eq(address - p.ring_bytes), wrapped[-1].eq(1)]
                m.d.comb += self.take.valid.eq(p.take != 0)
                with m.If(self.take.ready | (p.take == 0)):
                    m.next = "OFFER"
                    if self.indexed:
                        with m.If(p.indexed):
                            m.next = "READ"
            if self.indexed:
                self._number(m, number_at, external)
            with m.State("OFFER"):
                m.d.comb += [self.o.valid.eq(1), self.i.ready.eq(self.o.ready & (left == 0))]
                with m.If(self.o.ready):
                    m.d.sync += [address.eq(address + p.step), external.eq(external + p.external_step),
                                 left.eq(left - 1), number_at.eq(number_at + 4)]
                    m.next = "IDLE"
                    with m.If(left != 0):
                        m.next = "WRAP"
            with m.State("WRAP"):
                m.d.sync += wrapped.eq(address - p.ring - p.ring_bytes)
                m.next = "TAKE"
            with m.State("ERROR"):
                m.d.comb += self.error.eq(1)
        return m

    def _number(self, m: Module, at: Signal, external: Signal) -> None:
        """States that read the block's number and make its external address: shift and add."""
        p, port = self.i.payload, self.numbers
        number, step = Signal(32, reset_less=True), Signal(32, reset_less=True)
        m.d.comb += port.request.payload.eq(at)
        with m.State("READ"):
            m.d.comb += port.request.valid.eq(1)
            m.d.sync += [external.eq(p.external), step.eq(p.external_step)]
            with m.If(port.request.ready):
                m.next = "ANSWER"
        with m.State("ANSWER"):
            m.d.sync += number.eq(port.response.payload)
            with m.If(port.response.valid):
                m.next = "MULTIPLY"
        with m.State("MULTIPLY"):
            m.d.sync += [number.eq(number >> 1), step.eq(step << 1)]
            with m.If(number[0]):
                m.d.sync += external.eq(external + step)
            with m.If(number == 0):
                m.next = "OFFER"

    def _possible(self, m: Module) -> Signal:
        p = self.i.payload
        words, beats = self.word_bytes - 1, self.external_bytes - 1
        more = Signal()
        possible = Signal()
        m.d.comb += [
            more.eq((p.blocks != 1) | p.indexed),
            possible.eq((p.blocks != 0) & (p.block_bytes != 0) & (p.block_bytes & words == 0)
                        & (p.external & beats == 0) & (~more | (p.external_step & beats == 0))
                        & ~(more & (p.ring_bytes != 0) & (p.step > p.ring_bytes))
                        & ~(p.indexed & ((p.c & 3 != 0) if self.indexed else 1))),
        ]
        if not self.aligned:
            return possible
        aligned = Signal()
        m.d.comb += aligned.eq(possible & (p.a & words == 0) & (~more | (p.step & words == 0))
                               & ((p.ring_bytes == 0) | (p.ring & words == 0) & (p.ring_bytes & words == 0)))
        return aligned


class Bursts(wiring.Component):
    """Splits runs of bytes of the external memory into bursts of at most 256 beats, one a cycle.

    Parameters
    ----------
    external_bytes: bytes of a beat.

    Members
    -------
    i: stream of `external` (first byte address) and `size` (bytes, a multiple of the beat).
    o: stream of `Burst`. last: the burst on `o` is the last of its run.
    """

    def __init__(self, external_bytes: int) -> None:
        self.external_bytes = external_bytes
        super().__init__({
            "i": In(stream.Signature(data.StructLayout({"external": 32, "size": ADDRESS_BITS}))),
            "o": Out(stream.Signature(Burst)),
            "last": Out(1),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        shift = (self.external_bytes - 1).bit_length()
        fetched = Signal()
        address = Signal(32, reset_less=True)
        left = Signal(ADDRESS_BITS, reset_less=True)  # beats - 1
        m.d.comb += [
            self.last.eq(left < MAX_BURST),
            self.o.valid.eq(fetched),
            self.o.payload.address.eq(address),
            self.o.payload.beats.eq(Mux(self.last, left, MAX_BURST - 1)),
        ]
        with m.If(fetched & self.o.ready):
            m.d.sync += [address.eq(address + MAX_BURST * self.external_bytes), left.eq(left - MAX_BURST)]
        with m.If(~fetched | (self.o.ready & self.last)):
            m.d.comb += self.i.ready.eq(1)
            m.d.sync += [
                fetched.eq(self.i.valid),
                address.eq(self.i.payload.external),
                left.eq((self.i.payload.size >> shift) - 1),
            ]
        return m
