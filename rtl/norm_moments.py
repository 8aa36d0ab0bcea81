"""The norm unit's first pass: rows go into the buffer, their elements and squares are added up."""

from amaranth import Module, Mux, Signal, signed
from amaranth.lib import data, fifo, stream, wiring
from amaranth.lib.wiring import In, Out

from .norm_rows import SQUARES_BITS, SUM_BITS, Moments, buffer_write, chunk, delayed, place_bits

_MARK = data.StructLayout({"valid": 1, "last": 1, "final": 1})


class RowMoments(wiring.Component):
    """Puts chunks into the buffer, one after the other round and round, and announces rows that are in it.

    A chunk a cycle while the buffer has room and fewer than `depth` rows wait. A row is announced
    log2(lanes) + 5 cycles after its last chunk came.

    Parameters
    ----------
    lanes: elements of a chunk, a power of two. depth: rows that may wait.

    Members
    -------
    i: stream of `chunk(lanes)`. write: to the buffer. o: stream of `Moments`.
    read: chunks that the other pass has read, modulo twice the buffer's.
    """

    def __init__(self, lanes: int, depth: int = 4) -> None:
        self._lanes, self._depth = lanes, depth
        super().__init__({
            "i": In(stream.Signature(chunk(lanes))),
            "write": Out(buffer_write(lanes)),
            "o": Out(stream.Signature(Moments)),
            "read": In(place_bits(lanes) + 1),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.rows = rows = fifo.SyncFIFO(width=Moments.as_shape().size, depth=self._depth)
        room = Signal(range(self._depth + 1), init=self._depth)  # for rows
        written = Signal.like(self.read)
        write = Signal(buffer_write(self._lanes))
        enters, given = Signal(), self.i.payload
        place = written[:-1]
        m.d.comb += [
            # full: as many have been written as read, and the whole buffer more
            self.i.ready.eq((room != 0) & ((written ^ self.read) != 1 << len(place))),
            enters.eq(self.i.valid & self.i.ready),
            self.write.eq(write),
            self.o.payload.eq(rows.r_data), self.o.valid.eq(rows.r_rdy), rows.r_en.eq(self.o.ready),
        ]
        m.d.sync += [
            room.eq(room - (enters & given.last) + (self.o.valid & self.o.ready)),
            written.eq(written + enters),
            write.valid.eq(enters), write.place.eq(place), write.values.eq(given.values),
        ]
        self._add_up(m, enters, rows)
        return m

    def _add_up(self, m: Module, enters: Signal, rows: fifo.SyncFIFO) -> None:
        """Squares (each through a DSP and a register behind it), trees over the chunk, and the sums of the row so
        far."""
        given, log = self.i.payload, self._lanes.bit_length() - 1
        entered = Signal(_MARK)
        m.d.comb += [entered.valid.eq(enters), entered.last.eq(given.last), entered.final.eq(given.final)]
        mark = delayed(m, entered, log + 3, "mark", reset=True)[-1]
        values = [Signal(signed(16), name=f"value_{lane}", reset_less=True) for lane in range(self._lanes)]
        squares = []
        for lane, value in enumerate(values):
            m.d.sync += value.eq(Mux(given.keep[lane], given.values[16 * lane:16 * lane + 16].as_signed(), 0))
            near, square = (Signal(31, name=f"{name}_{lane}", reset_less=True) for name in ("near", "square"))
            m.d.sync += [near.eq(value * value), square.eq(near)]
            squares.append(square)
        sum_ = delayed(m, self._tree(m, "sum", values), 2, "sum_later")[-1]
        square = self._tree(m, "squares", squares)
        begun, done = Signal(), Signal(_MARK)
        total, total_squares = Signal(signed(SUM_BITS), reset_less=True), Signal(SQUARES_BITS, reset_less=True)
        m.d.sync += done.eq(mark)
        with m.If(mark.valid):
            m.d.sync += [total.eq(Mux(begun, total, 0) + sum_), total_squares.eq(Mux(begun, total_squares, 0) + square),
                         begun.eq(~mark.last)]
        found = data.View(Moments, rows.w_data)
        m.d.comb += [found.sum.eq(total), found.squares.eq(total_squares), found.final.eq(done.final),
                     rows.w_en.eq(done.valid & done.last)]

    def _tree(self, m: Module, name: str, level: list[Signal]) -> Signal:
        """Their sum, a register a level."""
        while len(level) > 1:
            pairs = list(zip(level[::2], level[1::2], strict=True))
            level = [Signal((a + b).shape(), name=f"{name}_{len(level)}_{k}", reset_less=True)
                     for k, (a, b) in enumerate(pairs)]
            m.d.sync += [out.eq(a + b) for out, (a, b) in zip(level, pairs, strict=True)]
        return level[0]
