"""Reads what a depthwise convolution needs, ahead of its use, and says where each word goes."""

from amaranth import Module, Mux, Signal, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.wiring import In, Out, connect, flipped

from .config import ADDRESS_BITS
from .depthwise_strips import FetchStrip
from .depthwise_walk import COLUMN_BITS, DepthwiseWalk, Tag
from .ports import MemoryReadPort
from .skid import Skid


class Arrival(data.Struct):
    """Where a word that has come goes; `kind` and `place` as in `Tag`."""

    valid: unsigned(1)
    kind: unsigned(2)
    place: unsigned(9)


class DepthwiseFetch(wiring.Component):
    """Asks for the words of strips, one a cycle, up to DEPTH ahead of the answers; see `DepthwiseWalk` for the order.

    A word is written in the cycle in which `arrival` and `word` show it; a cycle later `columns` counts it. A column
    without a word (it is outside) counts as complete with the next word that comes, or when none is under way.

    Parameters
    ----------
    word_bytes: of the memory. set_words: memory words of a parameter set.

    Members
    -------
    i: stream of `FetchStrip`. port: memory.
    arrival, word: a word to write. columns: number of the first column that is not complete.
    free: columns before this number are free. release: pulse: the constants of one more group are free.
    """

    DEPTH = 17  # 16 and the buffer's output register: the way to the memory and back

    def __init__(self, word_bytes: int, set_words: int) -> None:
        self._word_bytes, self._set_words = word_bytes, set_words
        super().__init__({
            "i": In(stream.Signature(FetchStrip)),
            "port": Out(MemoryReadPort(word_bytes)),
            "arrival": Out(Arrival),
            "word": Out(8 * word_bytes),
            "columns": Out(COLUMN_BITS),
            "free": In(COLUMN_BITS),
            "release": In(1),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.walk = walk = DepthwiseWalk(self._word_bytes, self._set_words)
        m.submodules.tags = tags = SyncFIFOBuffered(width=Tag.as_shape().size, depth=self.DEPTH)
        m.submodules.request = request = Skid(unsigned(ADDRESS_BITS))
        connect(m, flipped(self.i), walk.i)
        connect(m, request.o, flipped(self.port.request))
        response = self.port.response
        tag = data.View(Tag, tags.r_data)
        word = Signal(8 * self._word_bytes, reset_less=True)
        columns = Signal(COLUMN_BITS, reset_less=True)
        m.d.comb += [
            walk.free.eq(self.free), walk.release.eq(self.release),
            request.i.payload.eq(walk.o.payload.address), tags.w_data.eq(walk.o.payload.tag),
            request.i.valid.eq(walk.o.valid & tags.w_rdy), tags.w_en.eq(walk.o.valid & request.i.ready),
            walk.o.ready.eq(tags.w_rdy & request.i.ready),
            tags.r_en.eq(response.valid), self.word.eq(word),
        ]
        m.d.sync += [
            self.arrival.valid.eq(response.valid), self.arrival.kind.eq(tag.kind), self.arrival.place.eq(tag.place),
            word.eq(Mux(tag.padding, tag.pad.replicate(self._word_bytes), response.payload)),
            columns.eq(tag.columns),
        ]
        with m.If(self.arrival.valid):
            m.d.sync += self.columns.eq(columns)
        with m.Elif(~walk.o.valid & (tags.level == 0)):
            m.d.sync += self.columns.eq(walk.column)
        return m
