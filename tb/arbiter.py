"""The arbiter under Icarus: the promises of its class under random requests."""

import random
from collections.abc import Iterator
from typing import Any

import cocotb
from cocotb.triggers import RisingEdge

from systolith.rtl.arbiter import Arbiter
from tb.harness import parameters
from tb.streams import read, start


def benches() -> Iterator[tuple[str, Any, dict[str, Any]]]:
    """Sizes to run."""
    yield "arbiter", Arbiter(6, 8, 2), {"ports": 6, "banks": 8, "first": 2}


@cocotb.test()
async def promises(dut: Any) -> None:
    """Banks are exclusive, `first` always wins, and nobody waits longer than promised."""
    ports, banks, first = (parameters()[name] for name in ("ports", "banks", "first"))
    rng = random.Random(1)
    dut.valid.value = dut.banks.value = 0
    await start(dut)
    asking, waited = [-1] * ports, [0] * ports
    for cycle in range(3000):
        often = (0.2, 0.6, 1.0)[cycle // 100 % 3]
        for i in range(ports):
            if asking[i] < 0 and rng.random() < (often if i != first else 0.4):
                low = rng.randrange(banks)
                asking[i] = rng.choice([0, 1 << low, 1 << low, 1 << low | 1 << (low + 1) % banks])
        dut.valid.value = sum((a >= 0) << i for i, a in enumerate(asking))
        dut.banks.value = sum((a if a >= 0 else rng.getrandbits(banks)) << banks * i for i, a in enumerate(asking))
        await RisingEdge(dut.clk)
        ready, used = read(dut.ready), 0
        for i in range(ports):
            if asking[i] < 0:
                continue
            if not ready >> i & 1:
                assert i != first
                waited[i] += not (asking[first] > 0 and asking[first] & asking[i])
                assert waited[i] <= ports - 2, f"port {i} waits too long"
                continue
            assert not used & asking[i], "two ports have one bank"
            used |= asking[i]
            waited[i] = 0
        asking = [-1 if ready >> i & 1 else a for i, a in enumerate(asking)]
