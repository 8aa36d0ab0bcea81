"""The unpack unit: executes UNPACK instructions."""

from amaranth import Module, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from .codec.decoder import Decoder
from .isa import UNPACK
from .issue import Issue
from .pager_ports import MAX_READERS, MAX_STREAMS, PageRequest, PageResponse
from .ports import Burst, MemoryReadPort, MemoryWritePort, unit_members
from .stream_fifo import StreamFifo
from .unpack_cut import UnpackCut
from .unpack_finish import UnpackFinish
from .unpack_lines import UnpackLines
from .unpack_pages import UnpackPages
from .unpack_setup import UnpackSetup
from .unpack_stores import UnpackStores
from .unpack_tiles import TILES, CutTile, PageTile, UnpackTiles

EVENTS = data.StructLayout({"busy": 1, "wait_input": 1, "wait_output": 1, "wait_semaphore": 1, "tiles": 1,
                            "zero_tiles": 1})
SLOTS = {2: 1, 4: 2, 8: 6}
"""Tiles that a decoder of so many lanes works on at once, so that it need not wait for neighbours where a pixel has two
steps or more; with 8 lanes never, in maps. A tile that is alone takes that many cycles a step."""


class UnpackUnit(wiring.Component):
    """Executes UNPACK instructions as `rtl.isa` defines them.

    Tiles are read, decoded and written at the same time, those of later instructions too, up to TILES of them; they end
    in order. So where an instruction reads or overwrites what one before it writes, it must wait for a semaphore.
    Nothing of a stream is read before it is known to be there: the first 8 bytes of each tile of an instruction whose
    waits are granted, and what the entry there says.

    An instruction's signals are given when its last byte is in memory and, with `close`, the reader has dropped. From
    the first instruction on that has a damaged or missing tile none are given, until reset. Values of damaged tiles
    have no meaning, but stay in their places.

    The pages that a reader is on are in a memory that is cleared after reset, in streams * readers cycles.

    Parameters
    ----------
    word_bytes: of the memory, a power of two from 4 to 128. external_bytes: of a beat of external memory, a power of
    two up to word_bytes; 0: there is none. lanes: values a cycle, 2, 4 or 8, up to word_bytes. page_bytes: a power of
    two from word_bytes on, at least 64. pages: on the chip, numbers from 0. streams: up to 64. readers: of a stream, up
    to 4. slots: tiles that are decoded at once; 0: as `SLOTS` says.

    Members
    -------
    instruction: stream of instructions. take, give: semaphores.
    memory: pages on the chip, aligned. read_request, read_data: pages outside: the reading half of `ExternalPort`,
    where there is one. Bursts have at most 256 beats and lie in a page; beats are never held back.
    write: values, unaligned, up to `lanes` at a time, tiles of the centre only up to a word.
    requests, responses: of the pager.
    busy: from an instruction's beginning until its signals are given. retired: pulse when its last value is in memory.
    error: an instruction that cannot be executed is on the stream; until reset.
    damaged: a tile is damaged, or not there; until reset. damaged_tag: the instruction's.
    events: what happened in this cycle, at most one of: busy (values went on their way to the memory), wait_output
    (they did not, since it refused earlier ones), wait_input (there were none, and a tile waits for the memory, for
    external memory, or for the pager), wait_semaphore (there is nothing to do, and the next instruction waits); and
    tiles, zero_tiles: a tile is in memory; a tile of centres only has begun.
    """

    def __init__(self, word_bytes: int, external_bytes: int, lanes: int, page_bytes: int, pages: int,
                 streams: int = MAX_STREAMS, readers: int = MAX_READERS, slots: int = 0) -> None:
        for name, value, least, most in (
                ("word_bytes", word_bytes, 4, 128), ("external_bytes", external_bytes, 0, word_bytes),
                ("page_bytes", page_bytes, max(64, word_bytes), 4096)):
            if value and value & (value - 1) or not least <= value <= most:
                raise ValueError(f"{name} must be {'0 or ' if not least else ''}a power of two from {max(1, least)} "
                                 f"to {most}, not {value}")
        for name, value, most in (("streams", streams, MAX_STREAMS), ("readers", readers, MAX_READERS)):
            if not 1 <= value <= most:
                raise ValueError(f"{name} must be from 1 to {most}, not {value}")
        if lanes not in SLOTS or lanes > word_bytes:
            raise ValueError(f"lanes must be 2, 4 or 8, and at most word_bytes ({word_bytes}), not {lanes}")
        self._word_bytes = word_bytes
        self.setup = UnpackSetup(word_bytes, external_bytes, streams, readers)
        self.lines = UnpackLines(word_bytes, external_bytes)
        self.pages = UnpackPages(self.lines.line_bytes, page_bytes, pages, streams, readers)
        self.decoder = Decoder(lanes, slots or SLOTS[lanes])
        self._external = ("read_request", "read_data") if external_bytes else ()
        super().__init__({
            **unit_members(UNPACK.layout(), EVENTS),
            "memory": Out(MemoryReadPort(word_bytes)),
            **({"read_request": Out(stream.Signature(Burst)),
                "read_data": In(stream.Signature(unsigned(8 * external_bytes)))} if external_bytes else {}),
            "write": Out(MemoryWritePort(word_bytes)),
            "requests": Out(stream.Signature(PageRequest)),
            "responses": In(stream.Signature(PageResponse)),
            "damaged": Out(1),
            "damaged_tag": Out(16),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        sizes = self.decoder.sizes
        m.submodules.issue = issue = Issue(UNPACK.layout())
        m.submodules.setup = setup = self.setup
        m.submodules.tiles = tiles = UnpackTiles()
        m.submodules.pages, m.submodules.lines = pages, lines = self.pages, self.lines
        m.submodules.cut = cut = UnpackCut(sizes.slots)
        m.submodules.decoder = decoder = self.decoder
        m.submodules.stores = stores = UnpackStores(self._word_bytes, sizes)
        m.submodules.finish = finish = UnpackFinish(sizes.slots)
        for name, shape, target in (("page_tiles", PageTile, pages.tiles), ("cut_tiles", CutTile, cut.tiles)):
            m.submodules[name] = queue = StreamFifo(shape, TILES)
            connect(m, tiles.pages if shape is PageTile else tiles.cut, queue.i)
            connect(m, queue.o, target)
        for source, target in (
                (flipped(self.instruction), issue.i), (issue.take, flipped(self.take)), (issue.o, setup.i),
                (setup.o, tiles.i), (tiles.open, finish.open), (pages.requests, flipped(self.requests)),
                (flipped(self.responses), pages.responses), (pages.lines, lines.lines),
                (lines.memory, flipped(self.memory)), (lines.o, cut.pieces), (cut.tile, decoder.tile),
                *zip(cut.words, decoder.words, strict=True), *zip(cut.indices, stores.indices, strict=True),
                (cut.zero, stores.zero), (cut.begun, finish.begun), (decoder.o, stores.beats),
                (stores.write, flipped(self.write)), (finish.give, flipped(self.give))):
            connect(m, source, target)
        for name in self._external:
            ours, theirs = flipped(getattr(self, name)), getattr(lines, name)
            connect(m, ours, theirs)
        m.d.comb += [
            pages.answered.eq(lines.answered), pages.parsed.eq(cut.parsed),
            stores.tile.eq(tiles.stores), tiles.done.eq(finish.tile),
            finish.begins.eq(cut.parsed.valid), finish.stored.eq(stores.stored), finish.dropped.eq(pages.dropped),
            finish.lost.eq(pages.lost & cut.starved), finish.inside.eq(cut.inside),
            self.busy.eq(setup.busy | finish.busy), self.retired.eq(finish.retired), self.error.eq(setup.error),
            self.damaged.eq(finish.damaged), self.damaged_tag.eq(finish.damaged_tag),
        ]
        waits, idle = self.events, ~stores.moves & ~stores.stuck
        m.d.comb += [
            waits.busy.eq(stores.moves), waits.wait_output.eq(stores.stuck), waits.wait_input.eq(idle & cut.starved),
            waits.wait_semaphore.eq(~self.busy & issue.waiting), waits.tiles.eq(finish.tile),
            waits.zero_tiles.eq(cut.parsed.valid & cut.past),
        ]
        return m
