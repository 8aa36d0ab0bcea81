"""The movers: blocks of bytes between external and unified memory."""

from amaranth import Module, Mux, Signal, unsigned
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from .blocks import MAX_BURST, BlockEnd, Bursts
from .isa import MOVE_IN
from .mover_front import EVENTS, MoverFront, connect_front
from .mover_words import BlockWords, Packer, Unpacker
from .ports import Burst, MemoryReadPort, MemoryWritePort, unit_members
from .stream_fifo import StreamFifo

AHEAD = 16
"""Blocks, and bursts, between their request and their end."""
WORDS = 16
"""Words that lie between the external port and the memory."""
BEATS_AHEAD = 128
"""`MoveIn` requests a burst while fewer beats than this are on their way."""


class MoveIn(wiring.Component):
    """Copies blocks from external to unified memory: the MOVE_IN instruction of `rtl/isa.py`.

    Requests run ahead of the data, over the ends of blocks and of instructions, so the external port
    carries a beat a cycle as long as its latency is at most about 100 cycles, blocks have some 16 beats or more, the
    semaphores grant and the memory takes words as fast as they come. A block's `give` follows the grant of
    its last word.

    Does not split bursts at address boundaries, and holds back `read_data` while the memory refuses its words.

    Parameters
    ----------
    word_bytes: of the memory. external_bytes: of a beat. Powers of two, the second not larger.
    indexed: it also executes `indexed` instructions.

    Members
    -------
    instruction, take, give, busy, retired, error, events: see `unit_members`.
    read_request, read_data: the reading half of `ExternalPort`. memory: `MemoryWritePort`, aligned.
    numbers: unaligned reads, where `indexed`.
    """

    def __init__(self, word_bytes: int, external_bytes: int, indexed: bool = False) -> None:
        self.word_bytes, self.external_bytes, self.indexed = word_bytes, external_bytes, indexed
        MoverFront.check(word_bytes, external_bytes)
        super().__init__({
            **({"numbers": Out(MemoryReadPort(word_bytes))} if indexed else {}),
            **unit_members(MOVE_IN.layout(), EVENTS),
            "read_request": Out(stream.Signature(Burst)),
            "read_data": In(stream.Signature(unsigned(8 * external_bytes))),
            "memory": Out(MemoryWritePort(word_bytes)),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.front = front = MoverFront(self.word_bytes, self.external_bytes, aligned=True,
                                                   indexed=self.indexed)
        if self.indexed:
            wiring.connect(m, front.numbers, wiring.flipped(self.numbers))
        m.submodules.bursts = bursts = Bursts(self.external_bytes)
        m.submodules.places = places = BlockWords(self.word_bytes, AHEAD)
        m.submodules.packer = packer = Packer(self.external_bytes, self.word_bytes)
        m.submodules.words = words = StreamFifo(8 * self.word_bytes, WORDS)
        connect_front(m, self, front)
        wiring.connect(m, wiring.flipped(self.read_data), packer.i)
        wiring.connect(m, packer.o, words.i)
        block = front.o.payload
        m.d.comb += [
            bursts.i.payload.external.eq(block.external),
            bursts.i.payload.size.eq(block.size),
            places.i.payload.eq(block),
            bursts.i.valid.eq(front.o.valid & places.i.ready),
            places.i.valid.eq(front.o.valid & bursts.i.ready),
            front.o.ready.eq(bursts.i.ready & places.i.ready),
        ]
        coming = self._request(m, bursts)
        self._write(m, places, words, front)
        request = self.memory.request
        m.d.comb += [
            self.events.busy.eq(self.read_data.valid & self.read_data.ready),
            self.events.wait_external.eq((coming != 0) & ~self.read_data.valid),
            self.events.wait_memory.eq(request.valid & ~request.ready),
        ]
        return m

    def _request(self, m: Module, bursts: Bursts) -> Signal:
        """Passes bursts on while not too much is on its way; returns the beats that are."""
        coming = Signal(range(BEATS_AHEAD + MAX_BURST))
        room = coming < BEATS_AHEAD  # stays 1 until the request goes
        m.d.comb += [
            self.read_request.valid.eq(bursts.o.valid & room),
            self.read_request.payload.eq(bursts.o.payload),
            bursts.o.ready.eq(self.read_request.ready & room),
        ]
        requested = Mux(self.read_request.valid & self.read_request.ready, bursts.o.payload.beats + 1, 0)
        m.d.sync += coming.eq(coming + requested - (self.read_data.valid & self.read_data.ready))
        return coming

    def _write(self, m: Module, places: BlockWords, words: StreamFifo, front: MoverFront) -> None:
        """A word that has come goes to its place; a block's last one waits until its end can be noted."""
        m.submodules.ends = ends = StreamFifo(BlockEnd, 4)
        wiring.connect(m, ends.o, front.done)
        request = self.memory.request
        written = request.valid & request.ready
        m.d.comb += [
            request.valid.eq(words.o.valid & places.o.valid & (ends.i.ready | ~places.last)),
            request.payload.address.eq(places.o.payload),
            request.payload.mask.eq(~0),
            request.payload.data.eq(words.o.payload),
            words.o.ready.eq(written),
            places.o.ready.eq(written),
            ends.i.valid.eq(written & places.last),
            ends.i.payload.eq(places.end),
        ]


class MoveOut(wiring.Component):
    """Copies blocks from unified to external memory: the MOVE_OUT instruction of `rtl/isa.py`.

    Reads run ahead over the ends of blocks and of instructions: a beat a cycle as long as the memory and the port
    allow. A burst may be requested a few cycles before its data are there. A block's `give` follows the
    `write_done` of its last burst: its bytes are in external memory.

    Parameters
    ----------
    word_bytes: of the memory. external_bytes: of a beat. Powers of two, the second not larger.
    aligned: the memory port takes aligned addresses only, so any other is an error; else blocks may lie anywhere.

    Members
    -------
    instruction, take, give, busy, retired, error, events: see `unit_members`.
    write_request, write_data, write_done: the writing half of `ExternalPort`. memory: `MemoryReadPort`.
    """

    def __init__(self, word_bytes: int, external_bytes: int, aligned: bool = False) -> None:
        self.word_bytes, self.external_bytes, self.aligned = word_bytes, external_bytes, aligned
        MoverFront.check(word_bytes, external_bytes)
        super().__init__({
            **unit_members(MOVE_IN.layout(), EVENTS),
            "write_request": Out(stream.Signature(Burst)),
            "write_data": Out(stream.Signature(unsigned(8 * external_bytes))),
            "write_done": In(1),
            "memory": Out(MemoryReadPort(word_bytes)),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.front = front = MoverFront(self.word_bytes, self.external_bytes, self.aligned)
        m.submodules.bursts = bursts = Bursts(self.external_bytes)
        m.submodules.places = places = BlockWords(self.word_bytes, 4)
        m.submodules.ends = ends = StreamFifo(BlockEnd, AHEAD)
        connect_front(m, self, front)
        block = front.o.payload
        m.d.comb += [
            bursts.i.payload.external.eq(block.external),
            bursts.i.payload.size.eq(block.size),
            places.i.payload.eq(block),
            ends.i.payload.eq(block.end),
            bursts.i.valid.eq(front.o.valid & places.i.ready & ends.i.ready),
            places.i.valid.eq(front.o.valid & bursts.i.ready & ends.i.ready),
            ends.i.valid.eq(front.o.valid & bursts.i.ready & places.i.ready),
            front.o.ready.eq(bursts.i.ready & places.i.ready & ends.i.ready),
        ]
        self._read(m, places)
        self._finish(m, bursts, ends, front)
        beat, asked = self.write_data, self.write_request
        m.d.comb += [
            self.events.busy.eq(beat.valid & beat.ready),
            self.events.wait_external.eq((beat.valid & ~beat.ready) | (asked.valid & ~asked.ready)),
            self.events.wait_memory.eq(self.memory.request.valid & ~self.memory.request.ready),
        ]
        return m

    def _read(self, m: Module, places: BlockWords) -> None:
        """Reads words while there is room for the answers, and splits them into beats."""
        m.submodules.words = words = StreamFifo(8 * self.word_bytes, WORDS)
        m.submodules.unpacker = unpacker = Unpacker(self.word_bytes, self.external_bytes)
        wiring.connect(m, words.o, unpacker.i)
        wiring.connect(m, unpacker.o, wiring.flipped(self.write_data))
        # One less than the queue holds: its output register may be empty while the rest is full.
        room = Signal(range(WORDS), init=WORDS - 1)
        request = self.memory.request
        m.d.comb += [
            request.payload.eq(places.o.payload),
            request.valid.eq(places.o.valid & (room != 0)),
            places.o.ready.eq(request.ready & (room != 0)),
            words.i.payload.eq(self.memory.response.payload),
            words.i.valid.eq(self.memory.response.valid),
        ]
        m.d.sync += room.eq(room - (request.valid & request.ready) + (words.o.valid & words.o.ready))

    def _finish(self, m: Module, bursts: Bursts, ends: StreamFifo, front: MoverFront) -> None:
        """Requests bursts, remembers which are the last of a block, and ends blocks as bursts are done."""
        m.submodules.asked = asked = StreamFifo(1, AHEAD)
        done = Signal(range(2 * AHEAD))  # bursts in external memory that have not been seen to yet
        seen = Signal()
        m.d.comb += [
            self.write_request.payload.eq(bursts.o.payload),
            self.write_request.valid.eq(bursts.o.valid & asked.i.ready),
            bursts.o.ready.eq(self.write_request.ready & asked.i.ready),
            asked.i.valid.eq(bursts.o.valid & self.write_request.ready),
            asked.i.payload.eq(bursts.last),
            front.done.payload.eq(ends.o.payload),
            seen.eq((done != 0) & asked.o.valid & (~asked.o.payload | (ends.o.valid & front.done.ready))),
            asked.o.ready.eq(seen),
            front.done.valid.eq((done != 0) & asked.o.valid & asked.o.payload & ends.o.valid),
            ends.o.ready.eq((done != 0) & asked.o.valid & asked.o.payload & front.done.ready),
        ]
        m.d.sync += done.eq(done + self.write_done - seen)
