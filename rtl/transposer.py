"""Tiles turned round: words that come as columns leave as rows."""

from amaranth import Module, Mux, Signal, unsigned
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out


class Transposer(wiring.Component):
    """Passes tiles of `size` words of `size` bytes on, those that are marked transposed: byte k of word n in is byte n
    of word k out.

    A square of bytes that shifts down or to the left. A tile comes in one way and leaves the other way, while the
    next one comes in behind it: a word a cycle in the long run, `size` cycles later than it came. A tile that is
    not marked passes at once, when the square is empty.

    Parameters
    ----------
    size: bytes of a word, and words of a tile, at least 2.

    Members
    -------
    i: stream of words. turn: the tile of the word on `i` is to be transposed; the same for all its words.
    o: stream of words. busy: words are inside.
    """

    def __init__(self, size: int) -> None:
        if size < 2:
            raise ValueError(f"size must be at least 2, not {size}")
        self.size = size
        super().__init__({
            "i": In(stream.Signature(unsigned(8 * size))),
            "turn": In(1),
            "o": Out(stream.Signature(unsigned(8 * size))),
            "busy": Out(1),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        n = self.size
        held, got = Signal(range(n + 1)), Signal(range(n + 1))  # words to leave, words that have come behind them
        down = Signal(init=1)  # the tile that comes in shifts down, the one before it leaves the same way
        shift, takes, passes = Signal(), Signal(), Signal()
        word = self.i.payload
        m.d.comb += [
            passes.eq(~self.turn & ~self.busy),
            takes.eq(self.i.valid & self.turn),
            self.busy.eq((held != 0) | (got != 0)),
            # Once a tile has begun to come in, all its words must follow each other.
            shift.eq((takes | ((held != 0) & (got == 0))) & ((held == 0) | self.o.ready)),
            self.o.valid.eq(Mux(held != 0, takes | (got == 0), passes & self.i.valid)),
            self.i.ready.eq(Mux(self.turn, (held == 0) | self.o.ready, passes & self.o.ready)),
        ]
        cells = [[Signal(8, name=f"cell_{row}_{column}", reset_less=True) for column in range(n)] for row in range(n)]
        out = Signal(8 * n)
        m.d.comb += out.eq(word)
        with m.If(held != 0):
            for k in range(n):
                m.d.comb += out.word_select(k, 8).eq(Mux(down, cells[n - 1][k], cells[n - 1 - k][0]))
        m.d.comb += self.o.payload.eq(out)
        for row in range(n):
            for column in range(n):
                above = cells[row - 1][column] if row else word.word_select(column, 8)
                right = cells[row][column + 1] if column < n - 1 else word.word_select(n - 1 - row, 8)
                with m.If(shift):
                    m.d.sync += cells[row][column].eq(Mux(down, above, right))
        left, come = Signal.like(held), Signal.like(got)
        m.d.comb += [left.eq(held - (held != 0)), come.eq(got + takes)]
        with m.If(shift):
            m.d.sync += [held.eq(left), got.eq(come)]
            with m.If((come == n) & (left == 0)):
                m.d.sync += [held.eq(n), got.eq(0), down.eq(~down)]
        return m
