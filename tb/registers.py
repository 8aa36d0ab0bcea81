"""The register map and the memory window under Icarus."""

import random
from collections.abc import Iterator
from typing import Any

import cocotb

from systolith.rtl.ports import HostRequest, HostResponse
from systolith.rtl.register_map import BY_NAME, COUNTERS_AT, IDENTIFICATION, MEMORY_AT, SEMAPHORES_AT, register_map
from systolith.rtl.registers import HostRegisters
from tb.harness import parameters
from tb.streams import Sink, Source, read, serve_read, serve_write, stalls, start

COUNTERS = ["cycles", "array_busy"]
MEMORY = 512
INPUTS = ("running", "done", "failed", "clearing", "error_code", "error_information", "pc", "counter_value",
          "semaphores", "pages")


def benches() -> Iterator[Any]:
    for word_bytes in (4, 16):
        yield f"registers_{word_bytes}", HostRegisters(word_bytes, MEMORY, COUNTERS), {"word_bytes": word_bytes}


class _Host:
    def __init__(self, dut: Any) -> None:
        for name in INPUTS:
            getattr(dut, name).value = 0
        dut.give__ready.value = 1
        self._requests = Source(dut, "bus__request", HostRequest)
        self._responses = Sink(dut, "bus__response", HostResponse)
        self._stall = stalls(9, long=8)

    async def __call__(self, address: int, data: int | None = None) -> tuple[int, int]:
        """Data and error of an access."""
        request = {"address": address, "write": int(data is not None), "data": data or 0}
        await self._requests.send([request], self._stall, patience=100)
        answer = (await self._responses.take(1, self._stall, patience=200))[0]
        return answer["data"], answer["error"]


@cocotb.test()
async def registers(dut: Any) -> None:
    """Every location below 1 KiB answers as the map says."""
    host = _Host(dut)
    await start(dut)
    dut.pc.value = 0x123456
    dut.counter_value.value = 77
    dut.semaphores.value = 0xABCD << 16 * 9
    assert await host(0) == (IDENTIFICATION, 0)
    assert await host(BY_NAME["PC"].address) == (0x123456, 0)
    assert await host(COUNTERS_AT + 4) == (77, 0)
    assert await host(SEMAPHORES_AT + 36) == (0xABCD, 0)
    assert await host(BY_NAME["ENTRY"].address, 0x765430) == (0, 0)
    assert read(dut.entry) == 0x765430
    rows = {row["address"]: row["access"] for row in register_map(COUNTERS)}
    for address in [*range(0, 0x400, 4), MEMORY_AT + MEMORY, 0xFFFF_FFFC]:
        how = rows.get(address, "")
        assert (await host(address))[1] == (how not in ("ro", "rw", "rw1c")), hex(address)
        assert (await host(address, 0))[1] == (how not in ("wo", "rw", "rw1c")), hex(address)


@cocotb.test()
async def memory_window(dut: Any) -> None:
    """Random reads and writes; a write changes four bytes only."""
    host = _Host(dut)
    rng = random.Random(4)
    expected = bytearray(rng.randbytes(MEMORY))
    memory = bytearray(expected)
    serve_read(dut, "read", memory, 4, stalls(1, long=10))
    serve_write(dut, "write", memory, parameters()["word_bytes"], stalls(2, long=10))
    await start(dut)
    for _ in range(80):
        offset = rng.choice((0, MEMORY - 4, 4 * rng.randrange(MEMORY // 4)))
        if rng.random() < 0.5:
            data = rng.getrandbits(32)
            expected[offset:offset + 4] = data.to_bytes(4, "little")
            assert await host(MEMORY_AT + offset, data) == (0, 0)
            assert memory == expected
        else:
            assert await host(MEMORY_AT + offset) == (int.from_bytes(expected[offset:offset + 4], "little"), 0)
