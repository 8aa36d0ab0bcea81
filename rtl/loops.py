"""Hardware loops: a stack of those that run."""

from amaranth import Module, Signal, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from .config import ADDRESS_BITS


class LoopFrame(data.Struct):
    """A loop that runs: where its body starts, and how many times it is still to run, this time included."""

    body: unsigned(ADDRESS_BITS)
    count: unsigned(16)


class LoopStack(wiring.Component):
    """Loops that nest up to `depth` deep. Outputs belong to the state before the cycle's pulses.

    Parameters
    ----------
    depth: at least 1.

    Members
    -------
    enter: pulse; a loop with body at `body` that runs `count` times (at least 1). Ignored while `full`.
    following: pulse; the innermost body has ended. Ignored while `empty`.
    again: the innermost body is to run once more, at `target`. full, empty: depth reached; no loop runs.
    clear: no loop runs.
    """

    def __init__(self, depth: int) -> None:
        if depth < 1:
            raise ValueError(f"depth must be at least 1, not {depth}")
        self.depth = depth
        super().__init__({
            "enter": In(1),
            "body": In(ADDRESS_BITS),
            "count": In(16),
            "following": In(1),
            "again": Out(1),
            "target": Out(ADDRESS_BITS),
            "full": Out(1),
            "empty": Out(1),
            "clear": In(1),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        frames = Signal(data.ArrayLayout(LoopFrame, self.depth), reset_less=True)
        level = Signal(range(self.depth + 1))
        inner = Signal(LoopFrame)
        for number in range(self.depth):
            with m.If(level == number + 1):
                m.d.comb += inner.eq(frames[number])
                with m.If(self.following):
                    m.d.sync += frames[number].count.eq(inner.count - 1)
            with m.If((level == number) & self.enter):
                m.d.sync += [frames[number].body.eq(self.body), frames[number].count.eq(self.count)]
        m.d.comb += [
            self.full.eq(level == self.depth),
            self.empty.eq(level == 0),
            self.again.eq(~self.empty & (inner.count != 1)),
            self.target.eq(inner.body),
        ]
        with m.If(self.clear):
            m.d.sync += level.eq(0)
        with m.Elif(self.enter & ~self.full):
            m.d.sync += level.eq(level + 1)
        with m.Elif(self.following & ~self.empty & ~self.again):
            m.d.sync += level.eq(level - 1)
        return m
