"""Places in a ring that several tiles share."""

from amaranth import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out


class Room(wiring.Component):
    """Counts the places of a ring that are taken.

    Parameters
    ----------
    places: of the ring.

    Members
    -------
    fits: there is room for `amount` more. take: they are taken now. give: `returned` places are free again.
    """

    def __init__(self, places: int) -> None:
        self._places = places
        bits = places.bit_length()
        super().__init__({"amount": In(bits), "fits": Out(1), "take": In(1), "give": In(1), "returned": In(bits)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        left = Signal(self._places.bit_length(), init=self._places)
        m.d.comb += self.fits.eq(self.amount <= left)
        with m.If(self.take & self.give):
            m.d.sync += left.eq(left + self.returned - self.amount)
        with m.Elif(self.take):
            m.d.sync += left.eq(left - self.amount)
        with m.Elif(self.give):
            m.d.sync += left.eq(left + self.returned)
        return m
