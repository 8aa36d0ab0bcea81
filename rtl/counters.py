"""Performance counters: how often each event of a run happened."""

from amaranth import Module, Signal, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out


class Counters(wiring.Component):
    """Counts cycles and 1-bit events while the machine runs; a full counter stays full instead of wrapping.

    An event of one cycle shows in `values` in the next one. Counters keep their values after a run, until `clear`.

    Parameters
    ----------
    names: of the events; counter 0 is "cycles", the others follow in this order. bits: of each counter, up to 32.

    Members
    -------
    events: a bit an event, by name. running: 1 in cycles that count. clear: sets all to 0 (and wins).
    index, value: `value` is the counter that `index` named one cycle before; 0 where there is none.
    values: all the counters.
    """

    def __init__(self, names: list[str], bits: int = 32) -> None:
        for name in names:
            if not name.isidentifier() or name == "cycles":
                raise ValueError(f"a counter cannot be called {name!r}")
        if len(set(names)) != len(names):
            raise ValueError(f"names must differ, not {names}")
        if not 1 <= bits <= 32:
            raise ValueError(f"bits must be from 1 to 32, not {bits}")
        self.names = ["cycles", *names]
        self.bits = bits
        count = len(self.names)
        super().__init__({
            "events": In(data.StructLayout({name: 1 for name in names})),
            "running": In(1),
            "clear": In(1),
            "index": In(8),
            "value": Out(32),
            "values": Out(data.ArrayLayout(unsigned(32), count)),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        for number, name in enumerate(self.names):
            counter = Signal(self.bits, name=f"count_{name}")
            event = 1 if number == 0 else self.events[name]
            m.d.comb += self.values[number].eq(counter)
            with m.If(self.clear):
                m.d.sync += counter.eq(0)
            with m.Elif(self.running & event & ~counter.all()):
                m.d.sync += counter.eq(counter + 1)
        m.d.sync += self.value.eq(0)
        with m.Switch(self.index):
            for number in range(len(self.names)):
                with m.Case(number):
                    m.d.sync += self.value.eq(self.values[number])
        return m
