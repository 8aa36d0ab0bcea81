"""What the decoder remembers of channels: left values, the row above, modes, and its tables."""

from collections.abc import Callable

from amaranth import Cat, Const, Module, Mux, Value
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out

from .decoder_context import Neighbours
from .decoder_lane import Code
from .decoder_ops import ANY_COLLISION, IN_BLOCKS, WORD_UNITS, Op, Place, Sizes
from .tables import CODE_BITS, CODE_OF, CODES, LANES, MODE_BITS, SET_BITS, TILE_VALUES, UNIT_BITS

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
    """The codes of contexts, and the first ranks of classes, for each lane, a cycle after the question.

    Parameters
    ----------
    lanes: number of questions a cycle.

    Members
    -------
    context: table set, mode and context. code: its code. entry: code and zeros; base: the class's first rank.
    """

    def __init__(self, lanes: int) -> None:
        self._lanes = lanes
        super().__init__({
            "context": In(data.ArrayLayout(7 + SET_BITS, lanes)),
            "code": Out(data.ArrayLayout(Code(), lanes)),
            "entry": In(data.ArrayLayout(3 + CODE_BITS, lanes)),
            "base": Out(data.ArrayLayout(8, lanes)),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        codes = [Code.number(code) for table_set in CODE_OF for contexts in table_set for code in contexts]
        bases = [min(sum(1 << kind for kind in classes[:zeros] if kind >= 0), 255)
                 for classes in CODES for zeros in range(len(classes))]
        m.submodules.bases = base_store = memory.Memory(shape=8, depth=len(bases), init=bases, attrs=IN_BLOCKS)
        for lane in range(self._lanes):
            m.submodules[f"codes_{lane}"] = code_store = memory.Memory(
                shape=len(self.code[lane].as_value()), depth=len(codes), init=codes, attrs=IN_BLOCKS)
            code, base = code_store.read_port(), base_store.read_port()
            m.d.comb += [code.addr.eq(self.context[lane]), self.code[lane].eq(code.data),
                         base.addr.eq(self.entry[lane]), self.base[lane].eq(base.data)]
        return m
