"""A lane's streams: cuts them into codes."""

from amaranth import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from .decoder_ops import Sizes
from .tables import CODE_BITS, CODES, ESCAPE_ZEROS, LONGEST_CODE, RUN, UNIT_BITS, Z


class CodeClass(data.StructLayout):
    """A class of a code: the first of its ranks; which of the bits behind its one are extra bits; bits of a code of it;
    whether it is the centre's, and whether that and a run of further ones."""

    def __init__(self) -> None:
        super().__init__({"base": 8, "mask": 8, "length": 5, "centre": 1, "run": 1})

    @staticmethod
    def number(code: int, zeros: int, eighth: int) -> int:
        """In this layout, the class of `CODES[code]` with so many zeros; with 7, where the eighth bit is 0, the
        escape: its rank is what stands behind."""
        classes = CODES[code]
        if RUN in classes[1:] or classes.count(Z) != 1 or max(classes) > 7:
            raise ValueError(f"CODES[{code}] must have a run in its first class only, and one centre")
        kind = classes[zeros]
        if zeros == ESCAPE_ZEROS - 1 and not eighth:
            return _class(0, 0xFF, LONGEST_CODE, None)
        base = min(sum(1 << other for other in classes[:zeros] if other >= 0), 255)
        return _class(base, (1 << max(kind, 0)) - 1, zeros + 1 + max(kind, 0), kind)


def _class(base: int, mask: int, length: int, kind: int | None) -> int:
    return Const.cast(CodeClass().const({"base": base, "mask": mask, "length": length, "centre": kind in (Z, RUN),
                                         "run": kind == RUN})).value


class Turn(data.StructLayout):
    """What a stream does: it begins (`fill`), has a code of number `code` (`parse`) or 8 bits (`constant`)."""

    def __init__(self) -> None:
        super().__init__({"fill": 1, "parse": 1, "constant": 1, "code": CODE_BITS})


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
    entry: place in the table of classes: zeros, code, and whether the eighth bit is 1; found: what stands there, a
    cycle later.
    taken, real, unit: a cycle after the turn: a unit that joins, from the payload or from behind it.
    o: in the same cycle. dirty: the stream held a bit that is not 0 before its turn.
    """

    def __init__(self, sizes: Sizes) -> None:
        self._sizes = sizes
        super().__init__({
            "turn": In(Turn()),
            "hungry": Out(1),
            "entry": Out(4 + CODE_BITS),
            "found": In(CodeClass()),
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
        window, zeros = Signal(UNIT_BITS), Signal(3)
        m.d.comb += [
            window.eq(_shifted(Cat(now.units[0], now.units[1]), now.offset)[:UNIT_BITS]),
            zeros.eq(_first_one(window[:ESCAPE_ZEROS])),
            self.entry.eq(Cat(zeros, self.turn.code, window[ESCAPE_ZEROS - 1])),
        ]
        turn, later_window, later_zeros, later_dirty = Signal(Turn()), Signal(UNIT_BITS), Signal(3), Signal()
        m.d.sync += [
            turn.eq(self.turn), later_window.eq(window), later_zeros.eq(zeros),
            later_dirty.eq(Cat(window, now.units[1], now.units[2]).any()),
        ]
        m.d.comb += self.dirty.eq(later_dirty)
        if self._sizes.period > 2:
            hungry = Signal(init=1)  # many wait for it
            m.d.sync += hungry.eq(_hungry(streams[-2]))
            m.d.comb += self.hungry.eq(hungry)
        else:
            m.d.comb += self.hungry.eq(_hungry(now))
        self._say(m, turn, later_window, later_zeros)
        length = self.found.length & turn.parse.replicate(5) | Cat(Const(0, 3), turn.constant)
        self._shorten(m, turn, held, then, length)
        return m

    def _say(self, m: Module, turn: data.View, window: Value, zeros: Value) -> None:
        """What the code means."""
        found, rank = self.found, Signal(9)
        further = _shifted(window[1:], zeros) & found.mask
        m.d.comb += [
            rank.eq(found.base + further), self.o.centre.eq(found.centre), self.o.run.eq(found.run & turn.parse),
            self.o.rank.eq(rank), self.o.bits.eq(window[:8]),
            self.o.wrong.eq(turn.parse & ~found.centre & (rank[8] | rank[:8].all())),
        ]

    def _shorten(self, m: Module, turn: data.View, held: data.View, then: data.View, length: Value) -> None:
        """Take the code off, and the unit in: at the first place that is empty, and so zero."""
        end, place, joins = Signal(5), Signal(2), Signal(3)
        drop, units, behind = end[4], held.units, held.behind
        m.d.comb += [
            end.eq(held.offset + length),
            place.eq(held.count - drop),
            joins.eq(Cat(self.taken & (place == number) for number in range(3))),
            then.behind.eq(Mux(drop, behind[1:], behind) | joins & (~self.real).replicate(3)),
            then.offset.eq(end), then.count.eq(place + self.taken),
            self.o.missing.eq((turn.parse | turn.constant) & (held.behind[0] | drop & end[:4].any() & held.behind[1])),
        ]
        real = joins & self.real.replicate(3)
        for number in range(3):
            after = units[number + 1] if number < 2 else 0
            m.d.comb += then.units[number].eq(Mux(drop, after, units[number]) | self.unit & real[number].replicate(16))


def _hungry(held: data.View) -> Value:
    """Whether a stream holds fewer than 32 bits."""
    return ~held.count[1] | ~held.count[0] & held.offset.any()


def _shifted(bits: Value, places: Value) -> Value:
    """`bits` without the lowest `places` ones: less is left after each step."""
    for step in reversed(range(len(places))):
        bits = Mux(places[step], bits[1 << step:], bits[:len(bits) - (1 << step)])
    return bits


def _first_one(bits: Value) -> Value:
    """Number of the lowest one of 8 bits; 7 where there is none."""
    low, high = bits[:4].any(), bits[:8]
    four = Mux(low, high[:4], high[4:])
    two = Mux(four[:2].any(), four[:2], four[2:])
    return Cat(~two[0], ~four[:2].any(), ~low)

