"""The pack unit with the pager that gives it pages."""

from amaranth import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from systolith.rtl.pack_unit import PackUnit
from systolith.rtl.pager import Pager
from tests.pack_cases import Sizes


class PackLoop(wiring.Component):
    """A `PackUnit` on a `Pager`. Members: those of the unit, but for the pager's; pager_error: a misuse."""

    def __init__(self, sizes: Sizes) -> None:
        self.sizes = sizes
        self.unit = PackUnit(**sizes.unit())
        super().__init__({name: member for name, member in self.unit.signature.members.items()
                          if not name.startswith("page_") and name != "limit"} | {"pager_error": Out(1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        sizes = self.sizes
        m.submodules.unit = unit = self.unit
        beyond = sizes.beyond if sizes.external_bytes else 0
        m.submodules.pager = pager = Pager(sizes.pages, beyond, sizes.streams, 4, 1)
        wiring.connect(m, unit.page_request, pager.requests[0])
        wiring.connect(m, pager.responses[0], unit.page_response)
        m.d.comb += [pager.limit.eq(unit.limit), self.pager_error.eq(pager.error)]
        for name, member in self.signature.members.items():
            if name == "pager_error":
                continue
            mine, theirs = getattr(self, name), getattr(unit, name)
            if member.is_signature:
                ends = (wiring.flipped(mine), theirs) if member.flow == In else (theirs, wiring.flipped(mine))
                wiring.connect(m, *ends)
            else:
                m.d.comb += mine.eq(theirs) if member.flow == Out else theirs.eq(mine)
        return m
