"""Chains of pages: the tables of the pager and the steps of each request."""

from amaranth import Cat, Const, Module, Mux, Signal
from amaranth.hdl import Value
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import bits_for

from .pager_pool import PagePool
from .pager_ports import MAX_PAGES, MAX_READERS, MAX_STREAMS, PageRequest, PagerError, PageResponse
from .pager_ports import PageRequestKind as Kind


def stream_layout(readers: int, width: int) -> data.StructLayout:
    """What is known of a stream that is used; `width`: bits of a page number."""
    return data.StructLayout({
        "finished": 1,
        "pages": 1,  # it has had a page: head and tail mean something
        "active": readers,  # a bit a reader: it has not dropped
        "started": readers,  # it has been given a page
        "head": width,  # first page ever
        "tail": width,  # last page
    })


class PagerCore(wiring.Component):
    """Serves one request after the other; see `Pager` for what they mean.

    Cycles from the one in which a request is taken to the one in which it is answered, both counted:

    - 5 for misuse, OPEN, a FOLLOW that gives the first page or none, a FINISH that frees nothing, a DROP before the
      first page was written, and an EXTEND when all readers have dropped,
    - 6 for an EXTEND that is refused, 9 for other EXTENDs,
    - 8 for other FOLLOWs and FINISHs,
    - 5 + 3 * the pages that are left for DROP.

    Every page that is in use hangs in the chain of one stream, through `links`, and `left` counts the readers that have
    not left it. A memory's reading address comes from a register and what it reads goes to one.

    Parameters
    ----------
    pages, outside, streams, readers: as for `Pager`.

    Members
    -------
    request: stream of `PageRequest`. answer: stream of `PageResponse`, never refused.
    The others as in `Pager`.
    """

    def __init__(self, pages: int, outside: int, streams: int, readers: int) -> None:
        if pages < 1:
            raise ValueError(f"pages must be at least 1, not {pages}")
        if outside < 0:
            raise ValueError(f"outside must be at least 0, not {outside}")
        if pages + outside > MAX_PAGES:
            raise ValueError(f"pages + outside must be at most {MAX_PAGES}, not {pages + outside}")
        if not 1 <= streams <= MAX_STREAMS:
            raise ValueError(f"streams must be from 1 to {MAX_STREAMS}, not {streams}")
        if not 1 <= readers <= MAX_READERS:
            raise ValueError(f"readers must be from 1 to {MAX_READERS}, not {readers}")
        self.pages, self.outside, self.streams, self.readers = pages, outside, streams, readers
        self._width = width = max(1, bits_for(pages + outside - 1))
        super().__init__({
            "request": In(stream.Signature(PageRequest)),
            "answer": Out(stream.Signature(PageResponse, always_ready=True)),
            "limit": In(16),
            "clear_high_water": In(1),
            "used": Out(16),
            "high_water": Out(16),
            "used_outside": Out(16),
            "high_water_outside": Out(16),
            "refusals": Out(32),
            "error": Out(1),
            "code": Out(PagerError),
        })
        # Of the request that is being served:
        self._asked = Signal(PageRequest)
        self._used = Signal(streams)  # a bit a stream
        self._known, self._open = Signal(), Signal()  # there is such a stream; it is used
        self._state = Signal(stream_layout(readers, width), reset_less=True)
        self._cursor = Signal(width, reset_less=True)  # the page that the reader is on, if it has started
        self._page = Signal(width, reset_less=True)  # the page that is given or left
        self._link = Signal(width, reset_less=True)
        self._left = Signal(range(readers + 1), reset_less=True)
        self._at_tail, self._beyond = Signal(), Signal()  # `page` is the last one of its stream; is outside
        self._legal = Signal()

    def elaborate(self, platform: object) -> Module:
        m = Module()
        asked, state = self._asked, self._state
        chip, beyond = self._pools(m)
        record_read, record_write = self._table(m, "records", state.shape(), self.streams)
        cursor_read, cursor_write = self._table(m, "cursors", self._width, self.streams << self._reader_bits)
        link_read, link_write = self._table(m, "links", self._width, self.pages + self.outside)
        left_read, left_write = self._table(m, "left", self._left.shape(), self.pages + self.outside)
        place = Cat(asked.reader[:self._reader_bits], asked.stream)
        m.d.comb += [
            record_read.addr.eq(asked.stream), record_write.addr.eq(asked.stream), record_write.data.eq(state),
            cursor_read.addr.eq(place), cursor_write.addr.eq(place), cursor_write.data.eq(self._cursor),
            link_read.addr.eq(self._page), left_read.addr.eq(self._page), left_write.addr.eq(self._page),
        ]
        with m.FSM() as self._fsm:
            with m.State("IDLE"):
                m.d.comb += self.request.ready.eq(1)
                with m.If(self.request.valid):
                    m.d.sync += asked.eq(self.request.payload)
                    m.next = "LOOK"
            with m.State("LOOK"):
                m.d.sync += [self._known.eq(asked.stream < self.streams), self._open.eq(self._used >> asked.stream)]
                m.next = "FOUND"
            with m.State("FOUND"):
                m.d.sync += [state.eq(record_read.data), self._cursor.eq(cursor_read.data)]
                m.next = "JUDGE"
            with m.State("JUDGE"):
                self._judge(m)
            with m.State("CHOOSE"):
                m.d.sync += self._page.eq(Mux(chip.ready, chip.page, beyond.page))
                m.next = "READ"
                with m.If(~chip.ready & ~beyond.ready):
                    m.d.sync += [self.answer.payload.ok.eq(0), self.refusals.eq(self.refusals + 1)]
                    m.next = "DONE"
            with m.State("READ"):
                m.next = "HOLD"
            with m.State("HOLD"):
                m.d.sync += [self._link.eq(link_read.data), self._left.eq(left_read.data),
                             self._at_tail.eq(self._page == state.tail), self._beyond.eq(self._page >= self.pages)]
                m.next = "LEAVE"
                with m.If(asked.kind == Kind.EXTEND):
                    m.next = "JOIN"
            with m.State("JOIN"):
                self._join(m, chip, beyond, link_write, left_write)
            with m.State("LEAVE"):
                self._leave(m, chip, beyond, link_write, left_write)
            with m.State("DONE"):
                m.d.comb += [self.answer.valid.eq(1), record_write.en.eq(self._legal),
                             cursor_write.en.eq(self._legal & (asked.kind == Kind.FOLLOW))]
                with m.If(self._legal):
                    closed = state.finished & ~state.active.any()
                    m.d.sync += self._used.bit_select(asked.stream, 1).eq(~closed)
                m.next = "IDLE"
        return m

    @property
    def _reader_bits(self) -> int:
        return (self.readers - 1).bit_length()

    def _table(self, m: Module, name: str, shape: object, depth: int) -> tuple[memory.ReadPort, memory.WritePort]:
        m.submodules[name] = table = memory.Memory(shape=shape, depth=max(2, depth), init=[])
        return table.read_port(), table.write_port()

    def _pools(self, m: Module) -> tuple[PagePool, PagePool]:
        """The pages on chip and those outside."""
        m.submodules.chip = chip = PagePool(0, self.pages, self._width)
        m.submodules.beyond = beyond = PagePool(self.pages, self.outside, self._width)
        m.d.comb += [
            chip.limit.eq(self.limit), beyond.limit.eq(self.outside),
            self.used.eq(chip.used), self.high_water.eq(chip.high_water),
            self.used_outside.eq(beyond.used), self.high_water_outside.eq(beyond.high_water),
        ]
        for pool in (chip, beyond):
            m.d.comb += [pool.clear_high_water.eq(self.clear_high_water), pool.link.eq(self._link),
                         pool.returned.eq(self._page)]
        return chip, beyond

    def _misuse(self) -> Value:
        """The request's error, as a `PagerError`: the first of these tests that it fails."""
        asked, state = self._asked, self._state
        opening = asked.kind == Kind.OPEN
        writing = (asked.kind == Kind.EXTEND) | (asked.kind == Kind.FINISH)
        tests = [
            (~self._known | (asked.kind > Kind.DROP), PagerError.BAD_REQUEST),
            (opening & self._open, PagerError.STREAM_IN_USE),
            (opening & ((asked.count == 0) | (asked.count > self.readers)), PagerError.BAD_COUNT),
            (~opening & ~self._open, PagerError.STREAM_NOT_OPEN),
            (writing & state.finished, PagerError.STREAM_FINISHED),
            (~opening & ~writing & ~(state.active >> asked.reader)[0], PagerError.NO_SUCH_READER),
        ]
        code: Value = Const(PagerError.NONE, 3)
        for failed, error in reversed(tests):
            code = Mux(failed, error, code)
        return code

    def _judge(self, m: Module) -> None:
        """Refuses misuse, answers what needs no table of pages, and sends the rest on."""
        asked, state, answer = self._asked, self._state, self.answer.payload
        code, reader = Signal(PagerError), Signal(self.readers)
        started, last = Signal(), Signal()
        m.d.comb += [
            code.eq(self._misuse()),
            reader.eq(1 << asked.reader),
            started.eq((state.started & reader).any()),
            last.eq(Mux(started, self._cursor == state.tail, ~state.pages)),  # no page after the reader's
        ]
        m.d.sync += [self._legal.eq(code == PagerError.NONE), answer.eq(0)]
        m.next = "DONE"
        with m.If(code != PagerError.NONE):
            m.d.sync += self.error.eq(1)
            with m.If(~self.error):
                m.d.sync += self.code.eq(code)
        with m.Else():
            m.d.sync += answer.ok.eq(1)
            with m.Switch(asked.kind):
                with m.Case(Kind.OPEN):
                    m.d.sync += [state.finished.eq(0), state.pages.eq(0), state.started.eq(0),
                                 state.active.eq((1 << asked.count) - 1)]
                with m.Case(Kind.EXTEND):
                    m.next = "CHOOSE"
                    with m.If(state.pages & ~state.active.any()):  # nobody will read: the same page again
                        m.d.sync += answer.page.eq(state.tail)
                        m.next = "DONE"
                with m.Case(Kind.FINISH):
                    m.d.sync += [state.finished.eq(1), self._page.eq(state.tail)]
                    with m.If(state.pages & ~state.active.any()):
                        m.next = "READ"
                with m.Case(Kind.FOLLOW):
                    m.d.sync += self._page.eq(self._cursor)
                    with m.If(last):
                        m.d.sync += [answer.ok.eq(0), answer.end.eq(state.finished)]
                    with m.Elif(started):
                        m.next = "READ"
                    with m.Else():
                        m.d.sync += [state.started.eq(state.started | reader), self._cursor.eq(state.head),
                                     answer.page.eq(state.head)]
                with m.Case(Kind.DROP):
                    m.d.sync += [state.active.eq(state.active & ~reader),
                                 self._page.eq(Mux(started, self._cursor, state.head))]
                    with m.If(state.pages):
                        m.next = "READ"

    def _join(self, m: Module, chip: PagePool, beyond: PagePool, link: memory.WritePort,
              left: memory.WritePort) -> None:
        """The new page becomes the last one of its stream."""
        state = self._state
        first, second = (state.active[at:at + 2] for at in (0, 2))
        m.d.comb += [
            chip.take.eq(~self._beyond), beyond.take.eq(self._beyond),
            link.addr.eq(state.tail), link.data.eq(self._page), link.en.eq(state.pages),
            left.data.eq((first[:1] + first[1:]) + (second[:1] + second[1:])), left.en.eq(1),
        ]
        m.d.sync += [state.tail.eq(self._page), state.pages.eq(1), self.answer.payload.page.eq(self._page)]
        with m.If(~state.pages):
            m.d.sync += state.head.eq(self._page)
        m.next = "DONE"

    def _leave(self, m: Module, chip: PagePool, beyond: PagePool, link: memory.WritePort,
               left: memory.WritePort) -> None:
        """One reader less on the page, which goes back after the last one, unless the writer is on it."""
        state = self._state
        free = Signal()
        m.d.comb += [
            free.eq((self._left <= 1) & (~self._at_tail | state.finished)),
            chip.back.eq(free & ~self._beyond), beyond.back.eq(free & self._beyond),
            link.addr.eq(self._page), link.data.eq(Mux(self._beyond, beyond.head, chip.head)), link.en.eq(free),
            left.data.eq(self._left - 1), left.en.eq(~free),
        ]
        m.next = "DONE"
        with m.If(self._asked.kind == Kind.FOLLOW):
            m.d.sync += [self._cursor.eq(self._link), self.answer.payload.page.eq(self._link)]
        with m.Elif(~self._at_tail):  # DROP
            m.d.sync += self._page.eq(self._link)
            m.next = "READ"
