"""Chunks of outputs of one or two bytes become words."""

from amaranth import Cat, Module, Mux, Signal, unsigned
from amaranth.lib import fifo, stream, wiring
from amaranth.lib.wiring import In, Out

from .norm_outputs import outputs
from .norm_rows import Place


class NormPack(wiring.Component):
    """Collects the chunks of a row in words, and keeps places for the words of chunks that are still on their way.

    Parameters
    ----------
    word_bytes: of the memory. lanes: elements of a chunk, up to word_bytes / 2. depth: words that it holds.

    Members
    -------
    wide: outputs have two bytes, else one; it changes only while no chunk is on its way.
    reads: place of a chunk that sets out for this component in this cycle. enable: it may: there is a place for it.
    i: the chunks, in the same order. o: stream of words; a row's first output is the first of a word, and bytes past
    its end are noise.
    """

    def __init__(self, word_bytes: int, lanes: int, depth: int) -> None:
        self._word_bytes, self._lanes, self._depth = word_bytes, lanes, depth
        super().__init__({
            "wide": In(1),
            "reads": In(Place),
            "enable": Out(1),
            "i": In(outputs(lanes)),
            "o": Out(stream.Signature(unsigned(8 * word_bytes))),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        lanes, parts = self._lanes, self._word_bytes // self._lanes  # chunks of bytes in a word
        m.submodules.words = words = fifo.SyncFIFO(width=8 * self._word_bytes, depth=self._depth)
        room = Signal(range(self._depth + 1), init=self._depth)
        begins = Signal()  # a word
        ahead, part = (Signal(range(parts), name=name) for name in ("ahead", "part"))
        word, whole = Signal(8 * self._word_bytes, reset_less=True), Signal()
        full = Mux(self.wide, parts // 2 - 1, parts - 1)
        m.d.comb += [
            begins.eq(self.reads.valid & (ahead == 0)),
            self.enable.eq((room != 0) | (ahead != 0)),
            words.w_data.eq(word), words.w_en.eq(whole),
            self.o.payload.eq(words.r_data), self.o.valid.eq(words.r_rdy), words.r_en.eq(self.o.ready),
        ]
        m.d.sync += [
            room.eq(room - begins + (self.o.valid & self.o.ready)),
            whole.eq(self.i.place.valid & (self.i.place.last | (part == full))),
        ]
        for place, counter in ((self.reads, ahead), (self.i.place, part)):
            with m.If(place.valid):
                m.d.sync += counter.eq(counter + 1)
                with m.If(place.last | (counter == full)):
                    m.d.sync += counter.eq(0)
        with m.If(self.i.place.valid):
            with m.If(self.wide):
                m.d.sync += word.word_select(part[:-1], 16 * lanes).eq(self.i.values)
            with m.Else():
                narrow = Cat(self.i.values[16 * lane:16 * lane + 8] for lane in range(lanes))
                m.d.sync += word.word_select(part, 8 * lanes).eq(narrow)
        return m
