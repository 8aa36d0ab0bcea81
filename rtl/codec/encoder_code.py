"""From symbols to codes: two lanes of the encoder's coder."""

from amaranth import Cat, Module, Mux, Signal, unsigned
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out

from .encoder_rank import rank_of
from .encoder_statistics import delayed
from .encoder_tile import RANK_CENTRE, Run, symbol_layout
from .tables import (
    CODE_BITS,
    CODE_OF,
    CODES,
    CONST,
    ESCAPE_ZEROS,
    LONGEST_CODE,
    MODE_BITS,
    MODES,
    RUN,
    SET_BITS,
    Z,
)

LATENCY = 7
"""Cycles from a symbol to its code."""

_THRESHOLDS = 7
_LEAF_BITS = 3


class Leaf(data.Struct):
    """A class of a code: `shift` zero bits, a one if `one`, then rank - `base` in `length` - shift - one bits."""

    base: unsigned(8)
    length: unsigned(5)
    shift: unsigned(4)
    one: unsigned(1)


class Code(data.Struct):
    """`length` bits, the first is the lowest: `shift` zeros (15: one less than none), then those of `body`; those above
    are 0."""

    body: unsigned(9)
    shift: unsigned(4)
    length: unsigned(5)


class CodeInput(data.Struct):
    """A value: `first` of its channel; `active`: there is one. `table_set`, `centre`: its tile's."""

    symbol: symbol_layout()
    mode: unsigned(MODE_BITS)
    centre: unsigned(8)
    table_set: unsigned(SET_BITS)
    first: unsigned(1)
    active: unsigned(1)


class _Choice(data.Struct):
    """What a mode says: `upper`, `centre`: the prediction, else the mean; `two`, `four`: runs; `table`: it has a code,
    `value`: the value itself is one, `nothing`: it is no table."""

    upper: unsigned(1)
    centre: unsigned(1)
    two: unsigned(1)
    four: unsigned(1)
    table: unsigned(1)
    value: unsigned(1)
    nothing: unsigned(1)


def thresholds(code: tuple[int, ...]) -> list[int]:
    """The first rank of each class after the first, and of the escape; RANK_CENTRE where there is none."""
    bases, base = [], 0
    for kind in code:
        if kind >= 0:
            base += 1 << kind
            bases.append(min(base, RANK_CENTRE))
    if len(bases) > _THRESHOLDS:
        raise ValueError(f"a code must have a class for the centre: {code}")
    return bases + [RANK_CENTRE] * (_THRESHOLDS - len(bases))


def leaves(code: tuple[int, ...]) -> list[dict[str, int]]:
    """What `Leaf` says of each class of ranks, the escape as the last; then of the centre, a run, a
    constant channel's value."""
    found, special = [], {}
    base = 0
    for zeros, kind in enumerate(code):
        if kind in (Z, RUN):
            special[kind] = {"base": RANK_CENTRE, "length": zeros + 1, "shift": zeros, "one": 1}
            continue
        found.append({"base": min(base, RANK_CENTRE), "length": zeros + 1 + kind, "shift": zeros, "one": 1})
        base += 1 << kind
    found.append({"base": 0, "length": LONGEST_CODE, "shift": ESCAPE_ZEROS - 1, "one": 0})
    nothing = {"base": 0, "length": 0, "shift": 0, "one": 0}
    found += [nothing] * (_THRESHOLDS + 1 - len(found))
    const = {"base": 0, "length": 8, "shift": 15, "one": 0}  # its lowest bit where a one would be
    return [*found, special.get(Z, nothing), special.get(RUN, nothing), const, *[nothing] * (_THRESHOLDS - 2)]


def classes(code: tuple[int, ...]) -> list[int]:
    """The class of each rank."""
    starts = thresholds(code)
    return [sum(rank >= start for start in starts) for rank in range(256)]


class CodePair(wiring.Component):
    """The codes of two values, LATENCY cycles after them: the rank, its class, and what the class says, from ROMs that
    both lanes read.

    Members
    -------
    i: two values. o: their codes; length 0 where a value needs none.
    """

    i: In(data.ArrayLayout(CodeInput, 2))
    o: Out(data.ArrayLayout(Code, 2))

    def elaborate(self, platform: object) -> Module:
        m = Module()
        roms = {
            "codes": (CODE_BITS, [code for modes in CODE_OF for contexts in modes for code in contexts]),
            "classes": (_LEAF_BITS, [place for code in CODES for place in classes(code)]),
            "leaves": (Leaf.as_shape().size, [Leaf.const(leaf).as_value().value for code in CODES
                                              for leaf in leaves(code)]),
        }
        ports = {}
        for name, (width, init) in roms.items():
            m.submodules[name] = rom = memory.Memory(
                shape=width, depth=len(init), init=init, attrs={"rom_style": "block"})
            ports[name] = [rom.read_port(), rom.read_port()]
        for lane in range(2):
            self._lane(m, lane, {name: pair[lane] for name, pair in ports.items()})
        return m

    def _lane(self, m: Module, lane: int, roms: dict) -> None:
        # Stage 1: what the mode means.
        came = self.i[lane]
        select = Signal(3 + SET_BITS, name=f"select_{lane}", reset_less=True)
        given, choice = Signal(CodeInput, name=f"given_{lane}", reset_less=True), Signal(
            _Choice, name=f"choice_{lane}", reset_less=True)
        symbol, mode = given.symbol, came.mode
        table, first_const = came.active & ~mode[3], came.active & came.first & (mode == CONST)
        m.d.sync += [given.eq(came), select.eq(Cat(mode[:3], came.table_set)), choice.eq(0), choice.table.eq(table),
                     choice.value.eq(first_const), choice.nothing.eq(mode[3])]
        with m.Switch(Cat(mode[:3], came.table_set)):
            for number, (predictor, length) in enumerate(mode for modes in MODES for mode in modes):
                with m.Case(number):
                    m.d.sync += [choice.upper.eq(predictor == "U"), choice.centre.eq(predictor == "Z"),
                                 choice.two.eq(length == 2), choice.four.eq(length == 4)]
        # Stage 2: what it makes of the value.
        prediction, run = Signal(8, name=f"prediction_{lane}", reset_less=True), Signal(Run, name=f"run_{lane}")
        m.d.comb += run.eq((symbol.two.as_value() & choice.two.replicate(2)) |
                           (symbol.four.as_value() & choice.four.replicate(2)))
        m.d.sync += prediction.eq(Mux(choice.centre, given.centre, Mux(choice.upper, symbol.upper, symbol.mean)))
        with m.If(choice.nothing):
            m.d.sync += prediction.eq(0)
        value, centre, where = (Signal(width, name=f"{name}_{lane}", reset_less=True) for name, width in (
            ("value", 8), ("centre", 8), ("where", 7 + SET_BITS)))
        m.d.sync += [value.eq(symbol.value), centre.eq(given.centre),
                     where.eq(Cat(Mux(choice.centre, symbol.spread, symbol.map), select))]
        m.d.comb += roms["codes"].addr.eq(where)
        centred = delayed(m, symbol.is_centre & choice.table, f"centred_{lane}", 4)
        none = delayed(m, (~choice.table & ~choice.value) | (choice.table & run.covered), f"none_{lane}", 5)
        consts, begins = delayed(m, choice.value, f"const_{lane}", 4), delayed(m, run.begins, f"begins_{lane}", 4)
        # Stage 4: the rank, of a constant channel the value; stage 5: its class; stage 6: its leaf.
        ranks = [Signal(8, name=f"rank_{lane}", reset_less=True, init=RANK_CENTRE)]
        code = Signal(CODE_BITS, name=f"code_{lane}", reset_less=True)
        m.d.sync += [ranks[0].eq(rank_of(m, str(lane), value, prediction, centre, consts[2])),
                     code.eq(roms["codes"].data)]
        with m.If(centred[2]):
            m.d.sync += ranks[0].eq(RANK_CENTRE)
        ranks, codes = delayed(m, ranks[0], f"rank_{lane}", 2), delayed(m, code, f"code_{lane}", 1)
        m.d.comb += roms["classes"].addr.eq(Cat(ranks[0], codes[0]))
        special = centred[4] | consts[4]
        place = Mux(special, Cat(begins[4], consts[4], 0), roms["classes"].data)
        m.d.comb += roms["leaves"].addr.eq(Cat(place, special, codes[1]))
        leaf = Leaf(roms["leaves"].data)
        # Stage 7: the class and what follows it.
        extra, result = Signal(8, name=f"extra_{lane}", reset_less=True), Signal(Code, name=f"result_{lane}")
        one = Signal(name=f"one_{lane}", reset_less=True)
        m.d.sync += [extra.eq(ranks[2] - leaf.base), one.eq(leaf.one), result.shift.eq(leaf.shift),
                     result.length.eq(leaf.length)]
        with m.If(none[5]):
            m.d.sync += [extra.eq(0), one.eq(0), result.length.eq(0), result.shift.eq(0)]
        m.d.comb += [self.o[lane].eq(result), self.o[lane].body.eq(Cat(one, extra))]
