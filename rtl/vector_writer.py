"""The vector unit's last part: outputs go to memory, and with the last one the instruction is over."""

from amaranth import Cat, Module, Signal, unsigned
from amaranth.lib import data, fifo, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from .issue import Signaller, Signals
from .ports import Give, MemoryWritePort, Retired, write_layout
from .skid import Skid
from .vector_address import SLOTS, Store


class Closing(data.Struct):
    """What is left to do when an instruction's last output is in memory."""

    signals: Signals
    tag: unsigned(16)


class VectorWriter(wiring.Component):
    """Writes outputs where their stores say, and closes instructions in the order in which they were opened.

    One output a cycle. A final output waits until the signals of the instruction before it have been given.

    Parameters
    ----------
    word_bytes: of the memory.

    Members
    -------
    open: stream of `Closing`: an instruction begins; refused while SLOTS of them are open.
    slot: number of the instruction that begins next.
    stores: stream of `Store`. words: stream of outputs, one for each store.
    write: memory. give: semaphores. retired: pulse a cycle after an instruction's last output was granted.
    busy: an instruction is open or its signals are not given yet.
    """

    def __init__(self, word_bytes: int) -> None:
        self._word_bytes = word_bytes
        super().__init__({
            "open": In(stream.Signature(Closing)),
            "slot": Out(range(SLOTS)),
            "stores": In(stream.Signature(Store)),
            "words": In(stream.Signature(unsigned(8 * word_bytes))),
            "write": Out(MemoryWritePort(word_bytes)),
            "give": Out(stream.Signature(Give)),
            "retired": Out(Retired),
            "busy": Out(1),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.opened = opened = fifo.SyncFIFO(width=Closing.as_shape().size, depth=SLOTS)
        m.submodules.signaller = signaller = Signaller()
        connect(m, signaller.o, flipped(self.give))
        closing = data.View(Closing, opened.r_data)
        # the memory's grant comes late in the cycle
        m.submodules.shown = shown = Skid(data.StructLayout({"write": write_layout(self._word_bytes), "final": 1}))
        store, request = self.stores.payload, self.write.request
        made, final, free, over = shown.i.payload.write, shown.o.payload.final, Signal(), Signal()
        m.d.comb += [
            made.address.eq(store.address), made.data.eq(self.words.payload),
            made.mask.eq(Cat(store.count > byte for byte in range(self._word_bytes))),
            shown.i.payload.final.eq(store.final),
            shown.i.valid.eq(self.stores.valid & self.words.valid),
            self.stores.ready.eq(self.words.valid & shown.i.ready),
            self.words.ready.eq(self.stores.valid & shown.i.ready),
            request.payload.eq(shown.o.payload.write),
            opened.w_data.eq(self.open.payload), opened.w_en.eq(self.open.valid), self.open.ready.eq(opened.w_rdy),
            free.eq(~final | ~signaller.i.valid),
            request.valid.eq(shown.o.valid & free),
            shown.o.ready.eq(request.ready & free),
            over.eq(request.valid & request.ready & final),
            opened.r_en.eq(over),
            self.busy.eq(opened.r_rdy | signaller.i.valid | self.retired.valid),
        ]
        with m.If(self.open.valid & self.open.ready):
            m.d.sync += self.slot.eq(self.slot + 1)
        m.d.sync += [self.retired.valid.eq(over), self.retired.tag.eq(closing.tag)]
        with m.If(over):
            m.d.sync += [signaller.i.payload.eq(closing.signals), signaller.i.valid.eq(1)]
        with m.Elif(signaller.i.ready):
            m.d.sync += signaller.i.valid.eq(0)
        return m
