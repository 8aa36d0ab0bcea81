"""Places in a ring that several tiles share."""

from amaranth import Module, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out


class Room(wiring.Component):
    """Counts the places of a ring that are taken.

    Parameters
    ----------
    places: of the ring.

    Members
    -------
    asked: `amount` places are wanted, and as many until they are taken. fits: a cycle ago they were asked for and there
    was room; a register, since amounts come from block RAMs. take: they are taken now. give: `returned` places are free
    again.
    """

    def __init__(self, places: int) -> None:
        self._places = places
        bits = places.bit_length()
        super().__init__({"asked": In(1), "amount": In(bits), "fits": Out(1), "take": In(1), "give": In(1),
                          "returned": In(bits)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        left = Signal(self._places.bit_length(), init=self._places)
        self._left = left
        m.d.sync += self.fits.eq(self.asked & (self.amount <= left) & ~self.take)
        with m.If(self.take & self.give):
            m.d.sync += left.eq(left + self.returned - self.amount)
        with m.Elif(self.take):
            m.d.sync += left.eq(left - self.amount)
        with m.Elif(self.give):
            m.d.sync += left.eq(left + self.returned)
        return m


class SymbolRoom(wiring.Component):
    """Counts the steps in the symbols' ring, where a tile may begin before there is room for all of it.

    The symbols of a tile's first channels are written for all pixels before those of the next ones: in `pixels` cycles
    the writes have been everywhere. In that time the coder reads as many steps, since it never waits inside of a tile.
    So a tile may begin where no more than `pixels` steps are missing, if those are of a tile that the coder has begun.

    Parameters
    ----------
    places: of the ring, in steps. shift: a step takes 1 << shift cycles to read, and a pixel one to write.

    Members
    -------
    asked, fits, take: as those of `Room`. steps, pixels: of a tile.
    begins: the coder begins with a tile of `returned` steps. read: it has read a step.
    """

    def __init__(self, places: int, shift: int) -> None:
        self._places, self._shift = places, shift
        bits = places.bit_length()
        super().__init__({"asked": In(1), "steps": In(bits), "pixels": In(bits), "fits": Out(1), "take": In(1),
                          "begins": In(1), "returned": In(bits), "read": In(1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        bits = self._places.bit_length()
        m.submodules.begun = begun = Room(self._places)  # where the steps of tiles that are being read are free
        left = self._left = Signal(signed(bits + 1), init=self._places)
        self._begun, near = begun, Signal()
        m.d.comb += [
            begun.asked.eq(self.asked), begun.amount.eq(self.steps), begun.take.eq(self.take),
            begun.give.eq(self.begins), begun.returned.eq(self.returned), self.fits.eq(begun.fits & near),
        ]
        m.d.sync += near.eq(left + (self.pixels >> self._shift) >= self.steps)
        with m.If(self.take):
            m.d.sync += left.eq(left + self.read - self.steps)
        with m.Else():
            m.d.sync += left.eq(left + self.read)
        return m
