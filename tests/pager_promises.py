# amaranth: UnusedElaboratable=no
"""The pager's core with its promises as assertions, for a proof by induction from request to request, page to page.

Beside the hardware runs a ledger: for each stream its pages in order and how far each reader is, and the free pages
in the order of their lists. It knows nothing of the hardware's tables; it follows only what the pools give and take
back, and asserts that each such step and each answer is right. `whole` says how the tables must look at a pause:
between two requests and, in a DROP, before each page. The proof begins in any pause that is whole and asserts that
the next one comes in time and is whole: so it holds after any number of requests.
"""

from collections.abc import Sequence
from functools import reduce
from operator import and_, or_
from typing import Any

from amaranth import Cat, Const, Module, Mux, Signal, Value
from amaranth.hdl import Assert, Assume
from amaranth.lib import memory

from systolith.rtl.pager_core import PagerCore
from systolith.rtl.pager_pool import PagePool
from systolith.rtl.pager_ports import PageRequestKind as Kind


def every(terms: Sequence[Any]) -> Any:
    return reduce(and_, terms, Const(1))


def some(terms: Sequence[Any]) -> Any:
    return reduce(or_, terms, Const(0))


def count(terms: Sequence[Any]) -> Value:
    return sum((Cat(term) for term in terms), start=Const(0, 1))


def at(values: Sequence[Value], index: Value) -> Value:
    """`values[index]`; the first one where there is none."""
    chosen: Value = values[0]
    for number, value in list(enumerate(values))[1:]:
        chosen = Mux(index == number, value, chosen)
    return chosen


def implies(condition: Any, then: Any) -> Value:
    return ~Cat(condition).any() | then


class Queue:
    """Pages in order in the ledger, and how many."""

    def __init__(self, name: str, most: int, width: int) -> None:
        self.pages = [Signal(width, name=f"{name}_{k}") for k in range(most)]
        self.length = Signal(range(most + 1), name=f"{name}_length")
        self.last = at(self.pages, self.length - 1)

    def append(self, page: Value) -> list[Any]:
        """Statements."""
        return [self.length.eq(self.length + 1),
                *(own.eq(Mux(self.length == k, page, own)) for k, own in enumerate(self.pages))]

    def holds(self, page: int) -> list[Value]:
        """For each place: it is `page`."""
        return [(self.length > k) & (own == page) for k, own in enumerate(self.pages)]


class StreamLedger:
    """A stream. `place[r]`: pages up to the one that reader r is on, among those that are in use."""

    def __init__(self, name: str, readers: int, most: int, width: int) -> None:
        self.used, self.finished = Signal(name=f"{name}_used"), Signal(name=f"{name}_finished")
        self.active = Signal(readers, name=f"{name}_active")
        self.place = [Signal(range(most + 2), name=f"{name}_place_{r}") for r in range(readers)]
        self.queue = Queue(name, most, width)


class PromisedCore(PagerCore):
    """`PagerCore` with assertions. Step 1 is any pause that is whole, or for `base` the one after reset; a request
    comes in step 1 or not at all. In step `STEPS` at the latest there is the next pause."""

    STEPS = 10
    base = False

    def _table(self, m: Module, name: str, shape: Any, depth: int) -> tuple[memory.ReadPort, memory.WritePort]:
        m.submodules[name] = table = memory.Memory(shape=shape, depth=max(2, depth), init=[])
        rows = []
        for row in range(depth):
            port = table.read_port(domain="comb")
            m.d.comb += port.addr.eq(row)
            rows.append(port.data)
        self.rows[name] = rows
        return table.read_port(), table.write_port()

    def _pools(self, m: Module) -> tuple[PagePool, PagePool]:
        self.pools = super()._pools(m)
        return self.pools

    def elaborate(self, platform: object) -> Module:
        self.rows: dict[str, list[Any]] = {}
        m = super().elaborate(platform)
        most = self.pages + self.outside
        self.ledgers = [StreamLedger(f"stream{s}", self.readers, most, self._width) for s in range(self.streams)]
        self.free = [Queue("free", self.pages, self._width), Queue("free_outside", self.outside, self._width)]
        self.fresh = [Signal(range(size + 1), name=f"fresh_{k}") for k, size in enumerate((self.pages, self.outside))]
        begun, limit, time, since = Signal(name="begun"), Signal(16), Signal(8, name="cycles"), Signal(8)
        whole, pause, dropping = Signal(name="whole"), Signal(name="pause"), Signal(name="dropping")
        idle = self.request.ready
        m.d.sync += [begun.eq(1), limit.eq(self.limit)]
        # Cycles of this request so far, and since a pause.
        m.d.sync += [time.eq(Mux(idle, 1, time + 1)), since.eq(Mux(pause, 1, since + 1))]
        m.d.comb += [
            dropping.eq(self._fsm.ongoing("READ") & (self._asked.kind == Kind.DROP)),
            pause.eq(idle | dropping),
            whole.eq(every(self._whole(dropping, time))),
            Assume(~begun | (self.limit == limit)),
            Assume(~begun | ~(idle & self.request.valid)),
            Assert(~pause | whole) if self.base else Assert(~begun | ~pause | whole),
            Assert(idle | ~begun | (time <= 4 + 3 * max(2, most))),
            Assert(pause | ~begun | (since < self.STEPS - 1)),
        ]
        if not self.base:
            m.d.comb += Assume(begun | (pause & whole))
        for number, ledger in enumerate(self.ledgers):
            with m.If(self._asked.stream == number):
                self._pages(m, ledger)
                with m.If(self.answer.valid):
                    self._answered(m, ledger)
        with m.If(self.answer.valid & (self._asked.stream >= self.streams)):
            m.d.comb += Assert(~self.answer.payload.ok)
        return m

    def _pages(self, m: Module, ledger: StreamLedger) -> None:
        """What the pools give and take."""
        asked, queue = self._asked, ledger.queue
        for side, (pool, free, fresh) in enumerate(zip(self.pools, self.free, self.fresh, strict=True)):
            first = self.pages if side else 0
            with m.If(pool.take):
                listed = free.length != 0
                m.d.comb += [
                    Assert((asked.kind == Kind.EXTEND) & ledger.used & ~ledger.finished),
                    Assert(self._page == Mux(listed, free.last, fresh + first)),
                    Assert(listed | (fresh < (self.outside if side else self.pages))),
                ]
                if side:
                    m.d.comb += Assert((self.used >= self.limit) | (self.used == self.pages))
                m.d.sync += queue.append(self._page)
                with m.If(listed):
                    m.d.sync += free.length.eq(free.length - 1)
                with m.Else():
                    m.d.sync += fresh.eq(fresh + 1)
            with m.If(pool.back):
                leaves = (asked.kind == Kind.FOLLOW) | (asked.kind == Kind.DROP)
                gone = [~ledger.active[r] | (place > 1) | (leaves & (asked.reader == r))
                        for r, place in enumerate(ledger.place)]
                written = ledger.finished | (asked.kind == Kind.FINISH) | (queue.length > 1)
                m.d.comb += Assert((queue.length != 0) & (self._page == queue.pages[0]) & every(gone) & written)
                m.d.sync += [own.eq(after) for own, after in zip(queue.pages, queue.pages[1:], strict=False)]
                m.d.sync += queue.length.eq(queue.length - 1)
                m.d.sync += [place.eq(Mux(place == 0, 0, place - 1)) for place in ledger.place]
                m.d.sync += free.append(self._page)
        back = self.pools[0].back | self.pools[1].back
        for reader, place in enumerate(ledger.place):
            with m.If(self._fsm.ongoing("LEAVE") & (asked.kind == Kind.DROP) & (asked.reader == reader)):
                m.d.sync += place.eq(self._position(place) + ~back)  # it goes on to the next page

    @staticmethod
    def _position(place: Value) -> Value:
        """Where a reader that drops is: before its first page as on it."""
        return Mux(place == 0, 1, place)

    def _answered(self, m: Module, ledger: StreamLedger) -> None:
        """The answer is right, and the ledger goes on."""
        asked, answer, queue = self._asked, self.answer.payload, ledger.queue
        reads = some([(asked.reader == r) & ledger.active[r] for r in range(self.readers)])
        place = at(ledger.place, asked.reader)
        room = Signal()
        m.d.comb += room.eq(((self.used < self.limit) & (self.used < self.pages))
                            | (self.used_outside < self.outside))
        with m.Switch(asked.kind):
            with m.Case(Kind.OPEN):
                m.d.comb += Assert(answer.ok == (~ledger.used & (asked.count != 0) & (asked.count <= self.readers)))
                with m.If(answer.ok):
                    m.d.sync += [ledger.used.eq(1), ledger.finished.eq(0), ledger.active.eq((1 << asked.count) - 1)]
                    m.d.sync += [place.eq(0) for place in ledger.place]
            with m.Case(Kind.EXTEND):
                with m.If(answer.ok):
                    m.d.comb += Assert(ledger.used & ~ledger.finished & (queue.length != 0)
                                       & (answer.page == queue.last))
                with m.Else():
                    m.d.comb += Assert(~ledger.used | ledger.finished | ~room)
            with m.Case(Kind.FINISH):
                m.d.comb += Assert(answer.ok == (ledger.used & ~ledger.finished))
                with m.If(answer.ok):
                    m.d.sync += [ledger.finished.eq(1), ledger.used.eq(ledger.active.any())]
            with m.Case(Kind.FOLLOW):
                m.d.comb += [
                    Assert(answer.ok == (ledger.used & reads & (place < queue.length))),
                    Assert(~answer.ok | (answer.page == at(queue.pages, place))),
                    Assert(answer.end == (ledger.used & reads & ledger.finished & (place >= queue.length))),
                ]
                for number, own in enumerate(ledger.place):
                    with m.If(answer.ok & (asked.reader == number)):
                        m.d.sync += own.eq(own + 1)
            with m.Case(Kind.DROP):
                remaining = ledger.active & ~(1 << asked.reader)
                m.d.comb += Assert(answer.ok == (ledger.used & reads))
                with m.If(answer.ok):
                    m.d.sync += [ledger.active.eq(remaining), ledger.used.eq(~ledger.finished | (remaining != 0))]
            with m.Default():
                m.d.comb += Assert(~answer.ok)

    def _whole(self, dropping: Value, time: Value) -> list[Value]:
        """The tables say what the ledger says, every page is in one place, and none is kept for nobody."""
        facts: list[Any] = []
        for number, ledger in enumerate(self.ledgers):
            facts += [self._used[number] == ledger.used, implies(~ledger.used, ledger.queue.length == 0)]
            drops = dropping & (self._asked.stream == number)
            facts += [implies(ledger.used, fact) for fact in self._stream_whole(number, ledger, drops)]
            facts += [implies(drops, fact) for fact in self._drop_whole(number, ledger, time)]
        facts.append(implies(dropping, self._asked.stream < self.streams))
        sizes = (self.pages, self.outside)
        for side, (pool, free, fresh) in enumerate(zip(self.pools, self.free, self.fresh, strict=True)):
            size = sizes[side]
            facts += [
                fresh <= size, pool._fresh == fresh, free.length <= fresh, pool.used == fresh - free.length,
                implies(free.length != 0, pool.head == free.last),
                *(implies(free.length > k, (page >= self.pages) == (side == 1))
                  for k, page in enumerate(free.pages)),
                *(implies(free.length > k, self._link_of(free.pages[k]) == free.pages[k - 1])
                  for k in range(1, size)),
            ]
        facts.append(self.used <= self.limit)
        for page in range(self.pages + self.outside):
            holds = [h for queue in (*(ledger.queue for ledger in self.ledgers), *self.free) for h in queue.holds(page)]
            given = page < self.fresh[0] if page < self.pages else page - self.pages < self.fresh[1]
            facts.append(count(holds) == given)
        for queue in (*(ledger.queue for ledger in self.ledgers), *self.free):
            facts += [implies(queue.length > k, page < sum(sizes)) for k, page in enumerate(queue.pages)]
        return facts

    def _link_of(self, page: Value) -> Value:
        return at(self.rows["links"], page)

    def _drop_whole(self, number: int, ledger: StreamLedger, time: Value) -> list[Value]:
        """The reader that drops is about to leave `_page`, and there is time enough for all that follow."""
        record, state, queue = self.rows["records"][number], self._state, ledger.queue
        position = self._position(at(ledger.place, self._asked.reader))
        answer = self.answer.payload
        return [
            ledger.used, self._asked.reader < self.readers, self._legal,
            at([ledger.active[r] for r in range(self.readers)], self._asked.reader),
            position <= queue.length, self._page == at(queue.pages, position - 1),
            state.finished == record.finished, state.pages == 1, state.tail == record.tail, state.head == record.head,
            state.started == record.started, state.active == record.active & ~(1 << self._asked.reader),
            answer.ok, answer.page == 0, ~answer.end,
            time + 3 * (queue.length + 1 - position) <= 4 + 3 * len(queue.pages),
        ]

    def _stream_whole(self, number: int, ledger: StreamLedger, drops: Value) -> list[Value]:
        record, queue = self.rows["records"][number], ledger.queue
        some_pages = queue.length != 0
        facts = [
            record.finished == ledger.finished, record.pages == some_pages, record.active == ledger.active,
            queue.length <= len(queue.pages),
            ~ledger.finished | ledger.active.any(),
            implies(some_pages, record.tail == queue.last),
            # The oldest page is there for a reader, or for the writer alone.
            implies(some_pages, some([ledger.active[r] & (place <= 1) for r, place in enumerate(ledger.place)])
                    | (~ledger.active.any() & (queue.length == 1))),
        ]
        for reader, place in enumerate(ledger.place):
            cursor = self.rows["cursors"][(number << self._reader_bits) + reader]
            facts += [implies(ledger.active[reader] & ~(drops & (self._asked.reader == reader)), fact) for fact in (
                place <= queue.length,
                record.started[reader] == (place != 0),
                implies(place != 0, cursor == at(queue.pages, place - 1)),
                implies((place == 0) & some_pages, record.head == queue.pages[0]))]
        for k, page in enumerate(queue.pages):
            staying = count([ledger.active[r] & (place <= k + 1) for r, place in enumerate(ledger.place)])
            facts.append(implies(queue.length > k, at(self.rows["left"], page) == staying))
            if k + 1 < len(queue.pages):
                facts.append(implies(queue.length > k + 1, self._link_of(page) == queue.pages[k + 1]))
        return facts
