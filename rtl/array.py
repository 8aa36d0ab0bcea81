"""The systolic array: a weight-stationary grid of multiply-accumulate cells, fed at its edges."""

from amaranth import Cat, Module, Signal, signed, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from .accumulators import Accumulators, Wave
from .multiply import BACKENDS, Products
from .ports import accumulator_row


class RowPayload(data.StructLayout):
    """A row of activations on its way into the array.

    data: a value of `activation_bits` for each row of the array. swap: first row of a K tile (the next weights become
    active with it). begin: first row of a block. first: the K tile is the block's first (accumulators are overwritten,
    not added to). last: last row of the block's last K tile. index: accumulator row.
    """

    def __init__(self, rows: int, activation_bits: int = 8) -> None:
        super().__init__({
            "data": data.ArrayLayout(signed(activation_bits), rows),
            "swap": 1,
            "begin": 1,
            "first": 1,
            "last": 1,
            "index": unsigned(16),
        })


class Skew(wiring.Component):
    """Delays lane k by k cycles: a flat row becomes a slanted wave.

    Parameters
    ----------
    lanes: number of lanes, at least 1. width: bits of a lane.

    Members
    -------
    i, o: `lanes` values of `width` bits.
    """

    def __init__(self, lanes: int, width: int) -> None:
        self.lanes = lanes
        self.width = width
        layout = data.ArrayLayout(unsigned(width), lanes)
        super().__init__({"i": In(layout), "o": Out(layout)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        lanes = self.i.as_value()
        m.d.comb += self.o[0].eq(self.i[0])
        for stage in range(1, self.lanes):  # one register for the lanes that still have to wait
            later = Signal(self.width * (self.lanes - stage), name=f"stage{stage}", reset_less=True)
            m.d.sync += later.eq(lanes[self.width:])
            m.d.comb += self.o[stage].eq(later[:self.width])
            lanes = later
        return m


class ArrayRow(wiring.Component):
    """A row of cells. Activations move right a column a cycle; every column adds its product to the sum from above.

    A cell has two weights: `active`, which multiplies, and `shadow`, which is loaded meanwhile. What enters column 0
    in cycle t is in column c in cycle t + c; the sum of column c leaves in cycle t + c + 2 + Products.latency,
    and must have come from above a cycle before.

    Parameters
    ----------
    cols: cells. width: bits of a sum. multiplier: back end of `Products`. activation_bits: 8 or 9.

    Members
    -------
    activation: enters column 0. swap: shadow weights become active, for this activation on.
    write: the shadow weights are loaded, column c with `weights[c]` c cycles later.
    weights: already slanted: column c of the row c cycles ago.
    above, below: sums, slanted likewise.
    """

    def __init__(self, cols: int, width: int, multiplier: str = "generic", activation_bits: int = 8) -> None:
        self.cols = cols
        self.width = width
        self.multiplier = multiplier
        self.activation_bits = activation_bits
        super().__init__({
            "activation": In(signed(activation_bits)),
            "swap": In(1),
            "write": In(1),
            "weights": In(data.ArrayLayout(signed(8), cols)),
            "above": In(data.ArrayLayout(signed(width), cols)),
            "below": Out(data.ArrayLayout(signed(width), cols)),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        bytes_ = data.ArrayLayout(signed(8), self.cols)
        activations = Signal(data.ArrayLayout(signed(self.activation_bits), self.cols), reset_less=True)
        active = Signal(bytes_, reset_less=True)
        shadow = Signal(bytes_, reset_less=True)
        sums = Signal(self.below.shape(), reset_less=True)
        swap, swapped = Signal(self.cols), Signal(self.cols)  # bit c: column c, in this cycle and the last
        write, written = Signal(self.cols), Signal(self.cols)
        m.d.comb += [swap.eq(Cat(self.swap, swapped)), write.eq(Cat(self.write, written))]
        m.d.sync += [
            swapped.eq(swap),
            written.eq(write),
            activations.eq(Cat(self.activation, activations.as_value())[:self.activation_bits * self.cols]),
        ]
        m.submodules.products = products = Products(self.cols, self.multiplier, self.activation_bits)
        m.d.comb += [products.a.eq(activations), products.b.eq(active), self.below.eq(sums)]
        for col in range(self.cols):
            with m.If(swap[col]):
                m.d.sync += active[col].eq(shadow[col])
            with m.If(write[col]):
                m.d.sync += shadow[col].eq(self.weights[col])
            m.d.sync += sums[col].eq(self.above[col] + products.p[col])
        return m


class Grid(wiring.Component):
    """The rows of cells with their skews: a matrix product, one row of activations a cycle, never stalling.

    The sum of column c over all rows, of the activations of cycle t, is in `sums[c]` in cycle t + latency + c.
    `swap` in cycle t takes the weights that were written up to cycle t - 1; row r of the next may be written from
    cycle t + r on.

    Parameters
    ----------
    rows, cols: cells. multiplier: back end of `Products`. activation_bits: of a row's value: 8, or 9 for -255 to 255.

    Members
    -------
    activations: a value a row. swap: the shadow weights are for this row of activations on.
    weights: a byte a column. write: bit r: they go to row r of the shadow weights.
    sums: exact sums, `width` bits, slanted.

    Attributes
    ----------
    latency: cycles to the sum of column 0. width: bits of a sum.
    """

    def __init__(self, rows: int, cols: int, multiplier: str = "generic", activation_bits: int = 8) -> None:
        self.rows = rows
        self.cols = cols
        self.multiplier = multiplier
        self.activation_bits = activation_bits
        self.width = 16 + ceil_log2(rows)  # for 9 bits, too: 255 * 128 is below 2**15
        self.latency = rows + 1 + Products.latency
        super().__init__({
            "activations": In(data.ArrayLayout(signed(activation_bits), rows)),
            "swap": In(1),
            "weights": In(data.ArrayLayout(signed(8), cols)),
            "write": In(rows),
            "sums": Out(data.ArrayLayout(signed(self.width), cols)),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.skew_rows = skew_rows = Skew(self.rows, self.activation_bits)
        m.submodules.skew_cols = skew_cols = Skew(self.cols, 8)
        swaps, swapped = Signal(self.rows), Signal(self.rows)  # bit r: in row r, in this cycle and the last
        m.d.comb += [
            skew_rows.i.eq(self.activations),
            skew_cols.i.eq(self.weights),
            swaps.eq(Cat(self.swap, swapped)),
        ]
        m.d.sync += swapped.eq(swaps)
        above = 0
        for index in range(self.rows):
            m.submodules[f"row{index}"] = row = ArrayRow(
                self.cols, self.width, self.multiplier, self.activation_bits)
            m.d.comb += [
                row.activation.eq(skew_rows.o[index]),
                row.swap.eq(swaps[index]),
                row.write.eq(self.write[index]),
                row.weights.eq(skew_cols.o),
                row.above.eq(above),
            ]
            above = row.below
        m.d.comb += self.sums.eq(above)
        return m


class SystolicArray(wiring.Component):
    """Multiplies rows of activations with tiles of weights and sums the tiles of K: grid and accumulators.

    Rows stream in, one a cycle. A row that is `swap` waits until the next tile of weights is complete (its last row may
    come in the same cycle); meanwhile the weights of the tile after it come in. A tile so costs max(its rows, `rows`)
    cycles. A row that needs an accumulator still holding the block before last waits for it to leave. Behind the entry
    nothing stalls.

    Timing: the row taken in cycle t is written in accumulator column c in cycle t + rows + Products.latency + 5 + c.

    It does not promise results where the rows from one `begin` to the next do not make a block: K tiles with equal
    rows of indices 0 to n - 1 in order, `swap` on row 0 of each, `first` on all rows of the first K tile, `last` on the
    last row of the last, n at most `accumulator_rows`.

    Parameters
    ----------
    rows, cols: cells, 1 to 128 each; a single row takes 2 cycles for a tile at least.
    accumulator_rows: rows of a block at most. multiplier: back end of `Products`.
    activation_bits: of the rows' values: 8, or 9 for -255 to 255. Sums are exact but for the accumulators' 32 bits, in
    which they wrap.

    Members
    -------
    i: rows of activations (`RowPayload`). weights: rows of weight tiles, row 0 first, tile after tile.
    o: finished accumulator rows. block_done: pulse, a block's last row is in the accumulators.
    active: 1 while rows are on their way or accumulators are not drained.
    events: busy (a row was taken), wait_weights, wait_accumulators (a row was refused for that reason).
    """

    def __init__(self, rows: int, cols: int, accumulator_rows: int, multiplier: str = "generic",
                 activation_bits: int = 8) -> None:
        if not 1 <= rows <= 128:
            raise ValueError(f"rows must be from 1 to 128, not {rows}")
        if not 1 <= cols <= 128:
            raise ValueError(f"cols must be from 1 to 128, not {cols}")
        if not 2 <= accumulator_rows <= 65536:
            raise ValueError(f"accumulator_rows must be from 2 to 65536, not {accumulator_rows}")
        if multiplier not in BACKENDS:
            raise ValueError(f"multiplier must be one of {', '.join(BACKENDS)}, not {multiplier!r}")
        self.rows = rows
        self.cols = cols
        self.accumulator_rows = accumulator_rows
        self.grid = Grid(rows, cols, multiplier, activation_bits)
        self.accumulators = Accumulators(accumulator_rows, cols, self.grid.width)
        super().__init__({
            "i": In(stream.Signature(RowPayload(rows, activation_bits))),
            "weights": In(stream.Signature(data.ArrayLayout(signed(8), cols))),
            "o": Out(stream.Signature(accumulator_row(cols))),
            "block_done": Out(1),
            "active": Out(1),
            "events": Out(data.StructLayout({"busy": 1, "wait_weights": 1, "wait_accumulators": 1})),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.grid = grid = self.grid
        m.submodules.accumulators = accumulators = self.accumulators
        taken = Signal()
        row = self.i.payload
        weights_ready = self._load(m, taken & row.swap)
        m.d.comb += [
            accumulators.entry.swap.eq(row.swap),
            accumulators.entry.begin.eq(row.begin),
            accumulators.entry.first.eq(row.first),
            accumulators.entry.last.eq(row.last),
            accumulators.entry.index.eq(row.index),
            accumulators.enter.eq(taken),
            self.i.ready.eq((weights_ready | ~row.swap) & accumulators.open),
            taken.eq(self.i.valid & self.i.ready),
            self.events.busy.eq(taken),
            self.events.wait_weights.eq(self.i.valid & row.swap & ~weights_ready),
            self.events.wait_accumulators.eq(self.i.valid & ~self.events.wait_weights & ~accumulators.open),
        ]
        activations = Signal(row.data.shape(), reset_less=True)
        swap = Signal()
        m.d.sync += [activations.eq(row.data), swap.eq(taken & row.swap)]
        m.d.comb += [grid.activations.eq(activations), grid.swap.eq(swap), accumulators.sums.eq(grid.sums)]
        self._accompany(m, taken)
        wiring.connect(m, accumulators.o, wiring.flipped(self.o))
        m.d.comb += [self.block_done.eq(accumulators.block_done), self.active.eq(accumulators.active)]
        return m

    def _load(self, m: Module, swap: Signal) -> Signal:
        """Takes the weights' rows one after the other; the result is 1 when a tile is complete in this cycle."""
        loaded = Signal(range(self.rows + 1))
        complete, arrives = Signal(), Signal()
        weights = Signal(data.ArrayLayout(signed(8), self.cols), reset_less=True)
        write = Signal(self.rows)
        m.d.comb += [
            self.weights.ready.eq(loaded != self.rows),
            arrives.eq(self.weights.valid & self.weights.ready),
            complete.eq(loaded == self.rows),
            self.grid.weights.eq(weights),
            self.grid.write.eq(write),
        ]
        if self.rows > 1:  # the last row of cells needs its weights later; a first one would not have them yet
            with m.If(self.weights.valid & (loaded == self.rows - 1)):
                m.d.comb += complete.eq(1)
        m.d.sync += [weights.eq(self.weights.payload), write.eq(arrives << loaded)]
        with m.If(swap):
            m.d.sync += loaded.eq(0)
        with m.Elif(arrives):
            m.d.sync += loaded.eq(loaded + 1)
        return complete

    def _accompany(self, m: Module, taken: Signal) -> None:
        """Delays what belongs to a row until its sum leaves the grid at column 0."""
        wave = Signal(Wave(self.accumulator_rows))
        entry = self.accumulators.entry
        m.d.comb += [
            wave.valid.eq(taken),
            wave.half.eq(self.accumulators.half),
            wave.first.eq(entry.first),
            wave.last.eq(entry.last),
            wave.index.eq(entry.index),
        ]
        for cycle in range(1 + self.grid.latency):
            later = Signal(Wave(self.accumulator_rows), name=f"wave{cycle}")
            m.d.sync += later.eq(wave)
            wave = later
        m.d.comb += self.accumulators.wave.eq(wave)
