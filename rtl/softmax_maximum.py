"""The softmax unit's first pass: rows go into the buffer, and the largest value of each is found."""

from amaranth import Module, Mux, Signal, signed
from amaranth.lib import data, fifo, stream, wiring
from amaranth.lib.wiring import In, Out

from .softmax_rows import buffer_write, chunk, place_bits, row


class RowMaximum(wiring.Component):
    """Puts chunks into the buffer, one after the other round and round, and announces rows that are in it.

    A chunk a cycle while the buffer has room and fewer than `depth` rows wait. A row is announced
    log2(lanes) + 3 cycles after its last chunk came. Of its first chunk at least one value takes part.

    Parameters
    ----------
    lanes: values of a chunk, a power of two. depth: rows that may wait.

    Members
    -------
    i: stream of `chunk(lanes)`. write: to the buffers. o: stream of `row(lanes)`.
    read: chunks that the last pass has read, modulo twice the buffer's.
    """

    def __init__(self, lanes: int, depth: int = 4) -> None:
        self._lanes, self._depth = lanes, depth
        super().__init__({
            "i": In(stream.Signature(chunk(lanes))),
            "write": Out(buffer_write(lanes)),
            "o": Out(stream.Signature(row(lanes))),
            "read": In(place_bits(lanes) + 1),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.rows = rows = fifo.SyncFIFO(width=row(self._lanes).size, depth=self._depth)
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
        self._largest(m, enters, place, rows)
        return m

    def _largest(self, m: Module, enters: Signal, place: Signal, rows: fifo.SyncFIFO) -> None:
        """A tree over the chunk, a register a level, and the largest of the row so far."""
        given = self.i.payload
        marks = data.StructLayout({"valid": 1, "last": 1, "row": row(self._lanes)})
        mark = Signal(marks, name="mark_0")
        m.d.sync += [mark.valid.eq(enters), mark.last.eq(given.last), mark.row.end.eq(place),
                     mark.row.final.eq(given.final)]
        with m.If(enters & given.keep[0]):  # otherwise none of them takes part: the chunk before stays the last
            m.d.sync += [mark.row.valid_end.eq(place), mark.row.keep.eq(given.keep)]
        level = [Signal(signed(8), name=f"value_{lane}", reset_less=True) for lane in range(self._lanes)]
        m.d.sync += [value.eq(Mux(given.keep[lane], given.values[8 * lane:8 * lane + 8].as_signed(), -128))
                     for lane, value in enumerate(level)]
        while len(level) > 1:
            larger = [Signal(signed(8), name=f"larger_{len(level)}_{k}", reset_less=True)
                      for k in range(len(level) // 2)]
            m.d.sync += [out.eq(Mux(a > b, a, b)) for out, a, b in zip(larger, level[::2], level[1::2], strict=True)]
            later = Signal(marks, name=f"mark_{len(level)}")
            m.d.sync += later.eq(mark)
            level, mark = larger, later
        best, best_mark, begun = Signal(signed(8), reset_less=True), Signal(marks), Signal()
        m.d.sync += best_mark.eq(mark)
        with m.If(mark.valid):
            m.d.sync += [best.eq(Mux(begun & (best > level[0]), best, level[0])), begun.eq(~mark.last)]
        found = data.View(row(self._lanes), rows.w_data)
        m.d.comb += [found.eq(best_mark.row), found.maximum.eq(best), rows.w_en.eq(best_mark.valid & best_mark.last)]
