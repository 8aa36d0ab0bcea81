"""From symbols to codes: two lanes of the encoder's coder."""

from amaranth import Cat, Module, Mux, Signal, Value, unsigned
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out

from .encoder_tile import RANK_CENTRE, symbol_layout
from .tables import (
    CODE_OF,
    CODES,
    CONST,
    ESCAPE_ZEROS,
    LONGEST_CODE,
    MODE_BITS,
    MODES,
    RUN,
    TABLE_MODES,
    Z,
)

LATENCY = 6
"""Cycles from a symbol to its code."""

_THRESHOLDS = 7
_CODE_BITS, _LEAF_BITS = 5, 3


class Leaf(data.Struct):
    """A class of a code: `shift` zero bits, a one if `one`, then rank - `base` in `length` - shift - one bits."""

    base: unsigned(8)
    length: unsigned(5)
    shift: unsigned(3)
    one: unsigned(1)


class Code(data.Struct):
    """`length` bits, the first is the lowest: `shift` zeros, then those of `body`; those above are 0."""

    body: unsigned(9)
    shift: unsigned(3)
    length: unsigned(5)


class CodeInput(data.Struct):
    """A value: `first` of its channel; `active`: there is one. `single`: its tile has one row."""

    symbol: symbol_layout()
    mode: unsigned(MODE_BITS)
    single: unsigned(1)
    first: unsigned(1)
    active: unsigned(1)


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
    """What `Leaf` says of each class of ranks, the escape as the last; then of the centre and of a run."""
    found, special, base = [], {}, 0
    for zeros, kind in enumerate(code):
        if kind in (Z, RUN):
            special[kind] = {"base": RANK_CENTRE, "length": zeros + 1, "shift": zeros, "one": 1}
            continue
        found.append({"base": min(base, RANK_CENTRE), "length": zeros + 1 + kind, "shift": zeros, "one": 1})
        base += 1 << kind
    found.append({"base": 0, "length": LONGEST_CODE, "shift": ESCAPE_ZEROS - 1, "one": 0})
    nothing = {"base": 0, "length": 0, "shift": 0, "one": 0}
    found += [nothing] * (_THRESHOLDS + 1 - len(found))
    return [*found, special.get(Z, nothing), special.get(RUN, nothing), *[nothing] * (_THRESHOLDS - 1)]


class CodePair(wiring.Component):
    """The codes of two values, LATENCY cycles after them.

    A code's class is found by comparing the rank with three thresholds, each from a ROM that two lanes share.

    Members
    -------
    i: two values. o: their codes; length 0 where a value needs none.
    """

    i: In(data.ArrayLayout(CodeInput, 2))
    o: Out(data.ArrayLayout(Code, 2))

    def elaborate(self, platform: object) -> Module:
        m = Module()
        starts = [thresholds(code) for code in CODES]
        by_context = [CODE_OF[table_set][mode][context] for table_set in range(2) for mode in range(TABLE_MODES)
                      for context in range(16)]
        roms = {
            "first": (8 + _CODE_BITS, [starts[code][3] | code << 8 for code in by_context]),
            "second": (8, [start[place] for start in starts for place in (1, 5)]),
            "third": (8, [start[place] for start in starts for place in (0, 2, 4, 6)]),
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
        def later(value: Value, name: str) -> Signal:
            register = Signal.like(value, name=f"{name}_{lane}", reset_less=True)
            m.d.sync += register.eq(value)
            return register

        given = self.i[lane]
        symbol, mode = given.symbol, given.mode[:3]
        select = Cat(mode, given.single)
        table = given.active & ~given.mode[3]
        # Stage 1: what the mode makes of the value.
        rank, context, run = (Signal(width, name=f"{name}_{lane}") for name, width in (
            ("chosen", 8), ("context", 4), ("run", 2)))
        m.d.comb += [rank.eq(symbol.a), context.eq(symbol.map)]
        with m.Switch(select):
            for number, (predictor, length) in enumerate((*MODES[0], *MODES[1])):
                with m.Case(number):
                    if predictor == "U":
                        m.d.comb += rank.eq(Mux(given.first, symbol.a, symbol.u))
                    elif predictor == "Z":
                        m.d.comb += [rank.eq(symbol.z), context.eq(symbol.spread)]
                    if length:
                        m.d.comb += run.eq(symbol.two if length == 2 else symbol.four)
        ranks = [later(rank, "rank_1")]
        where = later(Cat(context, select), "where")
        begins = later(run[0], "begins_1")
        special = [later(table & (rank == RANK_CENTRE), "special_1")]
        none = [later(~table | run[1], "none_1")]
        const = [later(given.active & given.first & (given.mode == CONST), "const_1")]
        value = [later(symbol.u, "value_1")]
        runs = [begins]
        for stage in range(2, 6):
            for chain, name in ((ranks, "rank"), (special, "special"), (none, "none"), (const, "const"),
                                (value, "value"), (runs, "begins")):
                chain.append(later(chain[-1], f"{name}_{stage}"))
        # Stages 2 to 5: down the tree of thresholds, a ROM a stage.
        m.d.comb += roms["first"].addr.eq(where)
        first = roms["first"].data
        high = ranks[1] >= first[:8]
        m.d.comb += roms["second"].addr.eq(Cat(high, first[8:]))
        code, high = later(first[8:], "code_3"), later(high, "high_3")
        middle = ranks[2] >= roms["second"].data
        m.d.comb += roms["third"].addr.eq(Cat(middle, high, code))
        code, upper = later(code, "code_4"), later(Cat(middle, high), "upper_4")
        low = ranks[3] >= roms["third"].data
        m.d.comb += roms["leaves"].addr.eq(Cat(Mux(special[3], runs[3], Cat(low, upper)), special[3], code))
        leaf = Leaf(roms["leaves"].data)
        # Stage 6: the class and what follows it.
        extra = Signal(8, name=f"extra_{lane}", reset_less=True)
        shift, one = later(Mux(const[4], 0, leaf.shift), "shift"), later(leaf.one, "one")
        length = later(Mux(const[4], 8, Mux(none[4], 0, leaf.length)), "length_6")
        plain, silent = later(const[4], "const_6"), later(none[4] & ~const[4], "none_6")
        m.d.sync += extra.eq(Mux(const[4], value[4], ranks[4] - leaf.base))
        body = Mux(silent, 0, Mux(plain, extra, Cat(one, extra)))
        m.d.comb += [self.o[lane].body.eq(body), self.o[lane].shift.eq(shift), self.o[lane].length.eq(length)]
