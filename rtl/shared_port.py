"""The external port shared: bursts of several clients one after the other, and what belongs to each back to it."""

from amaranth import Module, Signal, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from .issue import Merge
from .ports import Burst
from .skid import Skid
from .stream_fifo import StreamFifo

AHEAD = 16
"""Bursts between their request and their last beat."""


class _Owners(wiring.Component):
    """Joins the requests of clients; remembers whose they are and how many beats they have.

    Members
    -------
    requests: streams of `Burst`, by client. o: stream of `Burst`. owner: stream of the bursts' owners, in order.
    """

    def __init__(self, clients: int) -> None:
        self.clients = clients
        self.owner_shape = data.StructLayout({"client": range(max(2, clients)), "beats": 8})
        super().__init__({
            "requests": In(stream.Signature(Burst)).array(clients),
            "o": Out(stream.Signature(Burst)),
            "owner": Out(stream.Signature(self.owner_shape)),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        asked = data.StructLayout({"client": range(max(2, self.clients)), "burst": Burst})
        m.submodules.merge = merge = Merge(asked, self.clients)
        m.submodules.skid = skid = Skid(asked)
        m.submodules.owners = owners = StreamFifo(self.owner_shape, AHEAD)
        for index, port in enumerate(self.requests):
            m.d.comb += [
                merge.i[index].valid.eq(port.valid),
                merge.i[index].payload.client.eq(index),
                merge.i[index].payload.burst.eq(port.payload),
                port.ready.eq(merge.i[index].ready),
            ]
        wiring.connect(m, merge.o, skid.i)
        wiring.connect(m, owners.o, wiring.flipped(self.owner))
        m.d.comb += [
            self.o.payload.eq(skid.o.payload.burst),
            self.o.valid.eq(skid.o.valid & owners.i.ready),
            skid.o.ready.eq(self.o.ready & owners.i.ready),
            owners.i.valid.eq(skid.o.valid & self.o.ready),
            owners.i.payload.client.eq(skid.o.payload.client),
            owners.i.payload.beats.eq(skid.o.payload.burst.beats),
        ]
        return m


class SharedReads(wiring.Component):
    """Read bursts of several clients on one port; clients take turns, a burst each.

    Beats come in the order of the requests: a client that does not take its beats holds up the others.

    Parameters
    ----------
    width: bytes of a beat. clients: how many, at least 1.

    Members
    -------
    requests, data: a stream of `Burst` and one of beats for each client.
    read_request, read_data: the reading half of `ExternalPort`.
    """

    def __init__(self, width: int, clients: int) -> None:
        self._clients = clients
        beat = stream.Signature(unsigned(8 * width))
        super().__init__({
            "requests": In(stream.Signature(Burst)).array(clients),
            "data": Out(beat).array(clients),
            "read_request": Out(stream.Signature(Burst)),
            "read_data": In(beat),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.owners = owners = _Owners(self._clients)
        for outer, inner in zip(self.requests, owners.requests, strict=True):
            wiring.connect(m, wiring.flipped(outer), inner)
        wiring.connect(m, owners.o, wiring.flipped(self.read_request))
        owner, done = owners.owner, Signal(8)  # beats of the burst that have passed
        for index, port in enumerate(self.data):
            mine = owner.valid & (owner.payload.client == index)
            m.d.comb += [port.payload.eq(self.read_data.payload), port.valid.eq(self.read_data.valid & mine)]
            with m.If(mine):
                m.d.comb += self.read_data.ready.eq(port.ready)
        with m.If(self.read_data.valid & self.read_data.ready):
            m.d.sync += done.eq(done + 1)
            with m.If(done == owner.payload.beats):
                m.d.sync += done.eq(0)
                m.d.comb += owner.ready.eq(1)
        return m


class SharedWrites(wiring.Component):
    """Write bursts of several clients on one port; clients take turns, a burst each.

    Beats go in the order of the requests: a client that keeps its beats waiting holds up the others.

    Parameters
    ----------
    width: bytes of a beat. clients: how many, at least 1.

    Members
    -------
    requests, data: a stream of `Burst` and one of beats for each client. done: a pulse for each client, once a burst.
    write_request, write_data, write_done: the writing half of `ExternalPort`.
    """

    def __init__(self, width: int, clients: int) -> None:
        self._clients = clients
        beat = stream.Signature(unsigned(8 * width))
        super().__init__({
            "requests": In(stream.Signature(Burst)).array(clients),
            "data": In(beat).array(clients),
            "done": Out(clients),
            "write_request": Out(stream.Signature(Burst)),
            "write_data": Out(beat),
            "write_done": In(1),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.owners = owners = _Owners(self._clients)
        m.submodules.written = written = StreamFifo(owners.owner_shape, AHEAD)
        for outer, inner in zip(self.requests, owners.requests, strict=True):
            wiring.connect(m, wiring.flipped(outer), inner)
        wiring.connect(m, owners.o, wiring.flipped(self.write_request))
        owner, sent = owners.owner, Signal(8)  # beats of the burst that have passed
        open_ = owner.valid & written.i.ready
        for index, port in enumerate(self.data):
            with m.If(open_ & (owner.payload.client == index)):
                m.d.comb += [self.write_data.payload.eq(port.payload), self.write_data.valid.eq(port.valid),
                             port.ready.eq(self.write_data.ready)]
        m.d.comb += written.i.payload.eq(owner.payload)
        with m.If(self.write_data.valid & self.write_data.ready):
            m.d.sync += sent.eq(sent + 1)
            with m.If(sent == owner.payload.beats):
                m.d.sync += sent.eq(0)
                m.d.comb += [owner.ready.eq(1), written.i.valid.eq(1)]
        waiting = Signal(range(2 * AHEAD))  # ends of bursts that nobody has been told of yet
        tell = (waiting != 0) & written.o.valid
        m.d.comb += written.o.ready.eq(tell)
        m.d.comb += [self.done[index].eq(tell & (written.o.payload.client == index)) for index in range(self._clients)]
        m.d.sync += waiting.eq(waiting + self.write_done - tell)
        return m
