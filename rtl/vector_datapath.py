"""The pipeline of the vector unit: elements and parameters in, packed words out."""

from itertools import pairwise

from amaranth import Cat, Const, Module, Mux, Shape, Signal, signed, unsigned
from amaranth.lib import data, fifo, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from .isa import DOUBLE, EVEN, INT8, INT16, INT32, MAX, PRODUCT, SUM
from .ports import accumulator_row
from .vector_address import SLOTS, Step
from .vector_lane import BIASED, CLAMPED, MULTIPLIED, ROUNDED, SUM_READY, Reduce, VectorLane
from .vector_parameters import parameter_set
from .vector_tables import LOOKED_UP, TableRow, Tables

QUEUE = 22
"""Outputs that have a place at the end: those of a full pipeline, so that it can be full all the time."""


class Settings(data.Struct):
    """What an instruction's outputs have in common."""

    zero_point: signed(16)
    low: signed(32)
    high: signed(32)
    out_type: unsigned(2)
    lookup: unsigned(1)


class _Control(data.Struct):
    """What goes with a step through the pipeline."""

    valid: unsigned(1)
    inside: unsigned(1)
    first: unsigned(1)
    last: unsigned(1)
    operand: unsigned(1)
    reduce: unsigned(2)
    rounding: unsigned(2)
    slot: unsigned(2)


def check_sizes(cols: int, word_bytes: int, lanes: int) -> None:
    """Raises ValueError where a vector unit cannot have these sizes."""
    if lanes < 1 or lanes & (lanes - 1):
        raise ValueError(f"lanes must be a power of two, not {lanes}")
    if word_bytes < 4 or word_bytes & (word_bytes - 1):
        raise ValueError(f"word_bytes must be a power of two and at least 4, not {word_bytes}")
    if lanes > word_bytes:
        raise ValueError(f"lanes must be at most word_bytes ({word_bytes}), not {lanes}")
    if not 1 <= cols <= word_bytes:
        raise ValueError(f"cols must be from 1 to word_bytes ({word_bytes}), not {cols}")
    if word_bytes > 128:
        raise ValueError(f"word_bytes must be at most 128, not {word_bytes}")


class VectorDatapath(wiring.Component):
    """Executes steps, one a cycle; a window's output leaves 17 cycles after its last step entered.

    The pipeline itself never stops: a step enters when its elements and parameters are there and the queue
    of outputs (`QUEUE`) has a place for what it may produce.

    Parameters
    ----------
    cols: columns of a row of accumulators. word_bytes: of the memory, at least 4. lanes: elements a step at most,
    a power of two up to word_bytes.

    Members
    -------
    steps: stream of `Step`. words: stream of memory words, one for each step from MEMORY that is `inside`.
    accumulators: stream of rows, taken with the last step of a row. parameters: stream of sets, taken by `swap`.
    settings, slot, set: stores an instruction's settings under its slot's number, before its first step.
    table: rows of its table, if it has one, before its first step too.
    o: stream of words: an output's elements from byte 0 on; bytes past them are noise.
    entered: a step enters the pipeline. starved, blocked: one is there and has no input, no place for its output.
    mismatch: a block of accumulators was not as long as the instruction says (level, until reset).
    """

    def __init__(self, cols: int, word_bytes: int, lanes: int) -> None:
        check_sizes(cols, word_bytes, lanes)
        self._cols, self._word_bytes, self._lanes = cols, word_bytes, lanes
        super().__init__({
            "steps": In(stream.Signature(Step)),
            "words": In(stream.Signature(unsigned(8 * word_bytes))),
            "accumulators": In(stream.Signature(accumulator_row(cols))),
            "parameters": In(stream.Signature(parameter_set(cols))),
            "settings": In(Settings),
            "slot": In(range(SLOTS)),
            "set": In(1),
            "table": In(TableRow),
            "o": Out(stream.Signature(unsigned(8 * word_bytes))),
            "entered": Out(1),
            "starved": Out(1),
            "blocked": Out(1),
            "mismatch": Out(1),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.outputs = outputs = fifo.SyncFIFO(width=8 * self._word_bytes, depth=QUEUE)
        room = Signal(range(QUEUE + 1), init=QUEUE)
        produces = self.entered & self.steps.payload.last
        left = Signal()  # the memory's grant comes late in its cycle
        m.d.sync += [left.eq(self.o.valid & self.o.ready), room.eq(room - produces + left)]
        m.d.comb += [self.o.payload.eq(outputs.r_data), self.o.valid.eq(outputs.r_rdy), outputs.r_en.eq(self.o.ready)]

        step = Signal(Step, reset_less=True)
        elements = self._enter(m, room != 0)
        m.d.sync += step.eq(self.steps.payload)
        x, bias, multiplier, shift = self._operands(m, step, elements)

        control = [Signal(_Control, name=f"control_{stage}") for stage in range(CLAMPED + LOOKED_UP + 2)]
        p = self.steps.payload
        m.d.sync += [control[0].valid.eq(self.entered), control[0].inside.eq(p.inside), control[0].first.eq(p.first),
                     control[0].last.eq(p.last), control[0].operand.eq(p.operand), control[0].reduce.eq(p.reduce),
                     control[0].rounding.eq(p.rounding), control[0].slot.eq(p.slot)]
        for before, after in pairwise(control):
            m.d.sync += after.eq(before)
        # The lanes' inputs are shown one stage after control[0].
        reduce = self._window(m, control[MULTIPLIED])
        keep, by_kept = self._factors(m, control[BIASED])
        rounding = control[1 + SUM_READY].rounding
        settings = self._settings(m, *(control[stage].slot for stage in (ROUNDED, CLAMPED)))
        results = []
        for index in range(self._lanes):
            m.submodules[f"lane_{index}"] = lane = VectorLane()
            m.d.comb += [
                lane.x.eq(x[index]), lane.bias.eq(bias[index]), lane.multiplier.eq(multiplier[index]),
                lane.shift.eq(shift[index]), lane.reduce.eq(reduce), lane.keep.eq(keep), lane.by_kept.eq(by_kept),
                lane.double.eq(rounding == DOUBLE), lane.even.eq(rounding == EVEN),
                lane.zero_point.eq(settings[0].zero_point),
                lane.low.eq(settings[0].low), lane.high.eq(settings[0].high),
            ]
            results.append(lane.o)
        word = self._look_up(m, results, settings[1], control[1 + CLAMPED].slot)
        out = control[1 + CLAMPED + LOOKED_UP]
        m.d.comb += [outputs.w_en.eq(out.valid & out.last), outputs.w_data.eq(word)]
        return m

    def _enter(self, m: Module, room: Signal) -> list[Signal]:
        """Takes a step when all is there; its elements as int32, registered."""
        p = self.steps.payload
        ready = Signal()
        m.d.comb += [
            ready.eq(Mux(p.memory, ~p.inside | self.words.valid, self.accumulators.valid)
                     & (~p.swap | self.parameters.valid)),
            self.entered.eq(self.steps.valid & ready & room),
            self.starved.eq(self.steps.valid & ~ready),
            self.blocked.eq(self.steps.valid & ready & ~room),
            self.steps.ready.eq(ready & room),
            self.words.ready.eq(self.entered & p.memory & p.inside),
            self.accumulators.ready.eq(self.entered & ~p.memory & p.row_end),
            self.parameters.ready.eq(self.entered & p.swap),
        ]
        with m.If(self.accumulators.ready & (self.accumulators.payload.last != p.block_end)):
            m.d.sync += self.mismatch.eq(1)
        elements = self._registers("element", signed(32))
        columns = Signal(32 * self._lanes)
        m.d.comb += columns.eq(self._from_column(self.accumulators.payload.data, 32, p.column))
        word = self.words.payload
        for index in range(self._lanes):
            value = Signal(signed(32), name=f"value_{index}")
            with m.Switch(p.in_type):
                for kind in (INT8, INT16, INT32):
                    size = 8 << kind
                    if (index + 1) * size <= len(word):  # the others are beyond a step of this type
                        with m.Case(kind):
                            m.d.comb += value.eq(word[index * size:(index + 1) * size].as_signed())
            m.d.sync += elements[index].eq(Mux(p.memory, value, columns[32 * index:32 * (index + 1)]))
        return elements

    def _from_column(self, entries: data.View, width: int, column: Signal) -> Signal:
        """`entries` from `column` on; that is a multiple of the smallest step."""
        unit = min(self._lanes, self._word_bytes // 4)
        bits = entries.as_value()
        chunk = column[unit.bit_length() - 1:max(unit.bit_length() - 1, (self._cols - 1).bit_length())]
        for bit in range(len(chunk)):
            distance = (unit << bit) * width
            bits = Mux(chunk[bit], bits[distance:], bits)
        return bits

    def _registers(self, name: str, shape: Shape) -> list[Signal]:
        """One a lane: an array's elements in Verilog have names that nextpnr takes for bits of the array."""
        return [Signal(shape, name=f"{name}_{index}", reset_less=True) for index in range(self._lanes)]

    def _operands(self, m: Module, step: data.View, elements: list[Signal]) -> list[list[Signal]]:
        """Elements and, from the set in force, bias, multiplier and shift of each of them; registered."""
        held = Signal(parameter_set(self._cols), reset_less=True)
        with m.If(self.parameters.ready):
            m.d.sync += held.eq(self.parameters.payload)
        x, bias = self._registers("x", signed(32)), self._registers("bias", signed(32))
        multiplier, shift = self._registers("multiplier", signed(32)), self._registers("shift", unsigned(6))
        for index in range(self._lanes):
            m.d.sync += x[index].eq(elements[index])
        for part, width, entries, b in ((bias, 32, held.bias, held.b_bias), (shift, 6, held.shift, held.shift[0]),
                                        (multiplier, 32, held.multiplier, held.b_multiplier)):
            columns = self._from_column(entries, width, step.column)
            columns = Cat(columns, Const(0, self._lanes * width))  # lanes past the last column
            for index, register in enumerate(part):
                with m.If(~step.memory):
                    m.d.sync += register.eq(columns[index * width:(index + 1) * width])
                with m.Else():
                    m.d.sync += register.eq(Mux(step.operand, b, entries[0]))
        return [x, bias, multiplier, shift]

    def _factors(self, m: Module, control: data.View) -> list[Signal]:
        """Which elements are products' first factors, and which are their second ones; a cycle after `control`."""
        product = control.valid & (control.reduce == PRODUCT)
        kinds = [Signal(name=name) for name in ("keep", "by_kept")]
        m.d.sync += [kind.eq(product & (control.operand == number)) for number, kind in enumerate(kinds)]
        return kinds

    def _window(self, m: Module, control: data.View) -> Signal:
        """What the lanes do with the products, a cycle after `control`: the first one inside starts the sum.

        PRODUCT's first element does, too, but what counts is the second's.
        """
        reduce = Signal(Reduce)
        some = Signal()  # an element of the window has taken part
        going = control.valid & control.inside
        begun = some & ~control.first
        with m.If(control.valid):
            m.d.sync += some.eq(control.inside | begun)
        m.d.sync += [
            reduce.load.eq(going & (~begun | (control.reduce == PRODUCT))),
            reduce.clear.eq(control.valid & control.first & ~control.inside),
            reduce.add.eq(going & begun & (control.reduce == SUM)),
            reduce.maximum.eq(going & begun & (control.reduce == MAX)),
        ]
        return reduce

    def _settings(self, m: Module, *slots: Signal) -> list[data.View]:
        """The settings of each of `slots`, a cycle later."""
        m.submodules.settings = kept = memory.Memory(shape=Settings, depth=SLOTS, init=[])
        write = kept.write_port()
        m.d.comb += [write.addr.eq(self.slot), write.data.eq(self.settings), write.en.eq(self.set)]
        ports = [kept.read_port() for _ in slots]
        m.d.comb += [port.addr.eq(slot) for port, slot in zip(ports, slots, strict=True)]
        return [port.data for port in ports]

    def _look_up(self, m: Module, results: list[Signal], settings: data.View, slot: Signal) -> Signal:
        """The packed word, `LOOKED_UP` cycles later; its bytes are those of the table where there is one."""
        m.submodules.tables = tables = Tables(self._lanes)
        m.d.comb += [tables.write.eq(self.table), tables.slot.eq(slot)]
        m.d.comb += [tables.i[lane].eq(result[:8]) for lane, result in enumerate(results)]
        word, lookup = self._pack(m, results, settings.out_type), settings.lookup
        for stage in range(LOOKED_UP):
            word_before, lookup_before = word, lookup
            word = Signal(8 * self._word_bytes, name=f"word_{stage}", reset_less=True)
            lookup = Signal(name=f"lookup_{stage}", reset_less=True)
            m.d.sync += [word.eq(word_before), lookup.eq(lookup_before)]
        looked_up = tables.o.as_value()
        return Cat(Mux(lookup, looked_up, word[:len(looked_up)]), word[len(looked_up):])

    def _pack(self, m: Module, results: list[Signal], out_type: Signal) -> Signal:
        """Low bytes of the results, side by side."""
        word = Signal(8 * self._word_bytes)
        with m.Switch(out_type):
            for kind in (INT8, INT16, INT32):
                size = 8 << kind
                with m.Case(kind):
                    m.d.comb += word.eq(Cat(lane[:size] for lane in results[:8 * self._word_bytes // size]))
        return word
