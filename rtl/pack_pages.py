"""The pack unit's streams: which page the next bytes go to, and what the pager is asked for."""

from amaranth import Cat, Const, Module, Mux, Signal, Value, unsigned
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from .blocks import BlockEnd
from .config import ADDRESS_BITS
from .pack_bytes import PIECE_BYTES, Piece
from .pack_outside import OutsideRun, run_pieces
from .pack_store import Stored
from .pager_ports import PageRequest, PageResponse
from .pager_ports import PageRequestKind as Kind


class Job(data.Struct):
    """An instruction whose tiles are coming. `base`, `outside`: of page 0, of the first page outside."""

    stream: unsigned(6)
    readers: unsigned(3)
    open: unsigned(1)
    close: unsigned(1)
    base: unsigned(ADDRESS_BITS)
    outside: unsigned(32)
    end: BlockEnd


def place_layout(page_bytes: int) -> data.StructLayout:
    """Where a stream goes on: `place` pieces into `page`, or, where there is none (`some` is 0), in its next page."""
    return data.StructLayout({"some": 1, "page": 16, "place": (page_bytes // PIECE_BYTES).bit_length() - 1})


class PackPages(wiring.Component):
    """Hands the pieces of each instruction to their places, asks for pages, and ends instructions.

    A piece a cycle, between instructions about six cycles, for a page four and the pager's time; before it asks for a
    page or ends anything, it waits until all that was handed out is granted.

    Parameters
    ----------
    page_bytes, pages: of the chip's pages. external_bytes: of the external port; 0: there is none. streams: numbers.

    Members
    -------
    job: stream of `Job`. i: stream of their `Piece`s.
    request, response: streams of the pager.
    store: stream of pieces for the memory. run, piece: streams of runs outside, and of their pieces.
    busy: something that was handed out is not granted yet. settled: all instructions that ended have given their
        signals.
    ended: stream of the ends of instructions, when the last writes are granted and the pager has answered.
    waiting: for the pager, or for a grant.
    tile, spilled: in this cycle a tile was handed out whole, a page outside was given.
    out_of_pages, tag: the pager had none for this instruction; until reset, and the unit waits. It also waits after
        any other answer that is not `ok`: a misuse, which the pager tells of.
    """

    def __init__(self, page_bytes: int, pages: int, external_bytes: int, streams: int) -> None:
        self._page_bytes, self._pages, self._external_bytes = page_bytes, pages, external_bytes
        self._streams = streams
        super().__init__({
            "job": In(stream.Signature(Job)),
            "i": In(stream.Signature(Piece)),
            "request": Out(stream.Signature(PageRequest)),
            "response": In(stream.Signature(PageResponse)),
            "store": Out(stream.Signature(Stored)),
            "run": Out(stream.Signature(OutsideRun)),
            "piece": Out(stream.Signature(8 * PIECE_BYTES)),
            "busy": In(1), "settled": In(1),
            "ended": Out(stream.Signature(BlockEnd)),
            "waiting": Out(1), "tile": Out(1), "spilled": Out(1), "out_of_pages": Out(1), "tag": Out(16),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        job, piece, request = self.job.payload, self.i.payload, self.request.payload
        place = Signal(place_layout(self._page_bytes))
        m.submodules.places = places = memory.Memory(shape=place.shape(), depth=max(2, self._streams), init=[])
        read, write = places.read_port(), places.write_port()
        beyond, number = Signal(), Signal(16, reset_less=True)  # the page is outside, and which of those
        at = Signal(32, reset_less=True)
        m.d.comb += [read.addr.eq(job.stream), write.addr.eq(job.stream), write.data.eq(place),
                     request.stream.eq(job.stream), request.count.eq(job.readers), self.ended.payload.eq(job.end),
                     self.tag.eq(job.end.tag)]
        with m.FSM():
            with m.State("idle"):
                with m.If(self.job.valid):
                    m.next = "look"
                    with m.If(job.open):
                        m.next = "open"
            with m.State("look"):
                m.d.sync += place.eq(read.data)
                self._found(m, read.data.page, beyond, number)
                m.next = "address"
            with m.State("open"):
                m.d.sync += place.eq(0)
                self._ask(m, Kind.OPEN, self.settled, "opened")
            with m.State("opened"):
                self._answer(m, "run")
            with m.State("address"):
                page = Mux(beyond, number, place.page)
                m.d.sync += at.eq(Mux(beyond, job.outside, job.base) + Cat(Const(0, 3), place.place, page))
                m.next = "run"
            with m.State("run"):
                self._run(m, place, at, beyond)
            with m.State("extend"):
                self._ask(m, Kind.EXTEND, ~self.busy, "extended")
            with m.State("extended"):
                m.d.sync += [place.some.eq(1), place.page.eq(self.response.payload.page), place.place.eq(0)]
                m.d.comb += self.spilled.eq(self.response.valid & self.response.payload.ok
                                            & (self.response.payload.page >= self._pages))
                self._found(m, self.response.payload.page, beyond, number)
                self._answer(m, "address")
                with m.If(self.response.valid & ~self.response.payload.ok):
                    m.d.sync += self.out_of_pages.eq(1)
            with m.State("end"):
                m.d.comb += write.en.eq(1)
                m.next = "granted"
                with m.If(job.close):
                    m.next = "finish"
            with m.State("finish"):
                self._ask(m, Kind.FINISH, ~self.busy, "finished")
            with m.State("finished"):
                self._answer(m, "granted")
            with m.State("granted"):
                m.d.comb += [self.waiting.eq(1), self.ended.valid.eq(~self.busy),
                             self.job.ready.eq(~self.busy & self.ended.ready)]
                with m.If(self.job.ready):
                    m.next = "idle"
            with m.State("stopped"):
                m.d.comb += self.waiting.eq(1)
        m.d.comb += self.store.payload.eq(Cat(at[:ADDRESS_BITS], piece.data, piece.left == 1))
        m.d.comb += self.piece.payload.eq(piece.data)
        return m

    def _found(self, m: Module, page: Value, beyond: Signal, number: Signal) -> None:
        m.d.sync += [beyond.eq(page >= self._pages), number.eq(page - self._pages)]

    def _ask(self, m: Module, kind: Kind, when: Signal, then: str) -> None:
        m.d.comb += [self.waiting.eq(1), self.request.valid.eq(when), self.request.payload.kind.eq(kind)]
        with m.If(self.request.valid & self.request.ready):
            m.next = then

    def _answer(self, m: Module, then: str) -> None:
        m.d.comb += [self.waiting.eq(1), self.response.ready.eq(1)]
        with m.If(self.response.valid):
            m.next = then
            with m.If(~self.response.payload.ok):
                m.next = "stopped"

    def _run(self, m: Module, place: data.View, at: Signal, beyond: Signal) -> None:
        """A piece goes where it belongs, if there is a page and, outside, a run for it."""
        piece = self.i.payload
        opened, go, goes = Signal(), Signal(), Signal()  # `opened`: the page takes pieces
        m.d.comb += opened.eq(place.some & ~beyond)
        if self._external_bytes:
            most = min(run_pieces(self._external_bytes), self._page_bytes // PIECE_BYTES)
            granted, asks = Signal(range(most + 1)), Signal()  # pieces of the run that are still to come
            room = Signal.like(granted)  # up to a multiple of the longest run
            m.d.comb += [
                room.eq(most - place.place[:(most - 1).bit_length()]),
                asks.eq(self.i.valid & place.some & beyond & (granted == 0)),
                self.run.payload.address.eq(at),
                self.run.payload.pieces.eq(Mux(piece.left < room, piece.left, room)),
                self.run.valid.eq(asks),
            ]
            with m.If(asks & self.run.ready):
                m.d.sync += granted.eq(self.run.payload.pieces)
            with m.Elif(goes & beyond):
                m.d.sync += granted.eq(granted - 1)
            m.d.comb += opened.eq(place.some & (~beyond | (granted != 0)))
        m.d.comb += [
            go.eq(self.i.valid & opened),
            self.store.valid.eq(go & ~beyond), self.piece.valid.eq(go & beyond),
            self.i.ready.eq(opened & Mux(beyond, self.piece.ready, self.store.ready)),
            goes.eq(self.i.valid & self.i.ready),
            self.tile.eq(goes & (piece.left == 1)),
        ]
        with m.If(goes):
            m.d.sync += [at.eq(at + PIECE_BYTES), place.place.eq(place.place + 1)]
            with m.If(place.place.all()):
                m.d.sync += place.some.eq(0)
                with m.If(piece.left != 1):
                    m.next = "extend"
            with m.If((piece.left == 1) & piece.final):
                m.next = "end"
        with m.Elif(self.i.valid & ~place.some):
            m.next = "extend"
