"""The unified memory: banks that every unit reaches through its own port."""

from functools import reduce
from operator import or_

from amaranth import Cat, Module, Mux, ResetInserter, Signal
from amaranth.hdl import ValueLike
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .arbiter import Arbiter
from .bank import Bank
from .config import ADDRESS_BITS
from .memory_port import PortAccess, ReadReturn, WriteTurn, return_latency
from .ports import MemoryReadPort, MemoryWritePort

_BANK_REGISTERS = 2
"""Cycles of the registers in front of a bank and behind it: banks lie where a chip has its memories, far from logic."""


def _any(terms: list[ValueLike]) -> ValueLike:
    return reduce(or_, terms, 0)


def bank_of(word: int, banks: int) -> int:
    """The bank of a word; see `PortAccess`."""
    row, column = divmod(word, banks)
    return (column + row) % banks if banks > 2 else column


class UnifiedMemory(wiring.Component):
    """Single-port banks of words, interleaved by word, shared by reading and writing ports.

    An access that is not aligned touches two neighbouring banks in the same cycle, or waits: all or nothing.
    The handshake of a request is the grant: it is combinational, and accesses take effect in the order of the
    cycles in which they were granted. Reads are answered `latencies[name]` cycles after the grant: 5 for aligned
    ports, 6 for the others. Port `first` is never refused; see `Arbiter` for what the others can rely on.

    An address past the end is granted like another and answered with zeros, or dropped, and reported. A read that
    starts inside and reaches past the end is no error; its bytes past the end are not defined. A write that does so
    with its mask is reported, and its bytes inside are written.

    Parameters
    ----------
    size_bytes: a multiple of banks * word_bytes, at least twice that. banks, word_bytes: powers of two, at least 2.
    reads, writes: names of the ports, and whether each takes aligned addresses only (the low bits are ignored).
    first: name of the reading port that always wins.

    Members
    -------
    r_<name>, w_<name>: `MemoryReadPort` and `MemoryWritePort` of each client.
    restart: the order in which ports go is as after power-up from the next cycle on; nothing else changes.
    conflicts: a bit a port, in the order of `ports`: it asked and was refused in this cycle.
    error: pulse, two cycles after the grant: a byte past the end was asked for. error_address: the lowest such
    byte. error_port: index in `ports` (the lowest one, if several ports err at once).
    """

    def __init__(self, size_bytes: int, banks: int, word_bytes: int, reads: dict[str, bool], writes: dict[str, bool],
                 first: str) -> None:
        for name, value in (("banks", banks), ("word_bytes", word_bytes)):
            if value < 2 or value & (value - 1):
                raise ValueError(f"{name} must be a power of two from 2 on, not {value}")
        row = banks * word_bytes
        if size_bytes % row or not 2 * row <= size_bytes <= 1 << ADDRESS_BITS:
            raise ValueError(f"size_bytes must be a multiple of {row} from {2 * row} to {1 << ADDRESS_BITS}, "
                             f"not {size_bytes}")
        if first not in reads:
            raise ValueError(f"first must name a reading port ({', '.join(reads)}), not {first!r}")
        self.size_bytes, self.banks, self.word_bytes = size_bytes, banks, word_bytes
        self.reads, self.writes, self.first = dict(reads), dict(writes), first
        self.ports = [f"r_{name}" for name in reads] + [f"w_{name}" for name in writes]
        self.latencies = {name: 1 + _BANK_REGISTERS + return_latency(aligned) for name, aligned in reads.items()}
        self.latency = max(self.latencies.values())
        super().__init__({
            **{f"r_{name}": In(MemoryReadPort(word_bytes)) for name in reads},
            **{f"w_{name}": In(MemoryWritePort(word_bytes)) for name in writes},
            "restart": In(1),
            "conflicts": Out(len(self.ports)),
            "error": Out(1),
            "error_address": Out(ADDRESS_BITS),
            "error_port": Out(range(max(2, len(self.ports)))),
        })

    def place(self, address: int) -> tuple[int, int, int]:
        """Bank, row and byte where the memory keeps a byte address: for loaders that reach into the banks."""
        word, byte = divmod(address, self.word_bytes)
        return bank_of(word, self.banks), word // self.banks, byte

    def elaborate(self, platform: object) -> Module:
        m = Module()
        arbiter = Arbiter(len(self.ports), self.banks, list(self.reads).index(self.first))
        m.submodules.arbiter = ResetInserter(self.restart)(arbiter)
        accesses = {}
        for index, name in enumerate(self.ports):
            request = getattr(self, name).request
            writes, aligned = name[0] == "w", (self.writes if name[0] == "w" else self.reads)[name[2:]]
            access = PortAccess(self.size_bytes, self.banks, self.word_bytes, aligned, writes)
            m.submodules[f"{name}_access"] = accesses[name] = access
            m.d.comb += [
                access.address.eq(request.payload.address if writes else request.payload),
                access.mask.eq(request.payload.mask if writes else 0),
                arbiter.valid[index].eq(request.valid),
                arbiter.banks[index].eq(access.banks),
                request.ready.eq(arbiter.ready[index]),
                access.go.eq(request.valid & request.ready),
                self.conflicts[index].eq(request.valid & ~request.ready),
            ]
        bank_data = self._banks(m, accesses, self._turns(m, accesses))
        self._answer(m, accesses, bank_data)
        self._report(m, accesses)
        return m

    def _turns(self, m: Module, accesses: dict[str, PortAccess]) -> dict[str, WriteTurn]:
        turns = {}
        for name, aligned in self.writes.items():
            port = f"w_{name}"
            m.submodules[f"{port}_turn"] = turns[port] = turn = WriteTurn(self.word_bytes, aligned)
            payload = getattr(self, port).request.payload
            m.d.comb += [turn.mask.eq(payload.mask), turn.data.eq(payload.data), turn.offset.eq(accesses[port].offset)]
        return turns

    def _banks(self, m: Module, accesses: dict[str, PortAccess], turns: dict[str, WriteTurn]) -> list[Signal]:
        """The banks; at most one port selects each in a cycle, so what reaches them is an OR."""
        outputs = []
        for b in range(self.banks):
            bank = m.submodules[f"bank_{b}"] = Bank(self.size_bytes // (self.banks * self.word_bytes), self.word_bytes)
            enable, address = Signal(), Signal.like(bank.address, reset_less=True)
            mask, write_data, read_data = (Signal.like(part, reset_less=True)
                                           for part in (bank.mask, bank.write_data, bank.read_data))
            m.d.sync += [
                enable.eq(_any([a.low[b] | a.high[b] for a in accesses.values()])),
                address.eq(_any([
                    Mux(a.low[b], a.low_row, 0) | Mux(a.high[b], a.high_row, 0) for a in accesses.values()])),
                mask.eq(_any([Mux(accesses[p].low[b], t.low_mask, 0) | Mux(accesses[p].high[b], t.high_mask, 0)
                              for p, t in turns.items()])),
                write_data.eq(_any([
                    Mux(accesses[p].low[b] | accesses[p].high[b], t.turned, 0) for p, t in turns.items()])),
                read_data.eq(bank.read_data),
            ]
            m.d.comb += [bank.enable.eq(enable), bank.address.eq(address), bank.mask.eq(mask),
                         bank.write_data.eq(write_data)]
            outputs.append(read_data)
        return outputs

    def _answer(self, m: Module, accesses: dict[str, PortAccess], bank_data: list[Signal]) -> None:
        for name, aligned in self.reads.items():
            access, port = accesses[f"r_{name}"], getattr(self, f"r_{name}")
            m.submodules[f"r_{name}_return"] = path = ReadReturn(self.banks, self.word_bytes, aligned)
            accessed = Signal(name=f"r_{name}_accessed")
            m.d.sync += accessed.eq(access.go)
            under_way = Cat(accessed, access.outside, access.low, access.high, access.offset)
            for stage in range(_BANK_REGISTERS):
                later = Signal(len(under_way), name=f"r_{name}_under_way_{stage}")
                m.d.sync += later.eq(under_way)
                under_way = later
            m.d.comb += [
                Cat(path.valid, path.outside, path.low, path.high, path.offset).eq(under_way),
                path.bank_data.eq(Cat(bank_data)),
                port.response.valid.eq(path.response.valid),
                port.response.payload.eq(path.response.payload),
            ]

    def _report(self, m: Module, accesses: dict[str, PortAccess]) -> None:
        m.d.sync += self.error.eq(_any([a.outside for a in accesses.values()]))
        for index, access in reversed(list(enumerate(accesses.values()))):
            with m.If(access.outside):
                m.d.sync += [self.error_address.eq(access.outside_address), self.error_port.eq(index)]
