"""One bank of the unified memory: the place for a memory macro."""

from amaranth import Cat, Module
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out


class Bank(wiring.Component):
    """A single-port memory with byte write enables, zero at start (a reset does not clear it).

    Either reads or writes in a cycle. `read_data` is the word one cycle after `enable` without `mask`;
    at other times it is not defined. On another technology an SRAM macro takes this component's place.

    Parameters
    ----------
    depth: words, at least 2. width: bytes of a word.

    Members
    -------
    enable: 1: access the word at `address`. mask: bytes to write; 0: read. write_data, read_data: words.
    """

    def __init__(self, depth: int, width: int) -> None:
        if depth < 2:
            raise ValueError(f"depth must be at least 2, not {depth}")
        if width < 1:
            raise ValueError(f"width must be at least 1, not {width}")
        self.depth, self.width = depth, width
        super().__init__({
            "enable": In(1),
            "address": In(range(depth)),
            "mask": In(width),
            "write_data": In(8 * width),
            "read_data": Out(8 * width),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.storage = storage = memory.Memory(shape=8 * self.width, depth=self.depth, init=[])
        write = storage.write_port(granularity=8)
        read = storage.read_port()
        m.d.comb += [
            write.addr.eq(self.address),
            write.data.eq(self.write_data),
            write.en.eq(Cat(bit & self.enable for bit in self.mask)),
            read.addr.eq(self.address),
            read.en.eq(self.enable & ~self.mask.any()),
            self.read_data.eq(read.data),
        ]
        return m
