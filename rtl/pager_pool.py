"""Free pages of one kind of memory."""

from amaranth import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out


class PagePool(wiring.Component):
    """Says which page is given next, and counts.

    Pages that came back are given first, the last one first; they hang together in a list whose links are kept
    elsewhere. Pages that were never used are given in order by a counter, so that a reset makes all pages free at once.
    `ready`, `page` and `listed` are right from the second cycle after a change on.

    Parameters
    ----------
    first: number of the first page. pages: how many; with none `ready` stays 0. width: bits of a page number.

    Members
    -------
    limit: pages that may be in use.
    ready: a page may be given: `page`. listed: it came back once, and its link is the next one of the list.
    take: `page` is given in this cycle; link: its link.
    back: `returned` comes back in this cycle; its link becomes `head`.
    used: pages in use. high_water: most pages in use since reset or since `clear_high_water`, a cycle later.
    """

    def __init__(self, first: int, pages: int, width: int) -> None:
        self._first, self._pages = first, pages
        super().__init__({
            "limit": In(16),
            "ready": Out(1),
            "page": Out(width),
            "listed": Out(1),
            "take": In(1),
            "link": In(width),
            "back": In(1),
            "returned": In(width),
            "head": Out(width),
            "used": Out(16),
            "high_water": Out(16),
            "clear_high_water": In(1),
        })
        self._fresh = Signal(range(max(1, pages) + 1))  # pages that were ever given; the list has those not in use

    def elaborate(self, platform: object) -> Module:
        m = Module()
        fresh, used, listed = self._fresh, Signal.like(self._fresh), Signal()
        m.d.comb += [listed.eq(fresh != used), self.used.eq(used)]
        m.d.sync += [
            self.ready.eq((used < self.limit) & (used != self._pages)),
            self.listed.eq(listed),
            self.page.eq(Mux(listed, self.head, fresh + self._first)),
        ]
        with m.If(self.take):
            m.d.sync += used.eq(used + 1)
            with m.If(self.listed):
                m.d.sync += self.head.eq(self.link)
            with m.Else():
                m.d.sync += fresh.eq(fresh + 1)
        with m.Elif(self.back):
            m.d.sync += [used.eq(used - 1), self.head.eq(self.returned)]
        with m.If(self.clear_high_water | (used > self.high_water)):
            m.d.sync += self.high_water.eq(used)
        return m
