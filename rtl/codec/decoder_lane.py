"""A lane's streams: cuts them into codes."""

from amaranth import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from .decoder_ops import Sizes, choose
from .tables import CODE_BITS, CODES, ESCAPE_ZEROS, RUN, UNIT_BITS, Z


class Code(data.StructLayout):
    """A code as its table has it: number; of each class the bits that follow; the class of the centre, and whether
    class 0 is a run."""

    def __init__(self) -> None:
        super().__init__({"number": CODE_BITS, "bits": data.ArrayLayout(3, ESCAPE_ZEROS), "centre": 3, "run": 1})

    @staticmethod
    def number(code: int) -> int:
        """`code` in this layout."""
        classes = CODES[code]
        if RUN in classes[1:] or classes.count(Z) != 1 or max(classes) > 7:
            raise ValueError(f"CODES[{code}] must have a run in its first class only, and one centre")
        bits = [max(kind, 0) for kind in classes]
        return Const.cast(Code().const({"number": code, "bits": bits, "centre": classes.index(Z),
                                        "run": RUN in classes})).value


class Turn(data.StructLayout):
    """What a stream does: it begins (`fill`), has a code (`parse`) or 8 bits (`constant`)."""

    def __init__(self) -> None:
        super().__init__({"fill": 1, "parse": 1, "constant": 1, "code": Code()})


class Symbol(data.StructLayout):
    """What a code says: the centre, the centre and a run of further ones, or the rank. bits: the 8 next bits as they
    are. missing: bits from behind the tile's end were used; wrong: a rank that there is not."""

    def __init__(self) -> None:
        super().__init__({"centre": 1, "run": 1, "rank": 8, "bits": 8, "missing": 1, "wrong": 1})


class DecoderLane(wiring.Component):
    """Holds the streams of a lane, `sizes.period` of them, which have their turns one after the other.

    A stream holds up to three units, and starts `offset` bits into the first. In its turn it finds the code and its
    class, a cycle later the code's length: the stream is shortened by it, and the unit taken in its turn joins it.

    Parameters
    ----------
    sizes: of the decoder.

    Members
    -------
    turn: of the stream whose turn it is. hungry: it takes a unit if it has a channel.
    entry: place in the table of first ranks, in the same cycle; base: what stands there, a cycle later.
    taken, real, unit: a cycle after the turn: a unit that joins, from the payload or from behind it.
    o: in the same cycle. dirty: the stream held a bit that is not 0 before its turn.
    """

    def __init__(self, sizes: Sizes) -> None:
        self._sizes = sizes
        super().__init__({
            "turn": In(Turn()),
            "hungry": Out(1),
            "entry": Out(3 + CODE_BITS),
            "base": In(8),
            "taken": In(1),
            "real": In(1),
            "unit": In(UNIT_BITS),
            "o": Out(Symbol()),
            "dirty": Out(1),
        })
        layout = data.StructLayout({"units": data.ArrayLayout(UNIT_BITS, 3), "behind": 3, "count": 2, "offset": 4})
        self._streams = [Signal(layout, name=f"stream_{k}") for k in range(sizes.period)]  # the last one has its turn

    def elaborate(self, platform: object) -> Module:
        m = Module()
        streams = self._streams
        now, held, then = streams[-1], streams[0], Signal.like(streams[0])  # in its turn, a cycle later
        m.d.sync += [held.eq(now), streams[1].eq(then)]
        with m.If(self.turn.fill):
            m.d.sync += held.eq(0)
        m.d.sync += [later.eq(earlier) for later, earlier in zip(streams[2:], streams[1:], strict=False)]
        window, zeros, escape = Signal(UNIT_BITS), Signal(3), Signal()
        m.d.comb += [
            window.eq(_shifted(Cat(now.units[0], now.units[1]), now.offset)[:UNIT_BITS]),
            escape.eq(~window[:ESCAPE_ZEROS].any()),
            self.hungry.eq(~now.count[1] | ~now.count[0] & now.offset.any()),
            self.entry.eq(Cat(zeros, self.turn.code.number)),
        ]
        m.d.comb += zeros.eq(_first_one(window[:ESCAPE_ZEROS]))
        turn, later_window, later_zeros, later_escape = Signal(Turn()), Signal(16), Signal(3), Signal()
        bits, centre, run, later_dirty = Signal(3), Signal(), Signal(), Signal()
        code = self.turn.code
        m.d.sync += [
            turn.eq(self.turn), later_window.eq(window), later_zeros.eq(zeros), later_escape.eq(escape),
            bits.eq(choose([code.bits[number] for number in range(ESCAPE_ZEROS)], zeros)),
            centre.eq((code.centre == zeros) & ~escape),
            run.eq(code.run & window[0] & self.turn.parse),
            later_dirty.eq(Cat(window, now.units[1], now.units[2]).any()),
        ]
        m.d.comb += self.dirty.eq(later_dirty)
        self._say(m, turn, later_window, later_zeros, later_escape, bits, centre, run)
        length = Mux(turn.parse, Mux(later_escape, 16, later_zeros + 1 + bits),
                     Cat(Const(0, 3), turn.constant))
        self._shorten(m, turn, held, then, length)
        return m

    def _say(self, m: Module, turn: data.View, window: Value, zeros: Value, escape: Value, bits: Value, centre: Value,
             run: Value) -> None:
        """What the code means."""
        further = _shifted(window[1:], zeros)[:7] & Cat(bits > bit for bit in range(7))
        rank = Signal(9)
        m.d.comb += [
            rank.eq(Mux(escape, window[8:], self.base + further)),
            self.o.centre.eq(centre | run), self.o.run.eq(run), self.o.rank.eq(rank), self.o.bits.eq(window[:8]),
            self.o.wrong.eq(turn.parse & ~centre & ~run & (rank[8] | rank[:8].all())),
        ]

    def _shorten(self, m: Module, turn: data.View, held: data.View, then: data.View, length: Value) -> None:
        """Take the code off, and the unit in: at the first place that is empty, and so zero."""
        end, place, joins = Signal(5), Signal(2), Signal(3)
        drop, units, behind = end[4], held.units, Signal(3)
        m.d.comb += [
            end.eq(held.offset + length),
            place.eq(held.count - drop),
            joins.eq(Cat(self.taken & self.real & (place == number) for number in range(3))),
            behind.eq(held.behind | Cat(self.taken & ~self.real & (held.count == number) for number in range(3))),
            then.behind.eq(Mux(drop, behind[1:], behind)),
            then.offset.eq(end), then.count.eq(Mux(turn.fill, 1, place + self.taken)),
            self.o.missing.eq((length != 0) & (held.behind[0] | drop & (end[:4] != 0) & behind[1])),
        ]
        for number in range(3):
            after = units[number + 1] if number < 2 else 0
            m.d.comb += then.units[number].eq(Mux(drop, after, units[number]) | self.unit & joins[number].replicate(16))


def _shifted(bits: Value, places: Value) -> Value:
    """`bits` without the lowest `places` ones: less is left after each step."""
    for step in reversed(range(len(places))):
        bits = Mux(places[step], bits[1 << step:], bits[:len(bits) - (1 << step)])
    return bits


def _first_one(bits: Value) -> Value:
    """Number of the lowest one of 8 bits; not defined where there is none."""
    low, high = bits[:4].any(), bits[:8]
    four = Mux(low, high[:4], high[4:])
    two = Mux(four[:2].any(), four[:2], four[2:])
    return Cat(~two[0], ~four[:2].any(), ~low)

