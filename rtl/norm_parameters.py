"""The norm unit's parameters: those of an instruction are loaded while the one before it still uses its own."""

from amaranth import Module, Mux, Signal
from amaranth.lib import data, fifo, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from .config import ADDRESS_BITS
from .isa import NORM_ELEMS
from .norm_rows import COUNT_BITS, place_bits
from .norm_setup import Channels
from .ports import MemoryReadPort
from .vector_address import SLOTS
from .vector_reader import ReadAhead


def parameter_write(lanes: int) -> data.StructLayout:
    """Words of parameters on their way: the gain and shift of lane k are word 2 k, its offset is word 2 k + 1; those
    with their bit in `words` go to the chunk at `place`."""
    return data.StructLayout({"words": 2 * lanes, "place": place_bits(lanes), "values": 64 * lanes})


class ParameterLoader(wiring.Component):
    """Loads parameters, as many a cycle as a memory word or a chunk has, in the order of the instructions.

    They follow each other round and round in a memory for NORM_ELEMS channels, each instruction's from a chunk of their
    own on. They are overwritten when the instruction has released them.

    Parameters
    ----------
    word_bytes: of the memory, a power of two, at least 4. lanes: channels of a chunk, a power of two.

    Members
    -------
    i: stream of `Channels`, at multiples of word_bytes. port: memory. write: to the parameters.
    loaded: those of the oldest instruction that has not released them are there.
    released: pulse: that instruction needs them no more.
    """

    def __init__(self, word_bytes: int, lanes: int) -> None:
        self._word_bytes, self._lanes = word_bytes, lanes
        super().__init__({
            "i": In(stream.Signature(Channels)),
            "port": Out(MemoryReadPort(word_bytes)),
            "write": Out(parameter_write(lanes)),
            "loaded": Out(1),
            "released": In(1),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        lanes = self._lanes
        word, chunk = self._word_bytes // 4, 2 * lanes  # 32-bit words of each
        step = min(word, chunk)
        steps_a_word, steps_a_chunk = word // step, chunk // step
        m.submodules.words = words = ReadAhead(self._word_bytes)
        connect(m, words.port, flipped(self.port))
        address = Signal(ADDRESS_BITS, reset_less=True)
        asked, left = Signal(COUNT_BITS + 1), Signal(COUNT_BITS + 1)  # words still to be asked for, steps to be made
        part, segment = Signal(range(steps_a_word)), Signal(range(steps_a_chunk))  # of the word, of the chunk
        place = Signal(place_bits(lanes))
        write, moves, ends = Signal(parameter_write(lanes)), Signal(), Signal()
        starts = self._account(m, ends)
        m.d.comb += [
            words.i.payload.eq(address), words.i.valid.eq(asked != 0),
            moves.eq(words.o.valid & (left != 0)),
            ends.eq(moves & (left == 1)),
            words.o.ready.eq(moves & ((part == steps_a_word - 1) | (left == 1))),
            self.write.eq(write),
        ]
        given = words.o.payload.word_select(part, 32 * step)
        m.d.sync += [
            write.words.eq(Mux(moves, ((1 << step) - 1) << (step * segment), 0)),
            write.place.eq(place), write.values.eq(given.replicate(steps_a_chunk)),
        ]
        with m.If(moves):
            m.d.sync += [left.eq(left - 1), part.eq(part + 1), segment.eq(segment + 1)]
            with m.If((segment == steps_a_chunk - 1) | (left == 1)):
                m.d.sync += [place.eq(place + 1), segment.eq(0)]
            with m.If(left == 1):
                m.d.sync += part.eq(0)
        elems = self.i.payload.elems
        with m.If(starts):
            m.d.sync += [
                address.eq(self.i.payload.base),
                asked.eq(((elems << 1) + word - 1) >> word.bit_length() - 1),
                left.eq(((elems << 1) + step - 1) >> step.bit_length() - 1),
            ]
        with m.Elif(words.i.valid & words.i.ready):
            m.d.sync += [address.eq(address + self._word_bytes), asked.eq(asked - 1)]
        return m

    def _account(self, m: Module, ends: Signal) -> Signal:
        """Takes an instruction when there is room for its parameters; `ends`: the last of them are written."""
        size = Signal(place_bits(self._lanes) + 1)  # chunks
        m.submodules.sizes = sizes = fifo.SyncFIFO(width=len(size), depth=SLOTS)
        free = Signal.like(size, init=NORM_ELEMS // self._lanes)
        ready, running, stored, starts = Signal(range(SLOTS + 1)), Signal(), Signal(), Signal()
        m.d.comb += [
            size.eq((self.i.payload.elems + self._lanes - 1) >> self._lanes.bit_length() - 1),
            self.i.ready.eq(~running & sizes.w_rdy & (size <= free)),
            starts.eq(self.i.valid & self.i.ready),
            sizes.w_data.eq(size), sizes.w_en.eq(starts), sizes.r_en.eq(self.released),
            self.loaded.eq(ready != 0),
        ]
        m.d.sync += [
            running.eq((running | starts) & ~ends),
            stored.eq(ends),
            ready.eq(ready + stored - self.released),
            free.eq(free - Mux(starts, size, 0) + Mux(self.released, sizes.r_data, 0)),
        ]
        return starts
