"""What the pager answers, in plain Python: pages, chains and the readers on them."""

from dataclasses import dataclass, field
from typing import NamedTuple

from systolith.rtl.pager_ports import PageRequestKind as Kind
from systolith.rtl.pager_ports import PagerError


class Answer(NamedTuple):
    """As `PageResponse`."""

    page: int = 0
    ok: int = 1
    end: int = 0


class _Misuse(Exception):
    def __init__(self, code: PagerError) -> None:
        self.code = code


@dataclass
class _Stream:
    """`chain`: its pages that are in use, in order; `first`: how many there were before. `at`: for each reader that has
    not dropped, the index among all its pages of the one that it is on, -1 before the first."""

    at: dict[int, int]
    chain: list[int] = field(default_factory=list)
    first: int = 0
    finished: bool = False

    @property
    def length(self) -> int:
        """Pages that it has had."""
        return self.first + len(self.chain)


class _Pool:
    """Pages of one kind; those that came back are given first, the last one first."""

    def __init__(self, first: int, pages: int, limit: int) -> None:
        self.first, self.pages, self.limit = first, pages, min(limit, pages)
        self.fresh = 0
        self.free: list[int] = []
        self.high_water = 0

    @property
    def used(self) -> int:
        return self.fresh - len(self.free)

    def give(self) -> int | None:
        if self.used >= self.limit:
            return None
        if self.free:
            page = self.free.pop()
        else:
            page = self.first + self.fresh
            self.fresh += 1
        self.high_water = max(self.high_water, self.used)
        return page


class PagerModel:
    """The pager's answers, page for page those of `rtl.pager.Pager`; parameters and figures are its.

    Each request ends with a check of the model's own promises, AssertionError where one is broken: every page that has
    been given is in one chain or free, once; no page stays that nobody will leave.
    """

    def __init__(self, pages: int, outside: int, streams: int, readers: int, limit: int | None = None) -> None:
        self.streams, self.readers = streams, readers
        self.chip = _Pool(0, pages, pages if limit is None else limit)
        self.beyond = _Pool(pages, outside, outside)
        self.open: dict[int, _Stream] = {}
        self.refusals = 0
        self.code = PagerError.NONE
        self.pages_left = 0
        self.page_given = False
        """Pages that the last request has left, and whether it got a free one: what its time depends on."""

    def set_limit(self, limit: int) -> None:
        """Pages on chip that may be in use; more than there are, are as many."""
        self.chip.limit = min(limit, self.chip.pages)

    @property
    def used(self) -> int:
        """Pages on chip that are in use."""
        return self.chip.used

    @property
    def used_outside(self) -> int:
        """Pages outside that are in use."""
        return self.beyond.used

    def clear_high_water(self) -> None:
        """Begin both high-water marks anew."""
        for pool in (self.chip, self.beyond):
            pool.high_water = pool.used

    def request(self, kind: int, stream: int, reader: int = 0, count: int = 0) -> Answer:
        """Serve one request. Misuse is answered without `ok`; `code` keeps the first one."""
        self.pages_left, self.page_given = 0, False
        try:
            answer = self._serve(kind, stream, reader, count)
        except _Misuse as misuse:
            self.code = self.code or misuse.code
            answer = Answer(ok=0)
        self.check()
        return answer

    def _serve(self, kind: int, stream: int, reader: int, count: int) -> Answer:
        if kind not in list(Kind) or stream >= self.streams:
            raise _Misuse(PagerError.BAD_REQUEST)
        if kind == Kind.OPEN:
            if stream in self.open:
                raise _Misuse(PagerError.STREAM_IN_USE)
            if not 1 <= count <= self.readers:
                raise _Misuse(PagerError.BAD_COUNT)
            self.open[stream] = _Stream(dict.fromkeys(range(count), -1))
            return Answer()
        if stream not in self.open:
            raise _Misuse(PagerError.STREAM_NOT_OPEN)
        chain = self.open[stream]
        if kind in (Kind.EXTEND, Kind.FINISH):
            if chain.finished:
                raise _Misuse(PagerError.STREAM_FINISHED)
            return self._extend(chain) if kind == Kind.EXTEND else self._finish(stream, chain)
        if reader not in chain.at:
            raise _Misuse(PagerError.NO_SUCH_READER)
        return self._follow(chain, reader) if kind == Kind.FOLLOW else self._drop(stream, chain, reader)

    def _extend(self, chain: _Stream) -> Answer:
        if chain.chain and not chain.at:  # nobody will read: the same page again
            return Answer(chain.chain[-1])
        page = self.chip.give()
        if page is None:
            page = self.beyond.give()
        if page is None:
            self.refusals += 1
            return Answer(ok=0)
        chain.chain.append(page)
        self.page_given = True
        return Answer(page)

    def _finish(self, stream: int, chain: _Stream) -> Answer:
        chain.finished = True
        if not chain.at:
            self.pages_left = len(chain.chain)
        self._release(stream, chain)
        return Answer()

    def _follow(self, chain: _Stream, reader: int) -> Answer:
        following = chain.at[reader] + 1
        if following == chain.length:
            return Answer(ok=0, end=int(chain.finished))
        self.pages_left = int(following > 0)
        chain.at[reader] = following
        self._free_front(chain)
        return Answer(chain.chain[following - chain.first])

    def _drop(self, stream: int, chain: _Stream, reader: int) -> Answer:
        self.pages_left = chain.length - max(chain.at.pop(reader), 0)
        self._release(stream, chain)
        return Answer()

    def _release(self, stream: int, chain: _Stream) -> None:
        self._free_front(chain)
        if chain.finished and not chain.at:
            del self.open[stream]

    def _free_front(self, chain: _Stream) -> None:
        """Pages in front of all readers go back, but for the last one while the writer is on it."""
        needed = min(chain.at.values(), default=chain.length - (not chain.finished))
        while chain.chain and chain.first < needed:
            page = chain.chain.pop(0)
            chain.first += 1
            (self.chip if page < self.beyond.first else self.beyond).free.append(page)

    def check(self) -> None:
        """Raises AssertionError where a page is in two places, is lost, or is kept for nobody."""
        chained = [page for chain in self.open.values() for page in chain.chain]
        places = sorted(chained + self.chip.free + self.beyond.free)
        given = [*range(self.chip.fresh), *range(self.beyond.first, self.beyond.first + self.beyond.fresh)]
        assert places == given, f"pages {given} have been given, but {places} are in chains or free"
        assert self.used <= self.chip.limit and self.used_outside <= self.beyond.limit, "more pages than there are"
        for number, chain in self.open.items():
            assert not chain.finished or chain.at, f"stream {number} is done but not unused"
            if chain.chain:
                oldest = min(chain.at.values(), default=chain.length - 1)
                assert chain.first == max(oldest, 0), f"stream {number} keeps pages that nobody needs"
