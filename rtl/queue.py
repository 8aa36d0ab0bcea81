"""A unit's instruction queue: words in, whole instructions out."""

from amaranth import Cat, Module, Signal, unsigned
from amaranth.lib import fifo, stream, wiring
from amaranth.lib.wiring import In, Out

from .isa import InstructionType


class InstructionQueue(wiring.Component):
    """Buffers the words of one kind of instruction and gives them out as whole instructions, in order.

    A word comes in a cycle; an instruction of n words is ready n + 2 cycles after its first word at the earliest,
    and the next one n cycles after it was taken. The instruction stays on `o` until it is taken.
    The words are not checked: who fills the queue sends whole instructions of this kind.

    Parameters
    ----------
    kind: what the words are. depth: words that wait beside the instruction on `o`, at least 2.

    Members
    -------
    i: stream of 32-bit words, the first word of an instruction first.
    o: stream of `kind.layout()`.
    busy: 1 while a word or an instruction is in the queue.
    """

    def __init__(self, kind: InstructionType, depth: int) -> None:
        if depth < 2:
            raise ValueError(f"depth must be at least 2, not {depth}")
        self.kind = kind
        self.depth = depth
        super().__init__({
            "i": In(stream.Signature(unsigned(32))),
            "o": Out(stream.Signature(kind.layout())),
            "busy": Out(1),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        length = self.kind.length
        m.submodules.words = words = fifo.SyncFIFOBuffered(width=32, depth=self.depth)
        # Words shift in from the top, so that the first ends at the bottom without a decoder.
        instruction = Signal(32 * length, reset_less=True)
        missing = Signal(range(length + 1), init=length)
        whole = Signal()
        m.d.comb += [
            whole.eq(missing == 0),
            words.w_data.eq(self.i.payload),
            words.w_en.eq(self.i.valid),
            self.i.ready.eq(words.w_rdy),
            words.r_en.eq(~whole),
            self.o.payload.eq(instruction),
            self.o.valid.eq(whole),
            self.busy.eq((words.level != 0) | (missing != length)),
        ]
        with m.If(whole & self.o.ready):
            m.d.sync += missing.eq(length)
        with m.Elif(words.r_rdy & words.r_en):
            m.d.sync += [instruction.eq(Cat(instruction, words.r_data)[32:]), missing.eq(missing - 1)]
        return m
