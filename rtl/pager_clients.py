"""Many clients of the pager as one, in turns."""

from amaranth import Array, Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from .pager_ports import PageRequest, PageResponse


class PagerClients(wiring.Component):
    """Passes requests on one at a time and brings each answer to the client that asked.

    Clients go in turns: while one waits, each other one is served at most once. An answer waits in a register of its
    client: a client that does not take it holds up itself only, since its next request is not looked at before.
    A request is offered on `o` a cycle after it comes, where it is its turn; an answer is there a cycle after it came.

    Parameters
    ----------
    clients: how many, at least 1.

    Members
    -------
    requests, responses: streams of each client.
    o: stream of `PageRequest`, to what serves them; after a request is taken none is offered until it is answered.
    answer: stream of `PageResponse` from there; never refused.
    """

    def __init__(self, clients: int) -> None:
        if clients < 1:
            raise ValueError(f"clients must be at least 1, not {clients}")
        self.clients = clients
        super().__init__({
            "requests": In(stream.Signature(PageRequest)).array(clients),
            "responses": Out(stream.Signature(PageResponse)).array(clients),
            "o": Out(stream.Signature(PageRequest)),
            "answer": In(stream.Signature(PageResponse, always_ready=True)),
        })
        self._last = Signal(range(max(2, clients)))  # who was served last, or is being served
        self._busy = Signal()  # a request was taken and is not answered
        self._chosen, self._choice = Signal(), Signal.like(self._last)  # who is next, if any

    def elaborate(self, platform: object) -> Module:
        m = Module()
        chosen, choice, busy = self._chosen, self._choice, self._busy
        candidates, taken = Signal(self.clients), Signal()
        m.d.comb += [
            taken.eq(self.o.valid & self.o.ready),
            self.o.valid.eq(chosen & ~busy),
            self.o.payload.eq(Array(port.payload for port in self.requests)[choice]),
        ]
        for index, (request, response) in enumerate(zip(self.requests, self.responses, strict=True)):
            full, kept = Signal(name=f"full_{index}"), Signal(PageResponse, name=f"kept_{index}", reset_less=True)
            m.d.comb += [
                response.valid.eq(full),
                response.payload.eq(kept),
                request.ready.eq(taken & (choice == index)),
                candidates[index].eq(request.valid & ~full & ~(busy & (self._last == index))),
            ]
            with m.If(self.answer.valid & (self._last == index)):
                m.d.sync += [full.eq(1), kept.eq(self.answer.payload)]
            with m.Elif(response.ready):
                m.d.sync += full.eq(0)
        with m.If(self.answer.valid):
            m.d.sync += busy.eq(0)
        m.d.sync += chosen.eq(candidates.any() & ~taken)
        self._choose(m, candidates, choice)
        with m.If(taken):
            m.d.sync += [busy.eq(1), self._last.eq(choice)]
        return m

    def _choose(self, m: Module, candidates: Signal, choice: Signal) -> None:
        """The first candidate after the one that was served last."""
        with m.Switch(self._last):
            for number in range(self.clients):
                with m.Case(number):
                    for index in reversed([(number + 1 + k) % self.clients for k in range(self.clients)]):
                        with m.If(candidates[index]):
                            m.d.sync += choice.eq(index)
