"""What the decoder remembers of channels: left values, the row above, modes, and its tables."""

from collections.abc import Callable

from amaranth import Cat, Const, Module, Mux, Value
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out

from .decoder_context import CONTEXT_BITS, SEEN_BITS, Neighbours, context_number
from .decoder_lane import CodeClass
from .decoder_ops import ANY_COLLISION, IN_BLOCKS, WORD_UNITS, Op, Place, Sizes
from .tables import CODE_BITS, CODE_OF, CODES, ESCAPE_ZEROS, LANES, MODE_BITS, MODES, TILE_VALUES, UNIT_BITS

_LEFT_GROUP_BITS = (TILE_VALUES // 2 // LANES - 1).bit_length()
"""Left neighbours are there from two columns on, so for half as many channels."""


class DecoderMemory(wiring.Component):
    """Left and upper neighbours, values to skip, and modes, of all slots.

    Parameters
    ----------
    sizes: of the decoder.

    Members
    -------
    place: to read. op: a cycle later; known: then, what is known of each lane's channel.
    header, modes: write the modes at `header.place`; with 2 lanes, in even parts only.
    lefts: write `left` and `skip` at `lefts.place`. uppers: write `upper` at `uppers.place`.
    """

    def __init__(self, sizes: Sizes) -> None:
        self._sizes = sizes
        lanes = sizes.lanes
        self._mode_units = max(1, lanes // WORD_UNITS)
        super().__init__({
            "place": In(Place(sizes)),
            "op": In(Op(sizes)),
            "known": Out(data.ArrayLayout(Neighbours(), lanes)),
            "header": In(Op(sizes)),
            "modes": In(UNIT_BITS * self._mode_units),
            "lefts": In(Op(sizes)),
            "left": In(data.ArrayLayout(8, lanes)),
            "skip": In(data.ArrayLayout(2, lanes)),
            "uppers": In(Op(sizes)),
            "upper": In(data.ArrayLayout(8, lanes)),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        lanes = self._sizes.lanes

        def left_place(place: data.View) -> Value:
            return Cat(place.part, place.group[:_LEFT_GROUP_BITS], place.slot)

        def upper_place(place: data.View) -> Value:
            return Cat(place.part, place.position, place.slot)

        def mode_place(place: data.View) -> Value:
            return Cat(place.part[1:] if lanes == 2 else place.part, place.group, place.slot)

        left = self._store(m, "lefts", left_place, self.lefts.step, self.lefts.place, Cat(self.left, self.skip))
        upper = self._store(m, "uppers", upper_place, self.uppers.step, self.uppers.place, Cat(self.upper))
        first = ~self.header.place.part[0] if lanes == 2 else 1
        modes = self._store(m, "modes", mode_place, self.header.header & first, self.header.place, self.modes)
        if lanes == 2:
            modes = modes.word_select(self.op.place.part[0], 2 * MODE_BITS)
        for lane, known in enumerate(self.known):
            m.d.comb += [
                known.left.eq(left[8 * lane:8 * lane + 8]),
                known.skip.eq(left[8 * lanes + 2 * lane:8 * lanes + 2 * lane + 2]),
                known.upper.eq(upper[8 * lane:8 * lane + 8]),
                known.mode.eq(Mux(self.op.uniform, self.op.mode, modes.word_select(Const(lane), MODE_BITS))),
            ]
        return m

    def _store(self, m: Module, name: str, address: Callable[[data.View], Value], write: Value, place: data.View,
               value: Value) -> Value:
        """A memory of whole steps; what lies at `self.place`, a cycle later."""
        depth = 1 << len(address(self.place))
        m.submodules[name] = store = memory.Memory(shape=len(value), depth=depth, init=[], attrs=ANY_COLLISION)
        writer, reader = store.write_port(), store.read_port()
        m.d.comb += [writer.addr.eq(address(place)), writer.en.eq(write), writer.data.eq(value),
                     reader.addr.eq(address(self.place))]
        return reader.data


class DecoderTables(wiring.Component):
    """The codes of contexts, and the classes of codes, for each lane, a cycle after the question.

    Parameters
    ----------
    lanes: number of questions a cycle.

    Members
    -------
    context: see `DecoderContext`. code: its code. entry: see `DecoderLane`; found: the class.
    """

    def __init__(self, lanes: int) -> None:
        self._lanes = lanes
        super().__init__({
            "context": In(data.ArrayLayout(CONTEXT_BITS, lanes)),
            "code": Out(data.ArrayLayout(CODE_BITS, lanes)),
            "entry": In(data.ArrayLayout(4 + CODE_BITS, lanes)),
            "found": Out(data.ArrayLayout(CodeClass(), lanes)),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        codes = [CODE_OF[table_set][mode][context_number(predictor, seen)]
                 for table_set, table in enumerate(MODES) for mode, (predictor, _) in enumerate(table)
                 for seen in range(1 << SEEN_BITS)]
        classes = [CodeClass.number(min(code, len(CODES) - 1), zeros, eighth)
                   for eighth in range(2) for code in range(1 << CODE_BITS) for zeros in range(ESCAPE_ZEROS)]
        m.submodules.codes = code_store = memory.Memory(shape=CODE_BITS, depth=len(codes), init=codes, attrs=IN_BLOCKS)
        for lane in range(self._lanes):
            m.submodules[f"classes_{lane}"] = class_store = memory.Memory(
                shape=len(self.found[lane].as_value()), depth=len(classes), init=classes, attrs=IN_BLOCKS)
            code, found = code_store.read_port(), class_store.read_port()
            m.d.comb += [code.addr.eq(self.context[lane]), self.code[lane].eq(code.data),
                         found.addr.eq(self.entry[lane]), self.found[lane].eq(found.data)]
        return m
