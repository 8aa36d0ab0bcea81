"""Who may use which memory banks in a cycle."""

from functools import reduce
from operator import or_

from amaranth import Module, Signal, unsigned
from amaranth.hdl import ValueLike
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out


def _any(terms: list[ValueLike]) -> ValueLike:
    return reduce(or_, terms, 0)


class Arbiter(wiring.Component):
    """Grants sets of banks: a port gets all the banks that it asks for, or none.

    Combinational from `valid` and `banks` to `ready`. Port `first` is never refused. The others have an order, at whose
    end each goes that refuses another and is granted. A port is refused by `first`, or by a port before it that
    asks for one of its banks and is not itself refused by `first`.

    So each cycle in which a port is refused, and not by `first`, sends at least one of those before it to
    the end of the order: it is refused in at most `ports - 2` such cycles. Cycles in which `first` wants one
    of its banks are not bounded, and a refused port may keep idle a bank that a later one wants.

    Of two ports that go over the banks one after the other, the slower one ahead, the faster one overtakes: it is
    refused once, and not by the same port in the next cycle.

    Parameters
    ----------
    ports: number of ports. banks: number of banks. first: index of the port that always wins.

    Members
    -------
    valid: a bit a port, 1 while it asks. banks: for each port, the set of banks (0: it needs none).
    ready: a bit a port, 1 where it is granted if it asks.
    """

    def __init__(self, ports: int, banks: int, first: int = 0) -> None:
        if ports < 1:
            raise ValueError(f"ports must be at least 1, not {ports}")
        if banks < 1:
            raise ValueError(f"banks must be at least 1, not {banks}")
        if not 0 <= first < ports:
            raise ValueError(f"first must be from 0 to {ports - 1}, not {first}")
        self.ports, self.banks_count, self.first = ports, banks, first
        super().__init__({
            "valid": In(ports),
            "banks": In(data.ArrayLayout(unsigned(banks), ports)),
            "ready": Out(ports),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        wants = [Signal(self.banks_count, name=f"wants_{i}") for i in range(self.ports)]
        for i in range(self.ports):
            with m.If(self.valid[i]):
                m.d.comb += wants[i].eq(self.banks[i])
        others = [i for i in range(self.ports) if i != self.first]
        # Those that `first` refuses hold nobody up.
        held = {i: Signal(name=f"held_{i}") for i in others}
        m.d.comb += [held[i].eq((wants[i] & wants[self.first]).any()) for i in others]

        last = Signal(self.ports)  # goes to the end
        before = self._order(m, others, last)
        refuses: dict[int, list[ValueLike]] = {i: [] for i in others}
        m.d.comb += self.ready[self.first].eq(1)
        for i in others:
            blockers = {j: before(j, i) & ~held[j] & (wants[i] & wants[j]).any() for j in others if j != i}
            m.d.comb += self.ready[i].eq(~(held[i] | _any(list(blockers.values()))))
            for j, blocks in blockers.items():
                refuses[j].append(blocks)
        m.d.comb += [last[i].eq(self.ready[i] & _any(refuses[i])) for i in others]
        return m

    def _order(self, m: Module, others: list[int], last: Signal):  # type: ignore[no-untyped-def]
        """A total order kept as one bit a pair; those of `last` go behind the rest."""
        pairs = {}
        for at, i in enumerate(others):
            for j in others[at + 1:]:
                bit = pairs[i, j] = Signal(init=1, name=f"before_{i}_{j}")
                with m.If(last[i] != last[j]):
                    m.d.sync += bit.eq(last[j])
        return lambda i, j: pairs[i, j] if i < j else ~pairs[j, i]
