"""Accumulator memory behind the array: two halves, one filled while the other is drained."""

from amaranth import Module, Mux, Signal, signed, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from .ports import accumulator_row


class Entry(data.StructLayout):
    """A row at the array's entry, as far as the accumulators care.

    swap: first row of a K tile. begin: first row of a block. first: of the block's first K tile (overwrites).
    last: last row of the block. index: accumulator row.
    """

    def __init__(self, depth: int) -> None:
        super().__init__({"swap": 1, "begin": 1, "first": 1, "last": 1, "index": range(depth)})


class Wave(data.StructLayout):
    """What travels along the columns with a row of sums.

    valid: there is a row. half: where it goes. first: overwrite. last: it ends a block. index: accumulator row.
    """

    def __init__(self, depth: int) -> None:
        super().__init__({"valid": 1, "half": 1, "first": 1, "last": 1, "index": range(depth)})


class Drain(data.StructLayout):
    """Reading of finished rows, the same for all columns.

    active: `half` belongs to the reader. enable: read row `index` of it in this cycle.
    shown: half whose read register is wanted now.
    """

    def __init__(self, depth: int) -> None:
        super().__init__({"active": 1, "enable": 1, "half": 1, "index": range(depth), "shown": 1})


class AccumulatorColumn(wiring.Component):
    """Both halves of one column: a read-modify-write pipeline of 4 cycles, one row a cycle.

    A row of cycle t is read in t, what was there is chosen in t + 1, added to in t + 2, written in t + 3: the same
    index may come again in t + 4. A block RAM is slow to show its word, so choosing and adding are cycles of their own.
    Rows that are `first` do not touch the read ports.

    Parameters
    ----------
    depth: rows of a half. width: bits of a sum.

    Members
    -------
    i: row of this cycle; o: the same a cycle later, for the next column. sum: what to add.
    drain: reading; data: what was read the cycle after `drain.enable`, until the next.
    """

    def __init__(self, depth: int, width: int) -> None:
        self.depth = depth
        super().__init__({
            "i": In(Wave(depth)),
            "o": Out(Wave(depth)),
            "sum": In(signed(width)),
            "drain": In(Drain(depth)),
            "data": Out(signed(32)),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        layout = Wave(self.depth)
        waves: list[data.View] = []  # the row that is chosen for, added to, written
        for stage in range(3):
            valid = Signal(name=f"valid{stage}")  # apart from the others: it alone has a reset
            rest = Signal(layout, name=f"rest{stage}", reset_less=True)
            wave = Signal(layout, name=f"wave{stage}")
            before = waves[-1] if waves else self.i
            m.d.sync += [valid.eq(before.valid), rest.eq(before)]
            m.d.comb += [wave.eq(rest), wave.valid.eq(valid)]
            waves.append(wave)
        chosen, written = waves[0], waves[2]
        m.d.comb += self.o.eq(chosen)
        added = [Signal(self.sum.shape(), name=f"added{stage}", reset_less=True) for stage in range(2)]
        previous = Signal(signed(32), reset_less=True)
        total = Signal(signed(32), reset_less=True)
        old = []
        for half in range(2):
            m.submodules[f"half{half}"] = memory = Memory(shape=signed(32), depth=self.depth, init=[])
            read, write = memory.read_port(), memory.write_port()
            drained = Signal(name=f"drained{half}")
            m.d.comb += [
                drained.eq(self.drain.active & (self.drain.half == half)),
                read.addr.eq(Mux(drained, self.drain.index, self.i.index)),
                read.en.eq(Mux(drained, self.drain.enable, self.i.valid & ~self.i.first & (self.i.half == half))),
                write.addr.eq(written.index),
                write.data.eq(total),
                write.en.eq(written.valid & (written.half == half)),
            ]
            old.append(read.data)
        m.d.sync += [
            added[0].eq(self.sum),
            added[1].eq(added[0]),
            previous.eq(Mux(chosen.first, 0, Mux(chosen.half, old[1], old[0]))),
            total.eq(previous + added[1]),
        ]
        m.d.comb += self.data.eq(Mux(self.drain.shown, old[1], old[0]))
        return m


class Accumulators(wiring.Component):
    """Sums the K tiles of a block of rows, and passes finished blocks on in row order.

    Blocks go to the two halves in turn. A half whose block is complete is drained, one row a cycle, while the other
    is filled. A new block may overwrite the rows that have left already, so blocks of one K tile do not wait for the
    whole half. Column c gets its sum of a row c cycles after column 0, and keeps that skew: nothing is realigned.

    Timing: a row whose `wave` comes in cycle t is written in the last column in cycle t + cols + 2 (`block_done` for a
    last row). `o` shows the first row of a block 3 cycles after `block_done` if nothing is before it, then a row a
    cycle. A K tile of fewer than 4 rows may make the next one wait until its sums are written.

    It does not check that the rows of a K tile have the indices from 0 on in order, nor that those between `begin` and
    `last` belong together.

    Parameters
    ----------
    depth: rows of a half, at least 2. cols: columns. width: bits of a sum, at most 32.

    Members
    -------
    entry: the row that wants to enter the array. open: 1 when it may. enter: 1 when it does in this cycle.
    half: half of the row at `entry`; it comes back in its `wave`.
    wave: row whose sum is in column 0 in this cycle. sums: of all columns, column c of the row c cycles ago.
    o: finished rows. block_done: pulse, a block's last row is written.
    active: 1 while a block has entered in part or as a whole and has not left on `o`.
    """

    def __init__(self, depth: int, cols: int, width: int = 32) -> None:
        if depth < 2:
            raise ValueError(f"depth must be at least 2, not {depth}")
        if cols < 1:
            raise ValueError(f"cols must be at least 1, not {cols}")
        if not 1 <= width <= 32:
            raise ValueError(f"width must be from 1 to 32, not {width}")
        self.depth = depth
        self.cols = cols
        self.width = width
        super().__init__({
            "entry": In(Entry(depth)),
            "open": Out(1),
            "enter": In(1),
            "half": Out(1),
            "wave": In(Wave(depth)),
            "sums": In(data.ArrayLayout(signed(width), cols)),
            "o": Out(stream.Signature(accumulator_row(cols))),
            "block_done": Out(1),
            "active": Out(1),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        drain = Signal(Drain(self.depth))
        row = Signal(data.ArrayLayout(signed(32), self.cols))
        wave = self.wave
        for col in range(self.cols):
            m.submodules[f"column{col}"] = column = AccumulatorColumn(self.depth, self.width)
            m.d.comb += [
                column.i.eq(wave),
                column.sum.eq(self.sums[col]),
                column.drain.eq(drain),
                row[col].eq(column.data),
            ]
            wave = column.o
        added, written = Signal(Wave(self.depth)), Signal(Wave(self.depth))  # the rows in the last column's pipeline
        m.d.sync += [added.eq(wave), written.eq(added)]
        m.d.comb += self.block_done.eq(written.valid & written.last)

        unread = Signal(2)  # a complete block has entered; not all its rows have been read
        complete = Signal(2)  # it is all in memory
        held = Signal()  # a row is in the read registers of half `drain.shown`
        self._enter(m, drain, unread, complete, held)
        self._drain(m, drain, unread, complete, held, row, written)
        return m

    def _enter(self, m: Module, drain: data.View, unread: Signal, complete: Signal, held: Signal) -> None:
        """Which half the row at the entry goes to, and whether it may."""
        last_half = Signal(init=1)
        filling = Signal()  # a block has entered in part
        free = Signal()
        passed = Signal()  # the row of the block before has been read already
        reading = Signal()
        settling = Signal(range(4))  # cycles until the K tile may end with the row that has just entered
        m.d.comb += [
            self.half.eq(last_half ^ self.entry.begin),
            free.eq(~unread.bit_select(self.half, 1)),
            # where the half is not free, its block is the older of the two: if any is being read, it is this one
            passed.eq(drain.active & (self.entry.index < drain.index) & ~self.entry.last),
            reading.eq(held & (drain.shown == self.half)),
            self.open.eq(Mux(self.entry.first, free | passed, free & ~reading & ((settling == 0) | ~self.entry.swap))),
            self.active.eq(filling | unread.any() | held | self.o.valid),
        ]
        with m.If(settling != 0):
            m.d.sync += settling.eq(settling - 1)
        with m.If(self.enter):
            m.d.sync += settling.eq(Mux(self.entry.index < 3, 3 - self.entry.index[:2], 0))
            m.d.sync += [last_half.eq(self.half), filling.eq(~self.entry.last)]
            with m.If(self.entry.last):
                m.d.sync += unread.bit_select(self.half, 1).eq(1)

    def _drain(self, m: Module, drain: data.View, unread: Signal, complete: Signal, held: Signal, row: data.View,
               written: data.View) -> None:
        """Reads finished blocks: memory, its read register, output register."""
        last_index = Signal(data.ArrayLayout(unsigned(len(written.index)), 2), reset_less=True)
        half = Signal()
        index = Signal(range(self.depth))
        shown = Signal()
        held_last = Signal()
        valid = Signal()
        payload = Signal(accumulator_row(self.cols), reset_less=True)
        shift = Signal()  # the read registers' row may leave
        is_last = Signal()
        m.d.comb += [
            self.o.valid.eq(valid),
            self.o.payload.eq(payload),
            shift.eq(~valid | self.o.ready),
            drain.active.eq(complete.bit_select(half, 1)),
            drain.enable.eq(drain.active & (~held | shift)),
            drain.half.eq(half),
            drain.index.eq(index),
            drain.shown.eq(shown),
            is_last.eq(index == last_index[half]),
        ]
        with m.If(shift):
            m.d.sync += [valid.eq(held), payload.data.eq(row), payload.last.eq(held_last), held.eq(0)]
        with m.If(drain.enable):
            m.d.sync += [held.eq(1), held_last.eq(is_last), shown.eq(half), index.eq(index + 1)]
            with m.If(is_last):
                m.d.sync += [
                    index.eq(0),
                    half.eq(~half),
                    complete.bit_select(half, 1).eq(0),
                    unread.bit_select(half, 1).eq(0),
                ]
        with m.If(self.block_done):
            m.d.sync += [complete.bit_select(written.half, 1).eq(1), last_index[written.half].eq(written.index)]
