"""The pack unit's pages outside: runs of pieces become bursts of the external port."""

from amaranth import Module, Signal, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from .blocks import MAX_BURST
from .mover_words import Unpacker
from .pack_bytes import PIECE_BYTES
from .ports import Burst
from .skid import Skid

BURST_BITS = 6
"""Bursts are numbered modulo 2**BURST_BITS."""
_AHEAD = 16
"""Bursts on their way, and behind the oldest end of an instruction, at most."""


class OutsideRun(data.Struct):
    """The next `pieces` pieces go to external memory from `address` on."""

    address: unsigned(32)
    pieces: unsigned((MAX_BURST * PIECE_BYTES).bit_length())


def run_pieces(external_bytes: int) -> int:
    """Pieces of the longest run: it is one burst."""
    return MAX_BURST * external_bytes // PIECE_BYTES


class PackOutside(wiring.Component):
    """Writes runs of pieces to external memory, a beat a cycle.

    Parameters
    ----------
    external_bytes: of a beat, 1 to 8.

    Members
    -------
    run: stream of `OutsideRun`, a burst each. i: stream of their pieces.
    write_request, write_data, write_done: the writing half of `ExternalPort`.
    issued, done: bursts that were asked for, that are in external memory; modulo 2**BURST_BITS.
    oldest: number that is still compared with them: they stay near.
    busy: a burst, or a beat, has not been taken yet.
    """

    def __init__(self, external_bytes: int) -> None:
        self._external_bytes = external_bytes
        super().__init__({
            "run": In(stream.Signature(OutsideRun)),
            "i": In(stream.Signature(8 * PIECE_BYTES)),
            "write_request": Out(stream.Signature(Burst)),
            "write_data": Out(stream.Signature(8 * external_bytes)),
            "write_done": In(1),
            "issued": Out(BURST_BITS), "done": Out(BURST_BITS), "oldest": In(BURST_BITS), "busy": Out(1),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.bursts = bursts = Skid(Burst)
        m.submodules.beats = beats = Skid(8 * self._external_bytes)
        m.submodules.unpacker = unpacker = Unpacker(PIECE_BYTES, self._external_bytes)
        connect(m, flipped(self.i), unpacker.i)
        connect(m, unpacker.o, beats.i)
        connect(m, beats.o, flipped(self.write_data))
        connect(m, bursts.o, flipped(self.write_request))
        room, under_way, behind = Signal(), Signal(BURST_BITS), Signal(BURST_BITS)
        m.d.comb += [
            under_way.eq(self.issued - self.done), behind.eq(self.issued - self.oldest),
            room.eq((under_way < _AHEAD) & (behind < _AHEAD)),
            bursts.i.valid.eq(self.run.valid & room), self.run.ready.eq(bursts.i.ready & room),
            bursts.i.payload.address.eq(self.run.payload.address),
            bursts.i.payload.beats.eq(self.run.payload.pieces * (PIECE_BYTES // self._external_bytes) - 1),
            self.busy.eq(bursts.o.valid | beats.o.valid),
        ]
        m.d.sync += [self.issued.eq(self.issued + (self.run.valid & self.run.ready)),
                     self.done.eq(self.done + self.write_done)]
        return m
