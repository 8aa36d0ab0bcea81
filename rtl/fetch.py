"""Instruction fetch: the program as a stream of 32-bit words, ahead of its use."""

from amaranth import Module, Mux, ResetInserter, Signal, unsigned
from amaranth.lib import fifo, stream, wiring
from amaranth.lib.wiring import In, Out

from .config import ADDRESS_BITS
from .ports import MemoryReadPort


class Fetcher(wiring.Component):
    """Reads memory from an address on and gives it out as 32-bit words, one a cycle.

    It reads up to 64 bytes (two memory words where these are longer) ahead, never past the end of the memory.
    A jump drops what was read ahead, and the first word from the new address comes a memory latency and 5 cycles later.

    Parameters
    ----------
    word_bytes: of the memory port, a power of two from 4 on. memory_bytes: where the memory ends.

    Members
    -------
    memory: aligned reading port.
    jump: pulse; fetches from `target` (bytes, a multiple of 4) on.
    stop: pulse; fetches no more, and `o` has no word; it wins over a jump.
    o: stream of words. Words offered in the cycle of a jump or stop are the old ones.
    past_end: 1 when no word can come any more because the next one lies past the end of the memory.
    """

    def __init__(self, word_bytes: int, memory_bytes: int) -> None:
        if word_bytes < 4 or word_bytes & (word_bytes - 1):
            raise ValueError(f"word_bytes must be a power of two from 4 on, not {word_bytes}")
        if memory_bytes % word_bytes or not 0 < memory_bytes <= 1 << ADDRESS_BITS:
            raise ValueError(f"memory_bytes must be a multiple of {word_bytes} up to {1 << ADDRESS_BITS}, "
                             f"not {memory_bytes}")
        self.word_bytes = word_bytes
        self.memory_bytes = memory_bytes
        self.depth = max(2, 64 // word_bytes)
        super().__init__({
            "memory": Out(MemoryReadPort(word_bytes)),
            "jump": In(1),
            "target": In(ADDRESS_BITS),
            "stop": In(1),
            "o": Out(stream.Signature(unsigned(32))),
            "past_end": Out(1),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        flush = Signal()
        active = Signal()
        m.d.comb += flush.eq(self.jump | self.stop)
        with m.If(flush):
            m.d.sync += active.eq(self.jump & ~self.stop)
        # A buffered queue cannot use its last place while words come every cycle.
        m.submodules.ahead = ahead = ResetInserter(flush)(
            fifo.SyncFIFOBuffered(width=8 * self.word_bytes, depth=self.depth + 1))
        owed, at_end = self._request(m, flush, active, ahead)
        self._split(m, flush, ahead)
        m.d.comb += self.past_end.eq(active & at_end & (owed == 0) & (ahead.level == 0) & ~self.o.valid)
        return m

    def _request(self, m: Module, flush: Signal, active: Signal, ahead: fifo.SyncFIFOBuffered) -> tuple[Signal, Signal]:
        """Asks for memory words while there is room; a request once made stays, and its answer is dropped if stale."""
        shift = self.word_bytes.bit_length() - 1
        following = Signal(ADDRESS_BITS - shift + 1)  # number of the next memory word to ask for
        asking = Signal()
        asked = Signal(ADDRESS_BITS - shift, reset_less=True)
        owed = Signal(range(self.depth + 1))  # answers to come that are wanted
        stale = Signal(range(self.depth + 1))  # answers to come before those, which are not
        room = Signal()
        at_end = Signal()
        ask = Signal()
        answered = self.memory.response.valid
        m.d.comb += [
            at_end.eq(following >= self.memory_bytes // self.word_bytes),
            room.eq(ahead.level + owed + stale < self.depth),
            ask.eq(active & ~flush & ~at_end & room & (~asking | self.memory.request.ready)),
            self.memory.request.valid.eq(asking),
            self.memory.request.payload.eq(asked << shift),
            ahead.w_en.eq(answered & (stale == 0)),
            ahead.w_data.eq(self.memory.response.payload),
        ]
        with m.If(ask):
            m.d.sync += [asking.eq(1), asked.eq(following), following.eq(following + 1)]
        with m.Elif(self.memory.request.ready):
            m.d.sync += asking.eq(0)
        with m.If(flush):
            m.d.sync += [stale.eq(stale + owed - answered), owed.eq(0)]
        with m.Else():
            dropped = answered & (stale != 0)
            m.d.sync += [stale.eq(stale - dropped), owed.eq(owed + ask - (answered & ~dropped))]
        with m.If(self.jump):
            m.d.sync += following.eq(self.target[shift:])
        return owed, at_end

    def _split(self, m: Module, flush: Signal, ahead: fifo.SyncFIFOBuffered) -> None:
        """The words of a memory word, one a cycle, through a register."""
        lanes = self.word_bytes // 4
        lane = Signal(range(lanes))
        last = Signal()
        step = Signal()
        word = Signal(32, reset_less=True)
        valid = Signal()
        m.d.comb += [
            step.eq(ahead.r_rdy & (~valid | self.o.ready)),
            last.eq(lane == lanes - 1),
            ahead.r_en.eq(step & last),
            self.o.valid.eq(valid),
            self.o.payload.eq(word),
        ]
        with m.If(step):
            m.d.sync += [word.eq(ahead.r_data.word_select(lane, 32) if lanes > 1 else ahead.r_data), valid.eq(1)]
            if lanes > 1:
                m.d.sync += lane.eq(lane + 1)
        with m.Elif(self.o.ready):
            m.d.sync += valid.eq(0)
        with m.If(flush):
            m.d.sync += [valid.eq(0), lane.eq(Mux(self.jump, self.target[2:], 0))]
