"""The way through the pages of streams: what is read, and when the next page is asked for."""

from amaranth import Cat, Module, Mux, Signal, unsigned
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from .codec.decoder_ops import ANY_COLLISION
from .config import ADDRESS_BITS, MOST_PAGES
from .pager_ports import PageRequest, PageRequestKind, PageResponse
from .unpack_tiles import TILES, PageTile

PIECE = 8
"""Tiles begin at multiples of so many bytes, and are read in pieces of as many."""
PIECE_COUNT_BITS = 12
"""Bits of a number of pieces: those of a tile and one of each of those that follow."""
_PAGE_BITS = MOST_PAGES.bit_length()


class Line(data.StructLayout):
    """A line of a page to read: `pieces` pieces of it, the first one being number `first`.

    address: of the line, in external memory where `outside`. end: lines that follow each other end here.
    """

    def __init__(self, pieces: int) -> None:
        super().__init__({"address": 32, "outside": 1, "first": range(max(2, pieces)), "pieces": range(pieces + 1),
                          "end": 1})


class Parsed(data.Struct):
    """The first piece of a tile has come, and says that `more` follow."""

    valid: unsigned(1)
    more: unsigned(PIECE_COUNT_BITS)


class UnpackPages(wiring.Component):
    """Reads the pieces of tiles as soon as it is known that they are there, a line a cycle, through the pages.

    Of each tile the first piece is there; the others when it has come. So tiles of one reader that follow each other
    are read ahead by a piece each. Another reader's turn comes when all of the one before is asked for, and takes six
    cycles. A reader's place lives on in a memory. A page is left when all that was asked for has come, and something is
    to be read from the next one.

    After reset it clears its memory: as many cycles as there are readers.

    Parameters
    ----------
    line_bytes: read at a time, a power of two from 8 on. page_bytes: a power of two. pages: on the chip.
    streams: up to 64. readers: of a stream, up to 4.

    Members
    -------
    tiles: stream of `PageTile`. requests, responses: of the pager.
    lines: stream of `Line(line_bytes // 8)`; an offer may grow while it waits.
    answered: all lines have come. parsed: `Parsed`, for each tile.
    dropped: pulse: a reader has left its stream. lost: there is no page that a tile needs; until reset.
    """

    def __init__(self, line_bytes: int, page_bytes: int, pages: int, streams: int, readers: int) -> None:
        self._line_bytes, self._page_bytes, self._pages = line_bytes, page_bytes, pages
        self._streams, self._reader_bits = streams, (readers - 1).bit_length()
        super().__init__({
            "tiles": In(stream.Signature(PageTile)),
            "requests": Out(stream.Signature(PageRequest)),
            "responses": In(stream.Signature(PageResponse)),
            "lines": Out(stream.Signature(Line(line_bytes // PIECE))),
            "answered": In(1),
            "parsed": In(Parsed),
            "dropped": Out(1),
            "lost": Out(1),
        })
        pieces = page_bytes // PIECE
        self._place = Signal(data.StructLayout({"on": 1, "page": _PAGE_BITS, "piece": range(pieces + 1)}))
        self._ended, self._beyond = Signal(), Signal()  # the place is the page's end; the page is outside
        self._stream, self._reader = Signal(6), Signal(2)
        self._known = Signal(PIECE_COUNT_BITS)  # pieces that are there and not asked for
        self._blind = Signal(range(TILES + 1))  # tiles whose first piece is known of, but has not come
        self._closing = Signal()  # the last tile of the reader is known of
        self._taken = Signal(range(line_bytes // PIECE + 1))  # pieces of the line that is asked for

    def elaborate(self, platform: object) -> Module:
        m = Module()
        place, tile, known = self._place, self.tiles.payload, self._known
        pages, outside = Signal(ADDRESS_BITS, reset_less=True), Signal(32, reset_less=True)  # where the pages are
        same, credit = Signal(), Signal()
        m.d.comb += [
            same.eq((tile.stream == self._stream) & (tile.reader == self._reader)),
            self.tiles.ready.eq(same & ~self._closing), credit.eq(self.tiles.valid & self.tiles.ready),
        ]
        with m.If(credit):
            m.d.sync += [pages.eq(tile.pages), outside.eq(tile.outside), self._closing.eq(tile.close)]
        m.d.sync += [
            known.eq(known + credit + Mux(self.parsed.valid, self.parsed.more, 0) - self._taken),
            self._blind.eq(self._blind + credit - self.parsed.valid),
        ]
        address = self._lines(m)
        write, loaded = self._places(m, tile)
        shift = (self._page_bytes - 1).bit_length()
        with m.FSM():
            with m.State("clear"):
                cleared = Signal.like(write.addr)
                m.d.comb += [write.en.eq(1), write.addr.eq(cleared), write.data.eq(0)]
                m.d.sync += cleared.eq(cleared + 1)
                with m.If(cleared.all()):
                    m.next = "read"
            with m.State("read"):
                with m.If(known != 0):
                    m.d.comb += self.lines.valid.eq(place.on & ~self._ended)
                    with m.If((~place.on | self._ended) & self.answered):
                        m.next = "ask"
                with m.Elif(self._blind == 0):
                    with m.If(self._closing):
                        with m.If(self.answered):
                            m.next = "ask"
                    with m.Elif(self.tiles.valid & ~same):
                        m.next = "change"
            with m.State("change"):
                m.d.comb += write.en.eq(1)
                m.d.sync += [self._stream.eq(tile.stream), self._reader.eq(tile.reader)]
                m.next = "load"
            with m.State("load"):
                m.d.sync += place.eq(loaded)
                m.next = "page"
            with m.State("page"):
                beyond = place.page >= self._pages
                m.d.sync += [self._beyond.eq(beyond), address.eq(place.page - Mux(beyond, self._pages, 0))]
                m.next = "base"
            with m.State("base"):
                m.d.sync += address.eq(Mux(self._beyond, outside, pages) + (address[:_PAGE_BITS] << shift))
                m.next = "line"
            with m.State("line"):
                pieces = self._line_bytes // PIECE
                m.d.sync += address.eq(address + (place.piece // pieces) * self._line_bytes)
                m.next = "read"
            self._ask(m)
        return m

    def _lines(self, m: Module) -> Signal:
        """Offers the line at `place`; returns its address."""
        place, line = self._place, self.lines.payload
        pieces, page = self._line_bytes // PIECE, self._page_bytes // PIECE
        address = Signal(32, reset_less=True)
        first = place.piece % pieces if pieces > 1 else 0
        space = Signal(range(pieces + 1))  # pieces from the place to the line's end
        m.d.comb += [
            space.eq(pieces - first), self._ended.eq(place.piece == page),
            line.address.eq(address), line.outside.eq(self._beyond), line.first.eq(first),
            line.pieces.eq(Mux(self._known < space, self._known, space)),
            line.end.eq((self._known <= space) | (place.piece >= page - pieces)),
        ]
        with m.If(self.lines.valid & self.lines.ready):
            m.d.comb += self._taken.eq(line.pieces)
            m.d.sync += place.piece.eq(place.piece + line.pieces)
            with m.If(self._known >= space):
                m.d.sync += address.eq(address + self._line_bytes)
        return address

    def _places(self, m: Module, tile: data.View) -> tuple[memory.WritePort, data.View]:
        """The readers' memory; a cycle after it is asked for, the place of the reader of `tile`."""
        bits = (self._streams - 1).bit_length()
        m.submodules.places = places = memory.Memory(
            shape=self._place.shape(), depth=max(2, 1 << bits + self._reader_bits), init=[],
            attrs=ANY_COLLISION)
        write, read = places.write_port(), places.read_port()
        m.d.comb += [
            read.addr.eq(Cat(tile.reader[:self._reader_bits], tile.stream[:bits])),
            write.addr.eq(Cat(self._reader[:self._reader_bits], self._stream[:bits])), write.data.eq(self._place),
        ]
        return write, read.data

    def _ask(self, m: Module) -> None:
        """A request to the pager, and what follows its answer: a page, or the end of the reader's part."""
        asked, answer, drops = self.requests.payload, self.responses.payload, Signal()
        m.d.comb += [
            drops.eq(self._known == 0), asked.kind.eq(Mux(drops, PageRequestKind.DROP, PageRequestKind.FOLLOW)),
            asked.stream.eq(self._stream), asked.reader.eq(self._reader),
        ]
        with m.State("ask"):
            m.d.comb += self.requests.valid.eq(1)
            with m.If(self.requests.ready):
                m.next = "answer"
        with m.State("answer"):
            m.d.comb += self.responses.ready.eq(1)
            with m.If(self.responses.valid):
                m.d.sync += [self._place.on.eq(~drops), self._place.page.eq(answer.page), self._place.piece.eq(0)]
                with m.If(drops):
                    m.d.comb += self.dropped.eq(1)
                    m.d.sync += self._closing.eq(0)
                    m.next = "read"
                with m.Elif(answer.ok):
                    m.next = "page"
                with m.Else():
                    m.next = "lost"
        with m.State("lost"):
            m.d.comb += self.lost.eq(1)
