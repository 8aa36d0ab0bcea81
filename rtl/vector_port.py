"""Two readers at one port of the memory."""

from amaranth import Module, unsigned
from amaranth.lib import fifo, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from .config import ADDRESS_BITS
from .issue import Merge
from .ports import MemoryReadPort


class SharedPort(wiring.Component):
    """Lets two clients read through one port, in turns where both ask; each gets its own answers, in order.

    Parameters
    ----------
    word_bytes: of the port. depth: answers under way at most.

    Members
    -------
    clients: two `MemoryReadPort`s. port: memory.
    """

    def __init__(self, word_bytes: int, depth: int = 16) -> None:
        self._depth = depth
        super().__init__({
            "clients": In(MemoryReadPort(word_bytes)).array(2),
            "port": Out(MemoryReadPort(word_bytes)),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.merge = merge = Merge(unsigned(ADDRESS_BITS), 2)
        m.submodules.owners = owners = fifo.SyncFIFO(width=1, depth=self._depth)  # of the answers under way
        request, response = self.port.request, self.port.response
        m.d.comb += [
            request.payload.eq(merge.o.payload),
            request.valid.eq(merge.o.valid & owners.w_rdy),
            merge.o.ready.eq(request.ready & owners.w_rdy),
            owners.w_en.eq(request.valid & request.ready),
            owners.w_data.eq(merge.i[1].valid & merge.i[1].ready),
            owners.r_en.eq(response.valid),
        ]
        for index, client in enumerate(self.clients):
            connect(m, flipped(client.request), merge.i[index])
            m.d.comb += [client.response.payload.eq(response.payload),
                         client.response.valid.eq(response.valid & (owners.r_data == index))]
        return m
