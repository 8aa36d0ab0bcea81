"""Before an UNPACK instruction runs: is it legal, and the products that its tiles need."""

from amaranth import Cat, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from .codec.decoder_ops import COUNT_BITS
from .config import ADDRESS_BITS
from .isa import TILE_STEPS, TILE_VALUES, UNPACK
from .pager_ports import MAX_READERS, MAX_STREAMS

_BITS = COUNT_BITS + 1
"""Of a product of counts; what has the highest bit is too much and keeps it."""

PLAN = data.StructLayout({
    "instruction": UNPACK.layout(), "size": COUNT_BITS, "size_last": COUNT_BITS, "row": COUNT_BITS,
    "row_last": COUNT_BITS, "tile_pitch": ADDRESS_BITS, "band_pitch": ADDRESS_BITS})
"""A legal instruction. size: values of a tile. row: values of a row of it. *_last: the same of a band's last tile.
tile_pitch: columns * c_pixel. band_pitch: rows * c_row."""


class UnpackSetup(wiring.Component):
    """Checks instructions and multiplies, by shifts and adds: 3 cycles and one for each bit of the larger of columns
    and channels, and of rows. An instruction stays on `i` until `o` takes it.

    An instruction that cannot be executed raises `error` until reset and goes no further.

    Parameters
    ----------
    word_bytes: of the memory. external_bytes: of a beat of external memory, or 0. streams, readers: how many there are.

    Members
    -------
    i: instructions. o: stream of `PLAN`, of those that are legal. busy: one has begun. error: see above.
    """

    def __init__(self, word_bytes: int, external_bytes: int = 0, streams: int = MAX_STREAMS,
                 readers: int = MAX_READERS) -> None:
        self._word_bytes, self._external_bytes = word_bytes, external_bytes
        self._streams, self._readers = streams, readers
        super().__init__({
            "i": In(stream.Signature(UNPACK.layout())),
            "o": Out(stream.Signature(PLAN)),
            "busy": Out(1),
            "error": Out(1),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        plan, i = Signal(PLAN, reset_less=True), self.i.payload
        counts = i.rows, i.bands, i.columns, i.columns_last, i.across, i.channels
        small = i.rows, i.columns, i.channels
        possible = Cat(*(count.any() for count in counts), *(count <= TILE_VALUES for count in small),
                       i.columns_last <= i.columns, i.b % self._word_bytes == 0,
                       i.outside % max(1, self._external_bytes) == 0,
                       i.stream < self._streams, i.reader < self._readers).all()
        # Four products at a time, each of what is in `left` and in `shifted`.
        left = [Signal(COUNT_BITS, name=f"left_{k}", reset_less=True) for k in range(4)]
        widths = _BITS, _BITS, _BITS, ADDRESS_BITS
        shifted, total = ([Signal(width, name=f"{name}_{k}", reset_less=True) for k, width in enumerate(widths)]
                          for name in ("shifted", "total"))
        done = ~Cat(left).any()
        groups = (i.channels + 7) >> 3
        m.d.comb += [self.o.payload.eq(plan), self.o.payload.instruction.eq(i)]
        with m.FSM() as fsm:
            with m.State("idle"):
                self._load(m, left, shifted, total, (i.channels, i.channels, groups, i.columns),
                           (i.columns, i.columns_last, i.columns, i.c_pixel))
                with m.If(self.i.valid):
                    m.next = "illegal"
                    with m.If(possible):
                        m.next = "row"
            with m.State("row"):
                self._multiply(m, left, shifted, total)
                with m.If(done):
                    m.d.sync += [plan.row.eq(total[0]), plan.row_last.eq(total[1]), plan.tile_pitch.eq(total[3])]
                    self._load(m, left, shifted, total, (i.rows,) * 4, (*total[:3], i.c_row))
                    m.next = "tile"
            with m.State("tile"):
                self._multiply(m, left, shifted, total)
                with m.If(done):
                    m.d.sync += [plan.size.eq(total[0]), plan.size_last.eq(total[1]), plan.band_pitch.eq(total[3])]
                    m.next = "illegal"
                    with m.If((total[0] <= TILE_VALUES) & (total[2] <= TILE_STEPS)):
                        m.next = "ready"
            with m.State("ready"):
                m.d.comb += [self.o.valid.eq(1), self.i.ready.eq(self.o.ready)]
                with m.If(self.o.ready):
                    m.next = "idle"
            with m.State("illegal"):
                m.d.comb += self.error.eq(1)
        m.d.comb += self.busy.eq(~fsm.ongoing("idle"))
        return m

    def _load(self, m: Module, left: list[Signal], shifted: list[Signal], total: list[Signal],
              numbers: tuple[Value, ...], others: tuple[Value, ...]) -> None:
        """Begin the products of `numbers` and `others`."""
        for targets, values in ((left, numbers), (shifted, others)):
            m.d.sync += [target.eq(value) for target, value in zip(targets, values, strict=True)]
        m.d.sync += [product.eq(0) for product in total]

    def _multiply(self, m: Module, left: list[Signal], shifted: list[Signal], total: list[Signal]) -> None:
        """One bit of the products."""
        for number, other, product in zip(left, shifted, total, strict=True):
            more = Signal(len(product) + 1, name=f"{product.name}_more")
            m.d.comb += more.eq(product + Mux(number[0], other, 0))
            m.d.sync += number.eq(number >> 1)
            if len(product) == ADDRESS_BITS:
                m.d.sync += [product.eq(more), other.eq(other << 1)]
            else:
                m.d.sync += [product.eq(Cat(more[:-2], more[-2:].any())),
                             other.eq(Cat(0, other[:-2], other[-2:].any()))]
