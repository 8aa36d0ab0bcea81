"""The AXI4-Lite bridge under Icarus, with registers behind it: names, responses and independent channels."""

import random
from collections.abc import Iterator
from typing import Any

import cocotb
from cocotb.triggers import RisingEdge

from systolith.rtl.axi_lite import OKAY, SLVERR, AxiLiteBridge
from systolith.rtl.ports import HostRequest, HostResponse
from tb.streams import Sink, Source, read, stalls, start


def benches() -> Iterator[Any]:
    yield "axi_lite", AxiLiteBridge(16), {}


class _Channel:
    """A channel of the manager that stalls on its own."""

    def __init__(self, dut: Any, name: str, seed: int) -> None:
        self._dut, self._name, self._stall = dut, f"axi__{name}", stalls(seed, often=0.5, long=12)
        self._valid, self._ready = getattr(dut, f"{self._name}valid"), getattr(dut, f"{self._name}ready")

    async def send(self, **values: int) -> None:
        for _ in range(next(self._stall)):
            await RisingEdge(self._dut.clk)
        for name, value in values.items():
            getattr(self._dut, self._name + name).value = value
        self._valid.value = 1
        await self._wait(self._ready)
        self._valid.value = 0

    async def take(self, *names: str) -> tuple[int, ...]:
        for _ in range(next(self._stall)):
            await RisingEdge(self._dut.clk)
        self._ready.value = 1
        await self._wait(self._valid)
        self._ready.value = 0
        return tuple(read(getattr(self._dut, self._name + name)) for name in names)

    async def _wait(self, handle: Any) -> None:
        for _ in range(1000):
            await RisingEdge(self._dut.clk)
            if read(handle):
                return
        raise AssertionError(f"{handle._name} did not come")


async def _serve(requests: Sink, responses: Source, memory: dict[int, int]) -> None:
    """Words at 0x1000 to 0x10FF, errors elsewhere."""
    stall = stalls(9, long=10)
    while True:
        request = (await requests.take(1, stall, patience=100000))[0]
        error = not 0x1000 <= request["address"] < 0x1100
        if request["write"] and not error:
            memory[request["address"]] = request["data"]
        data = 0 if error or request["write"] else memory.get(request["address"], 0)
        await responses.send([{"data": data, "error": int(error)}], stall)


@cocotb.test()
async def random_accesses(dut: Any) -> None:
    """Reads and writes, the two channels of a write at their own pace."""
    for name in ("aw", "ar"):
        for signal in ("addr", "prot", "valid"):
            getattr(dut, f"axi__{name}{signal}").value = 0
    for name in ("wdata", "wstrb", "wvalid", "bready", "rready"):
        getattr(dut, f"axi__{name}").value = 0
    memory: dict[int, int] = {}
    requests, responses = Sink(dut, "bus__request", HostRequest), Source(dut, "bus__response", HostResponse)
    aw, w, b, ar, r = (_Channel(dut, name, seed) for seed, name in enumerate(("aw", "w", "b", "ar", "r")))
    await start(dut)
    cocotb.start_soon(_serve(requests, responses, memory))
    rng = random.Random(2)
    expected: dict[int, int] = {}
    for _ in range(100):
        address = rng.choice((0x1000 + 4 * rng.randrange(16), 0x1000 + 4 * rng.randrange(16), 0x2000, 0xFFFC))
        good = 0x1000 <= address < 0x1100
        if rng.random() < 0.5:
            data, strobe = rng.getrandbits(32), rng.choice((15, 15, 15, 0, 5))
            tasks = [cocotb.start_soon(aw.send(addr=address)), cocotb.start_soon(w.send(data=data, strb=strobe))]
            answer = await b.take("resp")
            for task in tasks:
                await task
            assert answer == (OKAY if strobe == 0 or (strobe == 15 and good) else SLVERR,)
            if strobe == 15 and good:
                expected[address] = data
            assert memory == expected
        else:
            await ar.send(addr=address)
            assert await r.take("data", "resp") == ((expected.get(address, 0), OKAY) if good else (0, SLVERR))
