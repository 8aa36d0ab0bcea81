"""The decoder's control: which slot does what in its turn."""

from amaranth import Cat, Const, Module, Mux, Signal, Value
from amaranth.hdl import ValueLike
from amaranth.lib import data, enum, stream, wiring
from amaranth.lib.wiring import In, Out

from .decoder_ops import COUNT_BITS, GROUP_BITS, UNIT_COUNT_BITS, Op, Place, Sizes, Tile
from .tables import LANES, MAPS, SET_BITS, TABLE_MODES, TAG_CHANNELS, TAG_RAW, ZERO

LEFT_LATENCY, UPPER_LATENCY = 6, 7
"""Cycles from a step to one that can read its values as left neighbours, and as upper ones or averages."""

MODE_LATENCY = 6
"""Cycles from the taking of a group's modes to a step that can read them."""


class State(enum.Enum):
    IDLE, HEADER, FILL, WAIT, STEP, CHECK, SKIP = range(7)


def _ceil(a: int, b: int) -> int:
    return -(-a // b)


def _more(walk: data.View) -> Value:
    """Whether there are channels behind this group."""
    return walk.channels[4:].any() | walk.channels[3] & walk.channels[:3].any()


class DecoderWalk(wiring.Component):
    """Walks through the steps of a tile in each slot; the slots take turns, in cycles or, with fewer lanes than
    streams, in groups of cycles.

    All waiting is here: an op is issued when the units that it may take have arrived, there is room for what it makes,
    and the values that it needs are decoded. From then on nothing stops it.

    Parameters
    ----------
    sizes: of the decoder.

    Members
    -------
    tile: stream; tiles go to the slots in turns. starts: of each slot: it begins a tile (in the cycle of the
    handshake). supplied: of each slot: units for the next op have arrived, or all of the tile. clean: of each slot:
    nothing of the tile's payload is left. room: the output takes what is under way and another step.
    place: of the op that is decided on in this cycle. o: the op of the cycle before.
    """

    def __init__(self, sizes: Sizes) -> None:
        self._sizes = sizes
        super().__init__({
            "tile": In(stream.Signature(Tile)),
            "starts": Out(sizes.slots),
            "supplied": In(sizes.slots),
            "clean": In(sizes.slots),
            "room": In(1),
            "place": Out(Place(sizes)),
            "o": Out(Op(sizes)),
        })
        self._near, self._far = (_ceil(cycles, sizes.period) - 1 for cycles in (LEFT_LATENCY, UPPER_LATENCY))
        self._walk = data.StructLayout({
            "state": State, "going": 1, "rows": COUNT_BITS, "columns": COUNT_BITS, "channels": COUNT_BITS,
            "width": COUNT_BITS, "depth": COUNT_BITS, "group": GROUP_BITS, "position": sizes.row_bits, "centre": 8,
            "mode": 4, "uniform": 1, "raw": 1, "coded": 1, "bad": 1, "first_row": 1, "first_column": 1,
            "table_set": SET_BITS, "far": 1, "recent": max(1, self._far)})
        self._walks = [Signal(self._walk, name=f"walk_{k}") for k in range(sizes.slots)]  # the last one has its turn

    def elaborate(self, platform: object) -> Module:
        m = Module()
        sizes = self._sizes
        slot, part = Signal(range(sizes.slots)), Signal(range(sizes.parts))
        first, last = Signal(), Signal()
        walks = self._walks
        now, then = walks[-1], Signal(self._walk)
        m.d.comb += [first.eq(part == 0), last.eq(part == sizes.parts - 1), then.eq(now)]
        m.d.sync += [later.eq(earlier) for later, earlier in zip(walks, [then, *walks], strict=False)]
        if sizes.slots > 1:
            m.d.sync += slot.eq(Mux(slot == sizes.slots - 1, 0, slot + 1))
        if sizes.parts > 1:
            with m.If(slot == sizes.slots - 1):
                m.d.sync += part.eq(part + 1)
        supplied, clean = self.supplied.bit_select(slot, 1), self.clean.bit_select(slot, 1)
        going = Signal()
        ready = Signal()
        m.d.comb += ready.eq(self._ready(now, supplied))
        m.d.comb += [going.eq(Mux(first, ready, now.going)), then.going.eq(going)]
        with m.If(last):
            m.d.comb += then.recent.eq(Cat(going & (now.state == State.STEP), now.recent))
            with m.If(now.state == State.WAIT):
                m.d.comb += then.state.eq(State.STEP)
        idle, free = Signal(), Signal()
        m.d.comb += [
            idle.eq((now.state == State.IDLE) | (now.state == State.SKIP) & clean),
            self.place.part.eq(part), self.place.group.eq(now.group), self.place.position.eq(now.position),
            self.place.slot.eq(slot),
            free.eq(idle & first & self._chosen(m, slot)), self.tile.ready.eq(free),
        ]
        accepted = Signal()
        m.d.comb += accepted.eq(free & self.tile.valid)
        self._advance(m, now, then, going & last, accepted)
        units = self._accept(m, accepted, slot, then)
        self._issue(m, now, going & ~(first & idle), accepted, units, part)
        return m

    def _chosen(self, m: Module, slot: Signal) -> Value:
        """Whether it is `slot` that takes the next tile."""
        if self._sizes.slots == 1:
            return Const(1, 1)
        chosen = Signal.like(slot, name="chosen")
        with m.If(self.tile.valid & self.tile.ready):
            m.d.sync += chosen.eq(Mux(chosen == self._sizes.slots - 1, 0, chosen + 1))
        return chosen == slot

    def _ready(self, now: data.View, supplied: Value) -> ValueLike:
        """Whether the op that is next may go."""
        under_way = [sum(now.recent[k] for k in range(count)) if count else Const(0, 1)
                     for count in (self._near, self._far)]
        groups = Mux(now.depth[5:].any(), 4, now.depth[3:5] + now.depth[:3].any())
        apart = Mux(now.far, under_way[1], under_way[0]) < groups
        return supplied & ((now.state == State.HEADER) | (now.state == State.FILL) | (now.state == State.SKIP)
                           | self.room & ((now.state == State.CHECK) | (now.state == State.STEP) & apart))

    def _advance(self, m: Module, now: data.View, then: Signal, goes: Value, accepted: Value) -> None:
        """What follows the op that is issued now, if it goes; the counters of a tile that begins."""
        group_last, column_last, row_last = Signal(), Signal(), Signal()
        step, group, column, row = Signal(), Signal(), Signal(), Signal()  # these go on
        tile = self.tile.payload
        m.d.comb += [
            group_last.eq(~_more(now)), column_last.eq(now.columns == 1), row_last.eq(now.rows == 1),
            step.eq(goes & (now.state == State.STEP)), group.eq(step | goes & (now.state == State.HEADER)),
            column.eq(step & group_last), row.eq(column & column_last),
            then.width.eq(Mux(accepted, tile.columns, now.width)),
            then.depth.eq(Mux(accepted, tile.channels, now.depth)),
            then.rows.eq(Mux(accepted, tile.rows, now.rows - row)),
            then.columns.eq(Mux(accepted | row, then.width, now.columns - column)),
            then.channels.eq(Mux(accepted | group & group_last, then.depth, Cat(now.channels[:3],
                                                                                 now.channels[3:] - group))),
            then.group.eq(Mux(accepted | group & group_last, 0, now.group + group)),
            then.position.eq(Mux(accepted | row | column & (now.table_set != MAPS), 0, now.position + step)),
            then.first_row.eq(accepted | now.first_row & ~row),
            then.first_column.eq(accepted | Mux(column, column_last, now.first_column)),
        ]
        with m.If(goes):
            with m.Switch(now.state):
                with m.Case(State.HEADER):
                    with m.If(group_last):
                        m.d.comb += then.state.eq(State.FILL)
                with m.Case(State.FILL):
                    wait = _ceil(MODE_LATENCY, self._sizes.period) > 2
                    m.d.comb += then.state.eq(State.WAIT if wait else State.STEP)
                with m.Case(State.STEP):
                    with m.If(row & row_last):
                        m.d.comb += then.state.eq(State.CHECK)
                with m.Case(State.CHECK):
                    m.d.comb += then.state.eq(State.SKIP)

    def _accept(self, m: Module, accepted: Signal, slot: Signal, then: Signal) -> Value:
        """A tile begins; the units of its payload."""
        tile = self.tile.payload
        tag, given = tile.entry[12:], tile.entry[:12]
        bad, units, centre, coded = Signal(), Signal(UNIT_COUNT_BITS), Signal(), Signal()
        raw = (tag == TAG_RAW) & ~bad
        m.d.comb += [
            bad.eq(Mux(tag == TAG_RAW, given != 0, (2 * given >= tile.size) | (tag >= TABLE_MODES) & (
                tag != TAG_CHANNELS) | Mux(tag == TAG_CHANNELS, (given != 0) & (4 * given < tile.channels),
                                           given == 0))),
            units.eq(Mux(raw, (tile.size + 1) >> 1, given)),
            centre.eq((tag == TAG_CHANNELS) & (given == 0)),
            coded.eq((tag != TAG_RAW) & ~bad & ~centre),
            self.starts.eq(Cat(accepted & (slot == number) for number in range(self._sizes.slots))),
        ]
        with m.If(accepted):
            m.d.comb += [
                then.centre.eq(tile.centre), then.table_set.eq(tile.table_set),
                then.far.eq((tile.table_set != MAPS) | (tile.columns == 1)),
                then.bad.eq(bad), then.raw.eq(raw), then.coded.eq(coded), then.recent.eq(0),
                then.uniform.eq((tag != TAG_CHANNELS) | ~coded), then.mode.eq(Mux(coded, tag, ZERO)),
                then.going.eq(0),
                then.state.eq(Mux(coded, Mux(tag == TAG_CHANNELS, State.HEADER, State.FILL), State.STEP)),
            ]
        return units

    def _issue(self, m: Module, now: data.View, going: Value, accepted: Value, units: Value, part: Value) -> None:
        """Put the op into the output's register."""
        sizes = self._sizes
        op = Signal(Op(sizes), init={"place": {"slot": -1 % sizes.slots}})
        count = Mux(_more(now), LANES, now.channels[:4])
        m.d.sync += [
            op.start.eq(accepted), op.units.eq(units),
            op.header.eq(going & (now.state == State.HEADER)), op.fill.eq(going & (now.state == State.FILL)),
            op.step.eq(going & (now.state == State.STEP)),
            op.skip.eq(going & ((now.state == State.CHECK) | (now.state == State.SKIP))),
            op.check.eq(going & (now.state == State.CHECK)),
            op.end.eq(going & (now.state == State.CHECK) & (part == sizes.parts - 1)),
            op.count.eq(count), op.place.eq(self.place),
            op.run.eq(Mux(now.columns[2:].any(), 3, Cat(~now.columns[0], ~now.columns[:2].xor()))),  # columns - 1
            op.active.eq(Cat(count > part * sizes.lanes + lane for lane in range(sizes.lanes))),
        ]
        m.d.sync += [op[name].eq(now[name]) for name in ("first_column", "first_row", "table_set", "raw", "coded",
                                                         "bad", "uniform", "mode", "centre")]
        m.d.comb += self.o.eq(op)
