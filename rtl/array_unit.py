"""The array as a unit: executes ARRAY instructions from their waits to their signals."""

from amaranth import Cat, Module, Mux, Signal, Value, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.wiring import In, Out

from . import isa
from .affine import RowProducts
from .array import SystolicArray
from .feeder import LEVELS, Feeder
from .issue import Issue, Merge, Signaller, Signals
from .ports import Give, MemoryReadPort, Retired, accumulator_row, unit_members
from .weights import WeightLoader

EVENTS = data.StructLayout({"busy": 1, "wait_weights": 1, "wait_input": 1, "wait_accumulators": 1, "wait_semaphore": 1})


class Ending(data.Struct):
    """What is left of an instruction once it has started."""

    signals: Signals
    tag: unsigned(16)
    tiles: unsigned(16)


class Completion(wiring.Component):
    """Gives an instruction's signals when it has read all it needs, and reports it when its blocks are done.

    Parameters
    ----------
    depth: instructions under way at most, at least 4.

    Members
    -------
    i: stream of `Ending`, in program order. input_read, weights_read: pulses, an instruction's last read; one a piece
    for each instruction, also ahead of `i`. block_done: pulse; not before the `Ending` is 3 cycles old.
    give: signals. retired: pulse. busy: instructions are under way.
    """

    def __init__(self, depth: int = 9) -> None:
        if depth < 4:
            raise ValueError(f"depth must be at least 4, not {depth}")
        self.depth = depth
        super().__init__({
            "i": In(stream.Signature(Ending)),
            "input_read": In(1),
            "weights_read": In(1),
            "block_done": In(1),
            "give": Out(stream.Signature(Give)),
            "retired": Out(Retired),
            "busy": Out(1),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        ending = self.i.payload
        m.submodules.signals = signals = SyncFIFOBuffered(width=len(ending.signals.as_value()), depth=4)
        m.submodules.blocks = blocks = SyncFIFOBuffered(width=32, depth=self.depth)
        m.submodules.signaller = signaller = Signaller()
        wiring.connect(m, signaller.o, wiring.flipped(self.give))
        started, signalled, oldest_done = Signal(), Signal(), Signal()
        inputs, weights = Signal(3), Signal(3)  # instructions read and not yet signalled
        done = Signal(16)  # blocks of the oldest
        m.d.comb += [
            self.i.ready.eq(signals.w_rdy & blocks.w_rdy),
            started.eq(self.i.valid & self.i.ready),
            signals.w_en.eq(started), signals.w_data.eq(ending.signals),
            blocks.w_en.eq(started), blocks.w_data.eq(Cat(ending.tag, ending.tiles)),
            signaller.i.valid.eq(signals.r_rdy & (inputs != 0) & (weights != 0)),
            signaller.i.payload.eq(signals.r_data),
            signalled.eq(signaller.i.valid & signaller.i.ready),
            signals.r_en.eq(signalled),
            oldest_done.eq(blocks.r_rdy & (done == blocks.r_data[16:])),
            blocks.r_en.eq(oldest_done),
            self.retired.valid.eq(oldest_done), self.retired.tag.eq(blocks.r_data[:16]),
            self.busy.eq((signals.level != 0) | (blocks.level != 0)),
        ]
        m.d.sync += [
            inputs.eq(inputs + self.input_read - signalled),
            weights.eq(weights + self.weights_read - signalled),
            done.eq(Mux(oldest_done, 0, done) + self.block_done),
        ]
        return m


class ArrayUnit(wiring.Component):
    """Executes ARRAY instructions of `rtl.isa`: feeder, weight loader, systolic array.

    While an instruction streams, the next one's waits are taken and its set-up is made, and its first weight tiles are
    read; one cycle without a row lies between the two. Semaphores are taken in program order: an instruction's waits,
    then `ready` for each of its tiles, then the next one's waits. Its signals are given when its last read of memory
    has been granted, input and weights: memory reads in the order of grants.

    Parameters
    ----------
    rows, cols: size of the array. word_bytes: width of the memory ports, a power of two, at least rows and cols.
    accumulator_rows: rows of a block at most. multiplier: back end of the products.
    activation_products: whether instructions may be strided and centred; see `rtl.isa`.

    Members
    -------
    instruction: stream of ARRAY instructions. take, give: semaphores.
    input: unaligned reads. weights: aligned reads. o: finished accumulator rows.
    busy: an instruction is here, or accumulators are not drained.
    retired: pulse: an instruction's last block is in the accumulators.
    error: level until reset: an instruction has a zero count, weights that are not aligned or a block of too many rows;
    it is strided and has a kernel, or asks for what `activation_products` has not.
    events: busy (a row entered the array); and, in cycles without: wait_weights, wait_accumulators (a row was there),
    wait_input (a row is on its way from memory), wait_semaphore (a semaphore refused to give, or has not given yet).
    """

    def __init__(self, rows: int, cols: int, word_bytes: int, accumulator_rows: int,
                 multiplier: str = "generic", activation_products: bool = False) -> None:
        self.word_bytes = word_bytes
        self.activation_products = activation_products
        bits = 9 if activation_products else 8
        self._feeder = Feeder(rows, word_bytes, accumulator_rows, bits)
        self._loader = WeightLoader(rows, cols, word_bytes, activation_products)
        self._array = SystolicArray(rows, cols, accumulator_rows, multiplier, bits)
        super().__init__({
            **unit_members(isa.ARRAY.layout(), EVENTS),
            "input": Out(MemoryReadPort(word_bytes)),
            "weights": Out(MemoryReadPort(word_bytes)),
            "o": Out(stream.Signature(accumulator_row(cols))),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.feeder = feeder = self._feeder
        m.submodules.loader = loader = self._loader
        m.submodules.array = array = self._array
        m.submodules.products = products = RowProducts()
        wiring.connect(m, feeder.memory, wiring.flipped(self.input))
        wiring.connect(m, loader.memory, wiring.flipped(self.weights))
        wiring.connect(m, feeder.o, array.i)
        wiring.connect(m, loader.o, array.weights)
        wiring.connect(m, array.o, wiring.flipped(self.o))
        p = self.instruction.payload
        illegal = Signal()
        m.d.comb += [
            products.valid.eq(self.instruction.valid), products.restart.eq(self.instruction.ready),
            products.base.eq(p.a), products.pitch.eq(p.row_pitch), products.y_start.eq(p.y_start),
            products.y_step.eq(p.y_step), products.y_dilation.eq(p.y_dilation),
            self.error.eq(illegal | feeder.error),
        ]
        with m.If(self.instruction.valid & self._illegal(p)):
            m.d.sync += illegal.eq(1)  # before the products are done
        m.submodules.completion = completion = Completion()
        self._start(m, products, illegal, completion)
        self._finish(m, completion)
        refused = self.take.valid & ~self.take.ready
        m.d.comb += [
            self.busy.eq(self.instruction.valid | feeder.busy | loader.busy | array.active | completion.busy),
            self.events.busy.eq(array.events.busy),
            self.events.wait_weights.eq(array.events.wait_weights),
            self.events.wait_accumulators.eq(array.events.wait_accumulators),
            self.events.wait_input.eq(feeder.busy & ~feeder.o.valid),
            self.events.wait_semaphore.eq(refused & ~array.events.busy),
        ]
        return m

    def _illegal(self, p: data.View) -> Value:
        """What the units could not execute; a block of too many rows shows while it is fed."""
        low = self.word_bytes - 1
        unaligned = (p.b & low).any() | ((p.ring_bytes != 0) & ((p.ring | p.ring_bytes) & low).any())
        if not self.activation_products:
            return Cat(unaligned, p.strided, p.centred, p.transposed, *(p[name] == 0 for name in LEVELS)).any()
        # the strides of kc and tiles are where the ring is; a `ring` that is none may be anything
        strides = (p[isa.ARRAY.second_names[name]] & low for name in ("b_row", "b_kc", "b_tile"))
        bad_strides = p.strided & Cat(p.ky != 1, p.kx != 1, *strides).any()
        turned = p.transposed & ~(p.strided if self._loader.square else 0)
        return Cat(unaligned, bad_strides, turned, *(p[name] == 0 for name in LEVELS)).any()

    def _start(self, m: Module, products: RowProducts, illegal: Signal, completion: Completion) -> None:
        """Gives each instruction to the feeder and to the loader, each when it is free, once its waits are granted."""
        m.submodules.issue = issue = Issue(isa.ARRAY.layout())
        feeder, loader = self._feeder, self._loader
        offered, started = Signal(), Signal()
        fed, loaded = Signal(), Signal()  # has been taken already
        feed, load = Signal(), Signal()
        m.d.comb += [
            issue.i.payload.eq(self.instruction.payload),
            issue.i.valid.eq(self.instruction.valid),
            self.instruction.ready.eq(issue.i.ready),
            offered.eq(issue.o.valid & products.done & ~illegal & completion.i.ready),
            feeder.i.valid.eq(offered & ~fed),
            feeder.i.payload.instruction.eq(issue.o.payload),
            feeder.i.payload.row_start.eq(products.row_start),
            feeder.i.payload.row_step.eq(products.row_step),
            feeder.i.payload.row_dilation.eq(products.row_dilation),
            loader.i.valid.eq(offered & ~loaded),
            loader.i.payload.eq(issue.o.payload),
            feed.eq(fed | feeder.i.ready), load.eq(loaded | loader.i.ready),
            started.eq(offered & feed & load),
            issue.o.ready.eq(started),
            completion.i.valid.eq(started),
            completion.i.payload.tag.eq(issue.o.payload.tag),
            completion.i.payload.tiles.eq(issue.o.payload.tiles),
        ]
        m.d.comb += [completion.i.payload.signals[name].eq(issue.o.payload[name]) for name, _ in Signals.as_shape()]
        with m.If(offered):
            m.d.sync += [fed.eq(feed & ~started), loaded.eq(load & ~started)]
        with m.If(loader.taking):  # for the instruction before, or the one that has its waits
            m.d.comb += [self.take.valid.eq(loader.take.valid), self.take.payload.eq(loader.take.payload),
                         loader.take.ready.eq(self.take.ready)]
        with m.Else():
            m.d.comb += [self.take.valid.eq(issue.take.valid), self.take.payload.eq(issue.take.payload),
                         issue.take.ready.eq(self.take.ready)]

    def _finish(self, m: Module, completion: Completion) -> None:
        """Signals and retirement; gives go out one a cycle."""
        m.submodules.gives = gives = Merge(Give, 2)
        wiring.connect(m, self._loader.give, gives.i[0])
        wiring.connect(m, completion.give, gives.i[1])
        wiring.connect(m, gives.o, wiring.flipped(self.give))
        m.d.comb += [
            completion.input_read.eq(self._feeder.done),
            completion.weights_read.eq(self._loader.done),
            completion.block_done.eq(self._array.block_done),
            self.retired.eq(completion.retired),
        ]
