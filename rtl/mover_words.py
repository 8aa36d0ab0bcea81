"""Between blocks, words and beats."""

from amaranth import Cat, Module, Signal, unsigned
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from .blocks import Block, BlockEnd
from .config import ADDRESS_BITS
from .stream_fifo import StreamFifo


class BlockWords(wiring.Component):
    """Memory addresses of the words of blocks, one a cycle, without a gap from one block to the next.

    Parameters
    ----------
    word_bytes: of the memory. depth: blocks that wait here.

    Members
    -------
    i: stream of `Block`. o: stream of byte addresses. last: the address is the block's last, whose end is `end`.
    """

    def __init__(self, word_bytes: int, depth: int) -> None:
        self.word_bytes, self.depth = word_bytes, depth
        super().__init__({
            "i": In(stream.Signature(Block)),
            "o": Out(stream.Signature(unsigned(ADDRESS_BITS))),
            "last": Out(1),
            "end": Out(BlockEnd),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.waiting = waiting = StreamFifo(Block, self.depth)
        wiring.connect(m, wiring.flipped(self.i), waiting.i)
        block = waiting.o.payload
        current = Signal()
        address = Signal(ADDRESS_BITS, reset_less=True)
        left = Signal(ADDRESS_BITS, reset_less=True)  # words after this one
        end = Signal(BlockEnd, reset_less=True)
        m.d.comb += [
            self.o.valid.eq(current),
            self.o.payload.eq(address),
            self.last.eq(left == 0),
            self.end.eq(end),
        ]
        with m.If(current & self.o.ready):
            m.d.sync += [address.eq(address + self.word_bytes), left.eq(left - 1)]
        with m.If(~current | (self.o.ready & self.last)):
            m.d.comb += waiting.o.ready.eq(1)
            m.d.sync += [
                current.eq(waiting.o.valid),
                address.eq(block.address),
                left.eq((block.size >> (self.word_bytes - 1).bit_length()) - 1),
                end.eq(block.end),
            ]
        return m


class Packer(wiring.Component):
    """Joins beats to words, the first beat lowest. A word passes in the cycle of its last beat.

    Parameters
    ----------
    beat_bytes, word_bytes: powers of two.

    Members
    -------
    i: stream of beats. o: stream of words.
    """

    def __init__(self, beat_bytes: int, word_bytes: int) -> None:
        self.beat_bytes, self.ratio = beat_bytes, word_bytes // beat_bytes
        super().__init__({
            "i": In(stream.Signature(unsigned(8 * beat_bytes))),
            "o": Out(stream.Signature(unsigned(8 * word_bytes))),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        if self.ratio == 1:
            wiring.connect(m, wiring.flipped(self.i), wiring.flipped(self.o))
            return m
        count = Signal(range(self.ratio))
        kept = Signal(8 * self.beat_bytes * (self.ratio - 1), reset_less=True)
        last = count == self.ratio - 1
        whole = Cat(kept, self.i.payload)
        m.d.comb += [
            self.o.payload.eq(whole),
            self.o.valid.eq(self.i.valid & last),
            self.i.ready.eq(self.o.ready | ~last),
        ]
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += [count.eq(count + 1), kept.eq(whole[8 * self.beat_bytes:])]
        return m


class Unpacker(wiring.Component):
    """Splits words into beats, the lowest first. A word is taken with its last beat.

    Parameters
    ----------
    word_bytes, beat_bytes: powers of two.

    Members
    -------
    i: stream of words. o: stream of beats.
    """

    def __init__(self, word_bytes: int, beat_bytes: int) -> None:
        self.beat_bytes, self.ratio = beat_bytes, word_bytes // beat_bytes
        super().__init__({
            "i": In(stream.Signature(unsigned(8 * word_bytes))),
            "o": Out(stream.Signature(unsigned(8 * beat_bytes))),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        if self.ratio == 1:
            wiring.connect(m, wiring.flipped(self.i), wiring.flipped(self.o))
            return m
        count = Signal(range(self.ratio))
        m.d.comb += [
            self.o.payload.eq(self.i.payload.word_select(count, 8 * self.beat_bytes)),
            self.o.valid.eq(self.i.valid),
            self.i.ready.eq(self.o.ready & (count == self.ratio - 1)),
        ]
        with m.If(self.o.valid & self.o.ready):
            m.d.sync += count.eq(count + 1)
        return m
