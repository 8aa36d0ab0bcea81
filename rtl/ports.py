"""Signatures and payloads of the connections between units."""

from amaranth import signed, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from .config import ADDRESS_BITS
from .isa import SEMAPHORE_NUMBER_BITS, TAKE_BITS


class Take(data.Struct):
    """A unit asks for `count` of a semaphore; the handshake completes when it has them."""

    semaphore: unsigned(SEMAPHORE_NUMBER_BITS)
    count: unsigned(TAKE_BITS)


class Give(data.Struct):
    """A unit adds `count` to a semaphore."""

    semaphore: unsigned(SEMAPHORE_NUMBER_BITS)
    count: unsigned(TAKE_BITS)


class Retired(data.Struct):
    """An instruction has finished: pulse `valid` for one cycle, with the instruction's tag."""

    valid: unsigned(1)
    tag: unsigned(16)


def unit_members(instruction: data.StructLayout, events: data.StructLayout) -> dict[str, wiring.Member]:
    """The members that every unit has.

    instruction: stream of instructions. take, give: semaphores. busy: from the offer of an instruction until its
    signals are given. retired: pulse after that. error: 1 from an instruction that cannot be executed until reset.
    events: what happened in this cycle.
    """
    return {
        "instruction": In(stream.Signature(instruction)),
        "take": Out(stream.Signature(Take)),
        "give": Out(stream.Signature(Give)),
        "busy": Out(1),
        "retired": Out(Retired),
        "error": Out(1),
        "events": Out(events),
    }


class MemoryReadPort(wiring.Signature):
    """A client's reading port of the unified memory, `word_bytes` wide.

    `request` carries a byte address; the handshake is the grant. `response` carries the `word_bytes`
    bytes from that address on, a fixed number of cycles after the grant, in order, and cannot be
    refused (`always_ready`): a client asks only for what it has room for.
    Ports made as aligned take multiples of `word_bytes` only.
    """

    def __init__(self, word_bytes: int) -> None:
        self.word_bytes = word_bytes
        super().__init__({
            "request": Out(stream.Signature(unsigned(ADDRESS_BITS))),
            "response": In(stream.Signature(unsigned(8 * word_bytes), always_ready=True)),
        })


def write_layout(word_bytes: int) -> data.StructLayout:
    """Payload of a write: byte i of `data` goes to `address + i` where bit i of `mask` is set."""
    return data.StructLayout({"address": ADDRESS_BITS, "mask": word_bytes, "data": 8 * word_bytes})


class MemoryWritePort(wiring.Signature):
    """A client's writing port; the handshake is the commit: every read granted later sees the bytes."""

    def __init__(self, word_bytes: int) -> None:
        self.word_bytes = word_bytes
        super().__init__({"request": Out(stream.Signature(write_layout(word_bytes)))})


class Burst(data.Struct):
    """A run of `beats` + 1 beats of the external port from a byte address on."""

    address: unsigned(32)
    beats: unsigned(8)


class ExternalPort(wiring.Signature):
    """External memory, `width` bytes a beat. Reads come back in order; `write_done` pulses once a write burst
    when it is in memory. The memory never refuses `write_data` of an accepted burst for ever."""

    def __init__(self, width: int) -> None:
        self.width = width
        super().__init__({
            "read_request": Out(stream.Signature(Burst)),
            "read_data": In(stream.Signature(unsigned(8 * width))),
            "write_request": Out(stream.Signature(Burst)),
            "write_data": Out(stream.Signature(unsigned(8 * width))),
            "write_done": In(1),
        })


class HostRequest(data.Struct):
    """A 32-bit register access; `address` in bytes, a multiple of 4."""

    address: unsigned(32)
    write: unsigned(1)
    data: unsigned(32)


class HostResponse(data.Struct):
    """The answer to one request (0 for a write); `error` where nothing lives at that address."""

    data: unsigned(32)
    error: unsigned(1)


class HostBus(wiring.Signature):
    """Register bus, seen from the initiator: one response a request, in order."""

    def __init__(self) -> None:
        super().__init__({"request": Out(stream.Signature(HostRequest)),
                          "response": In(stream.Signature(HostResponse))})


def accumulator_row(cols: int) -> data.StructLayout:
    """A row of the accumulators on its way to the vector unit; `last` marks the last row of a block."""
    return data.StructLayout({"data": data.ArrayLayout(signed(32), cols), "last": 1})
