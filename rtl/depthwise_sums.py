"""Window memories, multipliers and sums of the depthwise unit."""

from itertools import pairwise

from amaranth import Module, Signal, signed
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out

from .depthwise_fetch import Arrival
from .depthwise_taps import TileEnd, tap_layout
from .depthwise_walk import BUFFERS, COLUMNS, Kind
from .isa import DEPTHWISE_TAPS
from .multiply import Products

SUM_BITS = 22
"""DEPTHWISE_TAPS products of int8: up to 2**20 either way."""


def sums_layout(strip: int, cols: int) -> data.ArrayLayout:
    """Sums of a tile: lane by lane, channel by channel."""
    return data.ArrayLayout(signed(SUM_BITS), strip * cols)


class DepthwiseSums(wiring.Component):
    """Sums of products of window and weights, `cols` channels in each of `strip` lanes.

    Each lane has its own copy of the window, so that it can read any place; words are written to all of them.
    `ends` comes 3 cycles after a tile's last tap was on `tap`; its sums show from 2 cycles after that on, until those
    of the next tile do.

    Parameters
    ----------
    cols, strip: see above. multiplier: back end of `Products`.

    Members
    -------
    arrival, word: a word to write. tap: `tap_layout(strip)`. ends: a tile ends, with what `end` says. sums: see above.
    """

    def __init__(self, cols: int, word_bytes: int, strip: int, multiplier: str = "generic") -> None:
        self._cols, self._strip, self._multiplier = cols, strip, multiplier
        super().__init__({
            "arrival": In(Arrival),
            "word": In(8 * word_bytes),
            "tap": In(tap_layout(strip)),
            "ends": Out(1),
            "end": Out(TileEnd),
            "sums": Out(sums_layout(strip, cols)),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        cols, strip = self._cols, self._strip
        m.submodules.products = products = Products(strip * cols, self._multiplier)
        # memory, register on the way to the multipliers, product, register on the way back
        stages = [self.tap, *(Signal(tap_layout(0), name=f"tap_{stage}") for stage in range(1, 5))]
        for before, after in pairwise(stages):
            m.d.sync += [after[name].eq(before[name]) for name in ("valid", "last", "end")]
        weights = self._memory(m, "weights", BUFFERS * DEPTHWISE_TAPS, Kind.WEIGHTS, self.tap.weights)
        near_weights = Signal(8 * cols, reset_less=True)
        m.d.sync += near_weights.eq(weights)
        for v in range(strip):
            window = self._memory(m, f"window_{v}", 16 * COLUMNS, Kind.WINDOW, self.tap.windows[v])
            near_window = Signal(8 * cols, name=f"near_window_{v}", reset_less=True)
            m.d.sync += near_window.eq(window)
            for c in range(cols):
                m.d.comb += [products.a[v * cols + c].eq(near_window[8 * c:8 * c + 8].as_signed()),
                             products.b[v * cols + c].eq(near_weights[8 * c:8 * c + 8].as_signed())]
        back = Signal(products.p.shape(), reset_less=True)
        m.d.sync += back.eq(products.p)
        going = stages[4]
        for k in range(strip * cols):
            total, kept = Signal(signed(SUM_BITS), name=f"total_{k}"), Signal(signed(SUM_BITS), name=f"kept_{k}")
            added = Signal(signed(SUM_BITS), name=f"added_{k}")
            m.d.comb += [added.eq(total + back[k]), self.sums[k].eq(kept)]
            with m.If(going.valid):
                m.d.sync += total.eq(added)
                with m.If(going.last):
                    m.d.sync += [total.eq(0), kept.eq(added)]
        m.d.comb += [self.ends.eq(stages[3].valid & stages[3].last), self.end.eq(stages[3].end)]
        return m

    def _memory(self, m: Module, name: str, depth: int, kind: Kind, place: Signal) -> Signal:
        """A memory for words of `kind`; what it held at `place`, a cycle later.

        Nobody uses what he reads while it is written, which spares Yosys the logic that would make it the old word.
        """
        m.submodules[name] = store = memory.Memory(
            shape=8 * self._cols, depth=depth, init=[], attrs={"no_rw_check": 1})
        write, read = store.write_port(), store.read_port()
        m.d.comb += [
            write.addr.eq(self.arrival.place), write.data.eq(self.word[:8 * self._cols]),
            write.en.eq(self.arrival.valid & (self.arrival.kind == kind)),
            read.addr.eq(place),
        ]
        return read.data
