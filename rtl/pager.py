"""Pages of memory for streams of bytes that are written once and read once or a few times."""

from amaranth import Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from .pager_clients import PagerClients
from .pager_core import PagerCore
from .pager_ports import PageRequest, PagerError, PageResponse


class Pager(wiring.Component):
    """Gives pages to the writers of streams, hands them on to the readers, and takes them back after the last one.

    A stream has one writer and up to four readers, each of which goes through the pages once, at its own speed
    (`PageRequestKind`):

    - OPEN makes an unused stream ready for its readers.
    - EXTEND gives the writer its next page: on chip while fewer than `limit` are in use, else outside, else none
      (`refusals`). From then on readers can have it: how many of its bytes are there is between writer and readers.
      The writer must be done with the page before. Where all readers have dropped it gets the same page again.
    - FINISH: the writer is done with its last page.
    - FOLLOW: a reader leaves its page and gets the next one. It stays on its page while there is no next one.
    - DROP: a reader leaves its page and all that follow, also those that are still to come.

    A page is free again when all readers have left it and the writer has gone on, and a stream is unused again when the
    writer has finished and all readers have dropped, also those that came to the end.

    Clients are served in turns, one request at a time: while one waits, each other one is served at most once. Alone, a
    request is answered at most 10 cycles after it comes, DROP 6 + 3 * the pages that it leaves; it keeps the pager from
    others for a cycle less. A reset makes everything free.

    Misuse (`PagerError`) is answered without `ok` and changes nothing but `error`.

    Parameters
    ----------
    pages: on chip, numbers from 0. outside: in external memory, numbers from `pages` on; may be 0.
    streams: up to 64. readers: the most of a stream, 1 to 4. clients: ports.

    Members
    -------
    limit: pages on chip that may be in use; more than `pages` are as many. Changes only while no stream is used.
    requests, responses: a stream of each for each client; one response a request, in order. A client's next request
        is taken after its response.
    used, used_outside: pages in use. high_water, high_water_outside: the most since reset or `clear_high_water`.
    refusals: EXTENDs that were refused, modulo 2**32.
    error: 1 from the first misuse until reset; code: which one that was.
    """

    def __init__(self, pages: int, outside: int, streams: int, readers: int, clients: int) -> None:
        self.core = PagerCore(pages, outside, streams, readers)
        self.front = PagerClients(clients)
        super().__init__({
            "requests": In(stream.Signature(PageRequest)).array(clients),
            "responses": Out(stream.Signature(PageResponse)).array(clients),
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

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.front = front = self.front
        m.submodules.core = core = self.core
        wiring.connect(m, front.o, core.request)
        wiring.connect(m, core.answer, front.answer)
        for outer, inner in ((self.requests, front.requests), (self.responses, front.responses)):
            for ours, theirs in zip(outer, inner, strict=True):
                wiring.connect(m, wiring.flipped(ours), theirs)
        m.d.comb += [core.limit.eq(self.limit), core.clear_high_water.eq(self.clear_high_water)]
        for name in ("used", "high_water", "used_outside", "high_water_outside", "refusals", "error", "code"):
            m.d.comb += getattr(self, name).eq(getattr(core, name))
        return m
