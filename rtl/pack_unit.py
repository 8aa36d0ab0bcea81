"""The pack unit: executes PACK instructions."""

from amaranth import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from .blocks import BlockEnd
from .codec.encoder import Encoder
from .codec.encoder_tile import Tile, check_lanes
from .isa import PACK
from .issue import Issue
from .mover_front import Finisher
from .pack_bytes import Piece, TileBytes
from .pack_outside import BURST_BITS, PackOutside
from .pack_pages import Job, PackPages
from .pack_reader import PackReader
from .pack_setup import PackSetup
from .pack_store import PackStore
from .pack_walk import Ordered, PackWalk
from .pager_ports import MAX_PAGES, MAX_STREAMS, PageRequest, PageResponse
from .ports import Burst, MemoryReadPort, MemoryWritePort, unit_members
from .stream_fifo import StreamFifo

EVENTS = data.StructLayout({"busy": 1, "wait_input": 1, "wait_output": 1, "wait_semaphore": 1, "tiles": 1,
                            "spilled": 1})
_JOBS, _TILES = 8, 16
"""Instructions, and tiles, between the first read and the last write at most."""
_PIECES = 16
"""Pieces that wait for their place."""
_ENDS = 4
"""Instructions whose bytes have been handed out and whose signals have not been given."""


def check_sizes(word_bytes: int, external_bytes: int, page_bytes: int, pages: int, streams: int) -> None:
    """Raises ValueError where a pack unit cannot have these sizes."""
    if not 4 <= word_bytes <= 128 or word_bytes & (word_bytes - 1):
        raise ValueError(f"word_bytes must be a power of two from 4 to 128, not {word_bytes}")
    if external_bytes not in (0, 1, 2, 4, 8):
        raise ValueError(f"external_bytes must be 0, 1, 2, 4 or 8, not {external_bytes}")
    low = max(64, word_bytes)
    if not low <= page_bytes <= 4096 or page_bytes & (page_bytes - 1):
        raise ValueError(f"page_bytes must be a power of two from {low} to 4096, not {page_bytes}")
    if not 1 <= pages <= MAX_PAGES:
        raise ValueError(f"pages must be from 1 to {MAX_PAGES}, not {pages}")
    if not 1 <= streams <= MAX_STREAMS:
        raise ValueError(f"streams must be from 1 to {MAX_STREAMS}, not {streams}")


class PackUnit(wiring.Component):
    """Executes PACK instructions as `rtl.isa` defines them.

    Values are read a step a cycle and coded by an `Encoder`, or stored as they are; tiles follow each other without a
    gap, also those of the next instructions, as soon as their waits are granted. An instruction's signals are given, in
    order, when all of its bytes are in memory, on the chip or outside, and the pager has answered. What starts a
    stream waits until all instructions before it have given theirs.

    Pages are asked for when the first byte for them is there. `out_of_pages`: there was none.

    Parameters
    ----------
    word_bytes: of the memory, a power of two from 4 to 128. external_bytes: of the external port, a power of two up to
    8; 0: there is none, and all pages are on the chip. codec_lanes: values a cycle of the encoder: 2, 4 or 8.
    page_bytes: a power of two of 64 to 4096, at least word_bytes. pages: on the chip; page numbers from there on are
    outside. streams: their numbers are below this.

    Members
    -------
    instruction: stream of instructions. take, give: semaphores.
    read: values, unaligned. memory: pages on the chip, aligned.
    page_request, page_response: a client of the `Pager`. limit: for the pager, from the last instruction that began.
    write_request, write_data, write_done: the writing half of `ExternalPort`; only where external_bytes is not 0.
    busy: from the offer of an instruction until its signals are given. retired: pulse after that.
    error: an instruction that cannot be executed; until reset.
    out_of_pages, out_of_pages_tag: an instruction got no page, and its tag; until reset, and the unit waits.
    events: one of: busy (values or bytes went on, or the encoder works on what it has), wait_output (they did not:
    bytes wait for the memory, the port or the pager), wait_input (they did not, for want of values), wait_semaphore
    (there is nothing to do, and the next instruction waits). Besides: tiles (one was handed out whole), spilled (the
    pager gave a page outside).
    """

    def __init__(self, word_bytes: int, external_bytes: int, codec_lanes: int, page_bytes: int, pages: int,
                 streams: int) -> None:
        check_sizes(word_bytes, external_bytes, page_bytes, pages, streams)
        check_lanes(codec_lanes)
        self._word_bytes, self._external_bytes, self._lanes = word_bytes, external_bytes, codec_lanes
        self._page_bytes, self._pages, self._streams = page_bytes, pages, streams
        external = {
            "write_request": Out(stream.Signature(Burst)),
            "write_data": Out(stream.Signature(8 * external_bytes)),
            "write_done": In(1),
        }
        super().__init__({
            **unit_members(PACK.layout(), EVENTS),
            "read": Out(MemoryReadPort(word_bytes)),
            "memory": Out(MemoryWritePort(word_bytes)),
            "page_request": Out(stream.Signature(PageRequest)),
            "page_response": In(stream.Signature(PageResponse)),
            "limit": Out(16),
            **(external if external_bytes else {}),
            "out_of_pages": Out(1), "out_of_pages_tag": Out(16),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.issue = issue = Issue(PACK.layout())
        m.submodules.setup = setup = PackSetup(self._word_bytes, self._external_bytes, self._streams)
        m.submodules.walk = walk = PackWalk()
        m.submodules.reader = reader = PackReader(self._word_bytes)
        m.submodules.encoder = encoder = Encoder(self._lanes)
        m.submodules.bytes = pieces = TileBytes()
        m.submodules.pages = pages = PackPages(self._page_bytes, self._pages, self._external_bytes, self._streams)
        m.submodules.store = store = PackStore(self._word_bytes)
        m.submodules.tiles = tiles = StreamFifo(Tile, 2)
        m.submodules.made = made = StreamFifo(Piece, _PIECES)  # while the pager looks for a page
        m.submodules.order = order = StreamFifo(Ordered, _TILES)
        for one, other in (
                (flipped(self.instruction), issue.i), (issue.take, flipped(self.take)), (issue.o, setup.i),
                (walk.o, reader.i), (walk.tile, tiles.i), (walk.order, order.i), (tiles.o, encoder.tile),
                (reader.port, flipped(self.read)), (reader.coded, encoder.values), (reader.raw, pieces.raw),
                (encoder.entry, pieces.entry), (encoder.payload, pieces.payload), (order.o, pieces.order),
                (pieces.o, made.i), (made.o, pages.i), (pages.store, store.i), (store.port, flipped(self.memory)),
                (pages.request, flipped(self.page_request)), (flipped(self.page_response), pages.response)):
            connect(m, one, other)
        begun = self._instructions(m, setup, walk, pages, store)
        m.d.comb += [
            self.busy.eq(self.instruction.valid | begun), self.error.eq(setup.error),
            self.out_of_pages.eq(pages.out_of_pages), self.out_of_pages_tag.eq(pages.tag),
        ]
        values = [stream_.valid & stream_.ready for stream_ in (reader.coded, reader.raw)]
        moves, wants, waits = Signal(), Signal(), Signal()
        m.d.comb += [
            moves.eq(values[0] | values[1] | (pages.i.valid & pages.i.ready)),
            wants.eq((encoder.values.ready & ~encoder.values.valid) | (pieces.raw.ready & ~pieces.raw.valid)),
            waits.eq(pages.i.valid | pages.waiting),
            self.events.busy.eq(moves | (begun & ~waits & ~wants)),
            self.events.wait_output.eq(~moves & waits),
            self.events.wait_input.eq(~moves & ~waits & wants),
            self.events.wait_semaphore.eq(~moves & ~begun & issue.waiting),
            self.events.tiles.eq(pages.tile), self.events.spilled.eq(pages.spilled),
        ]
        return m

    def _instructions(self, m: Module, setup: PackSetup, walk: PackWalk, pages: PackPages, store: PackStore) -> Signal:
        """Their way from the plan to their signals; 1 while one is on it."""
        m.submodules.jobs = jobs = StreamFifo(Job, _JOBS)
        i, job = setup.o.payload.instruction, jobs.i.payload
        starts, begun, ending = Signal(), Signal(range(2 * _JOBS)), Signal(range(2 * _ENDS))
        m.d.comb += [
            starts.eq(setup.o.valid & walk.i.ready & jobs.i.ready),
            walk.i.valid.eq(setup.o.valid & jobs.i.ready), walk.i.payload.eq(setup.o.payload),
            jobs.i.valid.eq(setup.o.valid & walk.i.ready),
            setup.o.ready.eq(walk.i.ready & jobs.i.ready),
            job.stream.eq(i.stream), job.readers.eq(i.readers), job.open.eq(i.open), job.close.eq(i.close),
            job.base.eq(i.b), job.outside.eq(i.outside if self._external_bytes else 0),
            job.end.last.eq(1), job.end.tag.eq(i.tag),
        ]
        m.d.comb += [job.end.signals[name].eq(i[name])
                     for name in ("signal0", "signal0_count", "signal1", "signal1_count")]
        with m.If(starts):
            m.d.sync += self.limit.eq(i.limit)
        connect(m, jobs.o, pages.job)
        m.submodules.finisher = finisher = Finisher()
        connect(m, finisher.give, flipped(self.give))
        ended, arrived = self._outside(m, pages, store)
        m.d.comb += [
            finisher.i.valid.eq(ended.o.valid & arrived), ended.o.ready.eq(finisher.i.ready & arrived),
            finisher.i.payload.eq(ended.o.payload.end),
            pages.settled.eq(ending == 0),
            self.retired.eq(finisher.retired),
        ]
        m.d.sync += [begun.eq(begun + starts - finisher.retired.valid),
                     ending.eq(ending + (ended.i.valid & ended.i.ready) - finisher.retired.valid)]
        return begun != 0

    def _outside(self, m: Module, pages: PackPages, store: PackStore) -> tuple[StreamFifo, Signal]:
        """The external port. Returns the queue of ends, and whether what the first waits for has arrived outside."""
        end = data.StructLayout({"end": BlockEnd, "burst": BURST_BITS if self._external_bytes else 0})
        m.submodules.ends = ends = StreamFifo(end, _ENDS)
        arrived = Signal()
        m.d.comb += [ends.i.payload.end.eq(pages.ended.payload), ends.i.valid.eq(pages.ended.valid),
                     pages.ended.ready.eq(ends.i.ready)]
        if not self._external_bytes:
            m.d.comb += [arrived.eq(1), pages.busy.eq(store.busy)]
            return ends, arrived
        m.submodules.outside = outside = PackOutside(self._external_bytes)
        connect(m, pages.run, outside.run)
        connect(m, pages.piece, outside.i)
        connect(m, outside.write_request, flipped(self.write_request))
        connect(m, outside.write_data, flipped(self.write_data))
        behind = Signal(BURST_BITS)
        m.d.comb += [
            outside.write_done.eq(self.write_done), pages.busy.eq(store.busy | outside.busy),
            ends.i.payload.burst.eq(outside.issued),
            outside.oldest.eq(Mux(ends.o.valid, ends.o.payload.burst, outside.issued)),
            behind.eq(ends.o.payload.burst - outside.done), arrived.eq((behind == 0) | behind[-1]),
        ]
        return ends, arrived
