"""A model of external memory's timing, for simulation with the storage outside."""

from amaranth import Module, Signal, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from .ports import Burst, ExternalPort
from .stream_fifo import StreamFifo

QUEUE = 8
"""Read bursts, and write bursts, that the memory accepts ahead."""
CLOCK_BITS = 32


class DueBurst(data.Struct):
    """A burst that may start in cycle `due` at the earliest."""

    burst: Burst
    due: unsigned(CLOCK_BITS)


class ExternalMemoryModel(wiring.Component):
    """External memory that moves one beat a cycle, read or written, with a fixed latency.

    The first beat of a read burst is offered `latency` cycles after its request, or behind what is before it; bursts
    requested in time follow each other without a gap. Beats of an accepted write burst are taken from the next
    cycle but one on; `write_done` comes `latency` cycles after the last. A direction keeps the memory until its
    burst ends or cannot go on; then the other goes first. Reads and writes are not ordered with each other.

    The storage is the harness's: each cycle it answers `store_address` with the beat at `store_read_data`, in the same
    cycle, or takes `store_write_data` at the clock edge where `store_write` is 1. Addresses are in bytes.

    Parameters
    ----------
    width: bytes a beat. latency: cycles, at least 4. address_bits: of the storage; higher ones are ignored.

    Members
    -------
    port: `ExternalPort`. store_address, store_read_data, store_write, store_write_data: see above.
    store_read: 1 while the address is one to read.
    """

    def __init__(self, width: int, latency: int, address_bits: int) -> None:
        if width < 1 or width & (width - 1):
            raise ValueError(f"width must be a power of two, not {width}")
        if not 4 <= latency < 1 << 16:
            raise ValueError(f"latency must be from 4 to 65535, not {latency}")
        if not 1 <= address_bits <= 32:
            raise ValueError(f"address_bits must be from 1 to 32, not {address_bits}")
        self.width, self.latency, self.address_bits = width, latency, address_bits
        super().__init__({
            "port": In(ExternalPort(width)),
            "store_address": Out(address_bits),
            "store_read": Out(1),
            "store_read_data": In(8 * width),
            "store_write": Out(1),
            "store_write_data": Out(8 * width),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.reads = reads = _Beats(self.width)
        m.submodules.writes = writes = _Beats(self.width)
        now = Signal(CLOCK_BITS)
        m.d.sync += now.eq(now + 1)
        # A read beat leaves the storage a cycle before it is offered.
        self._request(m, self.port.read_request, reads, now, self.latency - 1)
        self._request(m, self.port.write_request, writes, now, 0)
        answer, beat = self.port.read_data, self.port.write_data

        can_read, can_write, read, write = Signal(), Signal(), Signal(), Signal()
        reading = Signal()  # who goes on if both can
        m.d.comb += [
            can_read.eq(reads.o.valid & (~answer.valid | answer.ready)),
            can_write.eq(writes.o.valid & beat.valid),
            read.eq(can_read & (reading | ~can_write)),
            write.eq(can_write & ~read),
            reads.o.ready.eq(read),
            writes.o.ready.eq(write),
            beat.ready.eq(write),
            self.store_address.eq(reads.o.payload),
            self.store_read.eq(read),
            self.store_write.eq(write),
            self.store_write_data.eq(beat.payload),
        ]
        with m.If(write):
            m.d.comb += self.store_address.eq(writes.o.payload)
            m.d.sync += reading.eq(writes.last)
        with m.If(read):
            m.d.sync += [answer.payload.eq(self.store_read_data), answer.valid.eq(1), reading.eq(~reads.last)]
        with m.Elif(answer.ready):
            m.d.sync += answer.valid.eq(0)
        done = Signal(self.latency)
        m.d.sync += done.eq((done << 1) | (write & writes.last))
        m.d.comb += self.port.write_done.eq(done[-1])
        return m

    def _request(self, m: Module, request: stream.Interface, beats: "_Beats", now: Signal, wait: int) -> None:
        m.d.comb += [
            beats.now.eq(now),
            beats.i.payload.burst.eq(request.payload),
            beats.i.payload.due.eq(now + wait),
            beats.i.valid.eq(request.valid),
            request.ready.eq(beats.i.ready),
        ]


class _Beats(wiring.Component):
    """The beats of queued bursts: stream `o` of addresses, `last` with the last beat of a burst."""

    def __init__(self, width: int) -> None:
        self.width = width
        super().__init__({
            "now": In(CLOCK_BITS),
            "i": In(stream.Signature(DueBurst)),
            "o": Out(stream.Signature(unsigned(32))),
            "last": Out(1),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.queue = queue = StreamFifo(DueBurst, QUEUE)
        wiring.connect(m, wiring.flipped(self.i), queue.i)
        active, started = Signal(), Signal()
        address, left, due = Signal(32), Signal(8), Signal(CLOCK_BITS)
        m.d.comb += [
            self.last.eq(left == 0),
            # Once due always due, however long it waits.
            self.o.valid.eq(active & (started | ((self.now - due)[:CLOCK_BITS].as_signed() >= 0))),
            self.o.payload.eq(address),
        ]
        with m.If(self.o.valid):
            m.d.sync += started.eq(1)
        with m.If(self.o.valid & self.o.ready):
            m.d.sync += [address.eq(address + self.width), left.eq(left - 1)]
        with m.If(~active | (self.o.valid & self.o.ready & self.last)):
            m.d.comb += queue.o.ready.eq(1)
            m.d.sync += [
                active.eq(queue.o.valid),
                started.eq(0),
                address.eq(queue.o.payload.burst.address),
                left.eq(queue.o.payload.burst.beats),
                due.eq(queue.o.payload.due),
            ]
        return m
