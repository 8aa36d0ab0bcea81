"""The unified memory under Icarus: the traffic of `tests/memory_traffic.py`."""

import random
from collections.abc import Iterator
from typing import Any

import cocotb
from cocotb.triggers import RisingEdge

from systolith.rtl.memory import UnifiedMemory
from systolith.rtl.ports import write_layout
from tb.harness import parameters
from tb.streams import pack, read, start
from tests.memory_traffic import Traffic, drive

READS = {"feeder": False, "weights": True, "vector": False}
WRITES = {"vector": False, "host": True}


def benches() -> Iterator[tuple[str, Any, dict[str, Any]]]:
    """Sizes to run."""
    for size, banks, word in ((1024, 4, 8), (320, 2, 16)):
        memory = UnifiedMemory(size, banks, word, READS, WRITES, "feeder")
        yield f"memory_{banks}x{word}", memory, {
            "size": size, "word": word, "ports": memory.ports,
            "latencies": {f"r_{name}": cycles for name, cycles in memory.latencies.items()}}


@cocotb.test()
async def traffic(dut: Any) -> None:
    """Every answer, every error and the order of effects, under random traffic."""
    size, word, ports = (parameters()[name] for name in ("size", "word", "ports"))
    clients = Traffic(size, word, {p: (READS if p[0] == "r" else WRITES)[p[2:]] for p in ports},
                      parameters()["latencies"], "r_feeder", seed=1, beyond=True)
    noise, layout = random.Random(2), write_layout(word)
    for p in ports:
        getattr(dut, f"{p}__request__valid").value = 0
    dut.restart.value = 0
    await start(dut)
    cycles = 1500
    for cycle in range(cycles + 20):
        asking = clients.requests() if cycle < cycles else clients.asking
        for p in ports:
            valid, payload = drive(p, asking[p], noise)
            getattr(dut, f"{p}__request__valid").value = valid
            getattr(dut, f"{p}__request__payload").value = pack(None if p[0] == "r" else layout, payload)
        dut.restart.value = noise.random() < 0.02  # another order, nothing else
        await RisingEdge(dut.clk)
        ready = {p: read(getattr(dut, f"{p}__request__ready")) for p in ports}
        clients.step(ready, {p: read(getattr(dut, f"{p}__response__payload"))
                             if read(getattr(dut, f"{p}__response__valid")) else None for p in ports if p[0] == "r"})
        error = (read(dut.error_address), read(dut.error_port)) if read(dut.error) else None
        assert error == clients.expected_error(ports)
    assert not any(clients.asking.values()) and not any(clients.due.values())
    assert min(clients.granted.values()) > 50 and clients.errors
