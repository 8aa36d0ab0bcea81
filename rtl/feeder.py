"""The array's input: rows of activations in the order in which the array takes them, read from memory as they are.

im2col, stride, dilation and padding happen in the addresses; nothing is copied.
"""

from amaranth import Module, Mux, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.wiring import In, Out

from . import isa
from .affine import Affine, Loops, Ring
from .array import RowPayload
from .config import ADDRESS_BITS
from .ports import MemoryReadPort

X, Y, KC, KX, KY, TILE = range(6)
"""Loop levels of an ARRAY instruction, innermost first."""
LEVELS = ("rows_x", "rows_y", "kc", "kx", "ky", "tiles")
POSITION_BITS = 26
"""Bits of the byte position bx and of the input row iy, signed: both must lie within it (iy always does)."""


def feed_layout() -> data.StructLayout:
    """An ARRAY instruction with the products of its `row_pitch`, as `RowProducts` makes them."""
    return data.StructLayout({
        "instruction": isa.ARRAY.layout(),
        "row_start": ADDRESS_BITS,  # a + y_start * row_pitch
        "row_step": ADDRESS_BITS,  # y_step * row_pitch
        "row_dilation": ADDRESS_BITS,  # y_dilation * row_pitch
    })


def tag_layout(rows: int, activation_bits: int) -> data.StructLayout:
    """What goes with a row of `rows` lanes: lanes low..high - 1 come from memory (`read`: there are any), the others
    are `pad`; centred, where lanes have 9 bits: all of them less `pad`; swap, begin, first and last as the array wants
    them."""
    return data.StructLayout({
        "read": 1, "low": range(rows + 1), "high": range(rows + 1), "pad": signed(8),
        **({"centred": 1} if activation_bits > 8 else {}),
        "swap": 1, "begin": 1, "first": 1, "last": 1,
    })


def access_layout(rows: int, activation_bits: int) -> data.StructLayout:
    """One row to feed: the address of its lane 0, its tag, and whether it is the instruction's final one."""
    return data.StructLayout({"address": ADDRESS_BITS, "tag": tag_layout(rows, activation_bits), "final": 1})


class RowAddresses(wiring.Component):
    """Addresses and tags of the rows of ARRAY instructions: one a cycle, one idle cycle between two instructions.

    The first comes four cycles after the instruction.

    Parameters
    ----------
    rows: lanes of a row. activation_bits: of a lane, 8 or 9.

    Members
    -------
    i: stream of `feed_layout()`; every count at least 1. o: stream of `access_layout(rows, activation_bits)`.
    busy: an instruction's rows have not all been taken from `o`.
    """

    def __init__(self, rows: int, activation_bits: int) -> None:
        self.rows, self.activation_bits = rows, activation_bits
        super().__init__({
            "i": In(stream.Signature(feed_layout())),
            "o": Out(stream.Signature(access_layout(rows, activation_bits))),
            "busy": Out(1),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        fields = isa.ARRAY.fields
        m.submodules.loops = loops = Loops([fields[name].width for name in LEVELS])
        m.submodules.position = position = Affine(POSITION_BITS, (X, KC, KX), len(LEVELS))
        m.submodules.line = line = Affine(POSITION_BITS, (Y, KY), len(LEVELS))
        m.submodules.row = row = Affine(ADDRESS_BITS, (Y, KY), len(LEVELS))
        now = Signal(feed_layout(), reset_less=True)  # what is not read goes in synthesis
        p = now.instruction
        # stage 0 counts, stage 1 has the sums, stage 2 the address, and stage 3, its place in the ring, is `o`
        running, located, addressed = Signal(), Signal(), Signal()
        move = Signal()
        final = Signal()
        layout = tag_layout(self.rows, self.activation_bits)
        tag = Signal(layout)
        end = data.StructLayout({"tag": layout, "final": 1})  # what goes with an address
        place, shown = Signal(end, reset_less=True), Signal(end, reset_less=True)  # in stage 2, in stage 3
        m.d.comb += [
            move.eq(~self.o.valid | self.o.ready),
            # stage 1 still needs the old instruction unless it is leaving
            self.i.ready.eq(~running & (~located | move)),
            self.busy.eq(running | located | addressed | self.o.valid),
            loops.load.eq(self.i.valid & self.i.ready),
            loops.step.eq(running & move),
            position.origin.eq(p.x_start), line.origin.eq(p.y_start), row.origin.eq(now.row_start),
        ]
        m.d.comb += [loops.counts[level].eq(self.i.payload.instruction[name]) for level, name in enumerate(LEVELS)]
        for sums, strides in ((position, (p.x_step, p.kc_step, p.kx_step)), (line, (p.y_step, p.y_dilation)),
                              (row, (now.row_step, now.row_dilation))):
            m.d.comb += [sums.step.eq(running & move), sums.reached.eq(loops.reached)]
            m.d.comb += [sums.strides[index].eq(stride) for index, stride in enumerate(strides)]
        with m.If(loops.load):
            m.d.sync += [running.eq(1), now.eq(self.i.payload)]
            with m.If(self.i.payload.instruction.row_bytes == 0):
                m.d.sync += p.height.eq(0)  # no byte is inside then
        with m.Elif(running & move & loops.final):
            m.d.sync += running.eq(0)
        with m.If(move):
            m.d.sync += [
                located.eq(running), final.eq(loops.final),
                tag.last.eq(loops.last[:TILE].all()),
                tag.swap.eq(loops.reached[KC:].any()), tag.begin.eq(loops.reached[TILE:].any()),
                addressed.eq(located), place.final.eq(final), place.tag.eq(tag),
                self.o.valid.eq(addressed), shown.eq(place),
            ]
            with m.If(running & loops.reached[KC:].any()):
                m.d.sync += tag.first.eq(loops.reached[TILE:].any())
            self._inside(m, p, position.value.as_signed(), line.value.as_signed(), place.tag)
        m.d.comb += [
            self.o.payload.final.eq(shown.final), self.o.payload.tag.eq(shown.tag),
            self.o.payload.address.eq(self._address(m, p, row.value, position.value.as_signed(), move)),
        ]
        return m

    def _address(self, m: Module, p: data.View, row: Signal, bx: Signal, move: Signal) -> Signal:
        """Lane 0's place in the ring, two stages later: it goes where the first byte inside the image goes."""
        m.submodules.ring = ring = Ring()
        address, first, end, size = (Signal(ADDRESS_BITS, name=f"ring_{name}", reset_less=True)
                                     for name in ("address", "first", "end", "size"))
        with m.If(move):
            m.d.sync += [
                address.eq(row + bx[:ADDRESS_BITS]), first.eq(row + Mux(bx < 0, 0, bx[:ADDRESS_BITS])),
                end.eq(p.a_end), size.eq(p.a_ring),  # the next instruction may be in `now` by the next stage
            ]
        m.d.comb += [ring.step.eq(move), ring.address.eq(address), ring.first.eq(first), ring.end.eq(end),
                     ring.size.eq(size)]
        return ring.value

    def _inside(self, m: Module, p: data.View, bx: Signal, iy: Signal, out: data.View) -> None:
        """Which lanes lie inside the image: from -bx up to row_bytes - bx, where row iy exists."""
        before, after = Signal(signed(POSITION_BITS + 1)), Signal(signed(POSITION_BITS + 1))
        read = Signal()
        m.d.comb += [
            before.eq(-bx), after.eq(p.row_bytes - bx),
            read.eq((iy >= 0) & (iy < p.height) & (before < self.rows) & (after > 0)),
        ]
        m.d.sync += [
            out.read.eq(read), out.pad.eq(p.pad),
            out.low.eq(Mux(before < 0, 0, before)),  # means nothing unless `read`
            out.high.eq(Mux(read, Mux(after > self.rows, self.rows, after), 0)),
        ]
        if self.activation_bits > 8:
            m.d.sync += out.centred.eq(p.centred)


class Feeder(wiring.Component):
    """Reads the rows of ARRAY instructions from memory and hands them to the array in order.

    One row a cycle as long as memory grants a request a cycle and `o` is taken; one idle cycle between two
    instructions. A row without a byte inside the image costs no request. From an instruction to its first row it
    takes 7 cycles and the memory's latency. Up to `DEPTH` rows are read ahead.

    A row that starts left of the image is read from there, up to `rows` - 1 bytes before the image's own row: an image
    with padding on the left must not start at an address below that. Byte positions wrap at 26 bits.

    Parameters
    ----------
    rows: lanes. word_bytes: width of the memory port, at least `rows`. accumulator_rows: most rows of a block.
    activation_bits: of a lane: 9, or 8 where no instruction is `centred`.

    Members
    -------
    i: stream of `feed_layout()`; every count at least 1. o: stream of `RowPayload(rows, activation_bits)`.
    memory: unaligned reads. done: pulse: the last request of an instruction has been granted.
    busy: rows have not all been taken. error: a block has more rows than the accumulators; nothing more is offered.
    """

    DEPTH = 17  # 16 and the buffer's output register: covers a memory latency of 8 and a refusal now and then

    def __init__(self, rows: int, word_bytes: int, accumulator_rows: int, activation_bits: int = 8) -> None:
        if rows < 1:
            raise ValueError(f"rows must be at least 1, not {rows}")
        if word_bytes < rows:
            raise ValueError(f"word_bytes must be at least rows ({rows}), not {word_bytes}")
        if not 1 <= accumulator_rows <= 65536:
            raise ValueError(f"accumulator_rows must be from 1 to 65536, not {accumulator_rows}")
        self.rows, self.accumulator_rows, self.activation_bits = rows, accumulator_rows, activation_bits
        super().__init__({
            "i": In(stream.Signature(feed_layout())),
            "o": Out(stream.Signature(RowPayload(rows, activation_bits))),
            "memory": Out(MemoryReadPort(word_bytes)),
            "done": Out(1),
            "busy": Out(1),
            "error": Out(1),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        layout = tag_layout(self.rows, self.activation_bits)
        m.submodules.addresses = addresses = RowAddresses(self.rows, self.activation_bits)
        m.submodules.tags = tags = SyncFIFOBuffered(width=layout.size, depth=self.DEPTH)
        m.submodules.lines = lines = SyncFIFOBuffered(width=8 * self.rows, depth=self.DEPTH)
        wiring.connect(m, wiring.flipped(self.i), addresses.i)
        access, request = addresses.o, self.memory.request
        go = Signal()
        m.d.comb += [
            # a place for the tag is a place for the line: there are never more of these
            request.valid.eq(access.valid & access.payload.tag.read & tags.w_rdy),
            request.payload.eq(access.payload.address),
            go.eq(access.valid & tags.w_rdy & (~access.payload.tag.read | request.ready)),
            access.ready.eq(go),
            tags.w_en.eq(go),
            tags.w_data.eq(access.payload.tag),
            self.done.eq(go & access.payload.final),
            self.busy.eq(addresses.busy | (tags.level != 0) | self.o.valid),
            lines.w_en.eq(self.memory.response.valid),
            lines.w_data.eq(self.memory.response.payload),
        ]
        self._output(m, tags, lines)
        return m

    def _output(self, m: Module, tags: SyncFIFOBuffered, lines: SyncFIFOBuffered) -> None:
        """Joins tags and lines, puts in the padding, subtracts the centre, numbers the rows."""
        tag = data.View(tag_layout(self.rows, self.activation_bits), tags.r_data)
        take = Signal()
        here = Signal()
        count = Signal(range(self.accumulator_rows + 1))
        index = Signal(range(self.accumulator_rows + 1))
        valid = Signal()
        row = Signal(RowPayload(self.rows, self.activation_bits), reset_less=True)
        centre = Signal(signed(8))  # 0 where no lane has a ninth bit
        if self.activation_bits > 8:
            m.d.comb += centre.eq(Mux(tag.centred, tag.pad, 0))
        m.d.comb += [
            here.eq(tags.r_rdy & (~tag.read | lines.r_rdy)),
            index.eq(Mux(tag.swap, 0, count)),
            self.error.eq(here & (index == self.accumulator_rows)),
            take.eq(here & ~self.error & (~valid | self.o.ready)),
            tags.r_en.eq(take),
            lines.r_en.eq(take & tag.read),
            self.o.valid.eq(valid),
            self.o.payload.eq(row),
        ]
        with m.If(take):
            m.d.sync += [valid.eq(1), count.eq(index + 1), row.index.eq(index)]
            m.d.sync += [row[name].eq(tag[name]) for name in ("swap", "begin", "first", "last")]
            for lane in range(self.rows):
                inside = (tag.low <= lane) & (tag.high > lane)
                byte = Mux(inside, lines.r_data.word_select(lane, 8).as_signed(), tag.pad)
                m.d.sync += row.data[lane].eq(byte - centre)
        with m.Elif(self.o.ready):
            m.d.sync += valid.eq(0)
