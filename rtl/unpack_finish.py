"""The end of UNPACK instructions."""

from amaranth import Module, Signal
from amaranth.lib import data, fifo, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from .issue import Signaller
from .ports import Give, Retired
from .unpack_cut import Begun
from .unpack_stores import Stored
from .unpack_tiles import TILES, Opening


class UnpackFinish(wiring.Component):
    """Brings tiles that are in memory back into their order, and gives the signals of instructions whose tiles are.

    Stops with the first tile, in order, that is damaged or missing: its instruction is not over.

    Parameters
    ----------
    slots: of the decoder.

    Members
    -------
    open: stream of `Opening`. begun: stream of `Begun`. stored: `Stored`.
    begins: a tile begins; it comes on `begun` later. dropped: pulse: a reader has left its stream.
    lost: there is no page for the next piece; inside: that is one of the last tile that has begun.
    give: semaphores. retired: pulse. tile: pulse: a tile is done. busy: an instruction is open or its signals are not
    given yet. damaged: see above; damaged_tag: of the instruction.
    """

    def __init__(self, slots: int) -> None:
        self._slots = slots
        super().__init__({
            "open": In(stream.Signature(Opening, always_ready=True)),
            "begun": In(stream.Signature(Begun(slots))),
            "stored": In(Stored(slots)),
            "begins": In(1),
            "dropped": In(1),
            "lost": In(1),
            "inside": In(1),
            "give": Out(stream.Signature(Give)),
            "retired": Out(Retired),
            "tile": Out(1),
            "busy": Out(1),
            "damaged": Out(1),
            "damaged_tag": Out(16),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.opened = opened = fifo.SyncFIFO(width=Opening.size, depth=TILES)
        m.submodules.signaller = signaller = Signaller()
        connect(m, signaller.o, flipped(self.give))
        opening, begun, stored = data.View(Opening, opened.r_data), self.begun.payload, self.stored
        ready, bad = Signal(self._slots + 1), Signal(self._slots + 1)  # of each source's first tile
        left = Signal(range(TILES + 1))  # readers that have left, of instructions that are open
        under_way = Signal(range(TILES + 1))
        spoilt, over, free = Signal(), Signal(), Signal()
        for source in range(self._slots + 1):
            count = Signal(range(TILES + 1), name=f"count_{source}")
            comes = Signal(name=f"comes_{source}")
            m.d.comb += [ready[source].eq(count != 0), comes.eq(stored.valid & (stored.source == source))]
            m.d.sync += count.eq(count + (comes & ~bad[source] & ~stored.error)
                                 - (self.tile & (begun.source == source)))
            with m.If(comes & stored.error):
                m.d.sync += bad[source].eq(1)
        done = ready.bit_select(begun.source, 1)
        m.d.comb += [
            opened.w_data.eq(self.open.payload), opened.w_en.eq(self.open.valid),
            free.eq(~begun.last | ~signaller.i.valid & (~opening.close | (left != 0))),
            self.tile.eq(self.begun.valid & done & free & ~self.damaged), self.begun.ready.eq(self.tile),
            over.eq(self.tile & begun.last), opened.r_en.eq(over),
            spoilt.eq(self.begun.valid & ~done & bad.bit_select(begun.source, 1)
                      | self.lost & (under_way == self.inside)),
            self.busy.eq(opened.r_rdy | signaller.i.valid | self.retired.valid),
        ]
        m.d.sync += [under_way.eq(under_way + self.begins - self.tile),
                     left.eq(left + self.dropped - (over & opening.close)),
                     self.retired.valid.eq(over), self.retired.tag.eq(opening.closing.tag)]
        with m.If(spoilt & ~self.damaged):
            m.d.sync += [self.damaged.eq(1), self.damaged_tag.eq(opening.closing.tag)]
        with m.If(over):
            m.d.sync += [signaller.i.payload.eq(opening.closing.signals), signaller.i.valid.eq(1)]
        with m.Elif(signaller.i.ready):
            m.d.sync += signaller.i.valid.eq(0)
        return m
