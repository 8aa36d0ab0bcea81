"""The timing model of external memory under Icarus, with the harness as its storage."""

import random
from collections.abc import Iterator
from typing import Any

import cocotb
from cocotb.triggers import FallingEdge, RisingEdge

from systolith.rtl.external import ExternalMemoryModel
from systolith.rtl.ports import Burst
from tb.harness import parameters
from tb.streams import Sink, Source, read, stalls, start

BITS = 10


def benches() -> Iterator[tuple[str, Any, dict[str, Any]]]:
    """Sizes to run."""
    yield "external", ExternalMemoryModel(4, 12, BITS), {"width": 4}


async def storage(dut: Any, width: int, store: bytearray) -> None:
    """Answer and take beats within the cycle."""
    while True:
        await FallingEdge(dut.clk)  # by now everything that belongs to the cycle has settled
        at = read(dut.store_address) if read(dut.store_read) or read(dut.store_write) else 0
        dut.store_read_data.value = int.from_bytes(store[at:at + width], "little")
        writes = read(dut.store_write)
        if writes:
            store[at:at + width] = read(dut.store_write_data).to_bytes(width, "little")


@cocotb.test()
async def write_and_read_back(dut: Any) -> None:
    """What was written comes back, in order, with both sides stalling."""
    width, rng = parameters()["width"], random.Random(1)
    asked = [{"address": rng.randrange(0, (1 << BITS) - 64 * width, width), "beats": rng.choice([0, 1, 7, 31])}
             for _ in range(20)]
    store, expected = bytearray(1 << BITS), bytearray(1 << BITS)
    values = []
    for burst in asked:
        for n in range(burst["beats"] + 1):
            at = burst["address"] + n * width
            values.append(rng.getrandbits(8 * width))
            expected[at:at + width] = values[-1].to_bytes(width, "little")
    wanted = [int.from_bytes(expected[b["address"] + n * width:][:width], "little")
              for b in asked for n in range(b["beats"] + 1)]
    requests, beats = Source(dut, "port__write_request", Burst), Source(dut, "port__write_data")
    reads, answers = Source(dut, "port__read_request", Burst), Sink(dut, "port__read_data")
    dut.store_read_data.value = 0
    await start(dut)
    cocotb.start_soon(storage(dut, width, store))
    requests.feed(asked, stalls(2))
    beats.feed(values, stalls(3))
    done = 0
    for _ in range(5000):
        await RisingEdge(dut.clk)
        done += read(dut.port__write_done)
        if done == len(asked):
            break
    assert done == len(asked) and store == expected
    reads.feed(asked, stalls(4))
    await answers.check(wanted, stalls(5))
