"""The serial bridge under Icarus: good requests, bad ones, and a good one after each."""

import random
from collections.abc import Iterator
from typing import Any

import cocotb
from cocotb.triggers import ClockCycles, FallingEdge, RisingEdge

from systolith.rtl.frames import REPLY, Command, LinkStatus, check_sum
from systolith.rtl.ports import HostRequest, HostResponse
from systolith.rtl.uart import UartBridge
from tb.streams import Sink, Source, read, stalls, start
from tests.test_uart import BAD, DIVISOR, TIMEOUT, WORDS, frame, reply


def benches() -> Iterator[Any]:
    yield "uart", UartBridge(DIVISOR, WORDS, TIMEOUT), {}


class _Host:
    def __init__(self, dut: Any) -> None:
        self._dut = dut
        dut.rx.value = 1
        self.memory: dict[int, int] = {}
        self._requests = Sink(dut, "bus__request", HostRequest)
        self._responses = Source(dut, "bus__response", HostResponse)
        self._got = bytearray()

    async def begin(self) -> None:
        await start(self._dut)
        cocotb.start_soon(self._listen())
        cocotb.start_soon(self._serve())

    async def _listen(self) -> None:
        while True:
            await FallingEdge(self._dut.tx)
            await ClockCycles(self._dut.clk, DIVISOR // 2)
            byte = 0
            for bit in range(8):
                await ClockCycles(self._dut.clk, DIVISOR)
                byte |= read(self._dut.tx) << bit
            await ClockCycles(self._dut.clk, DIVISOR)
            assert read(self._dut.tx), "no stop bit"
            self._got.append(byte)

    async def _serve(self) -> None:
        """Words at 0x100 to 0x1FF, errors elsewhere."""
        stall = stalls(9, long=10)
        while True:
            request = (await self._requests.take(1, stall, patience=1000000))[0]
            where = request["address"]
            error = not 0x100 <= where < 0x200
            if request["write"] and not error:
                self.memory[where] = request["data"]
            data = 0 if error or request["write"] else self.memory.get(where, 0)
            await self._responses.send([{"data": data, "error": int(error)}], stall)

    async def say(self, text: bytes) -> None:
        for byte in text:
            for bit in (0, *(byte >> i & 1 for i in range(8)), 1):
                self._dut.rx.value = bit
                await ClockCycles(self._dut.clk, DIVISOR)

    async def hear(self, size: int, cycles: int = 4000) -> bytes:
        for _ in range(cycles):
            if len(self._got) >= size:
                break
            await RisingEdge(self._dut.clk)
        got = bytes(self._got)
        self._got.clear()
        return got

    async def expect(self, text: bytes) -> None:
        got = await self.hear(len(text))
        assert got == text, f"{got.hex()} is not {text.hex()}"


@cocotb.test()
async def writes_and_reads(dut: Any) -> None:
    host = _Host(dut)
    await host.begin()
    rng = random.Random(3)
    expected: dict[int, int] = {}
    for sequence in range(10):
        words = rng.randint(1, WORDS)
        where = 0x100 + 4 * rng.randrange(4)
        if sequence % 2 == 0:
            data = [rng.getrandbits(32) for _ in range(words)]
            await host.say(frame(sequence, Command.WRITE, words, where, data))
            await host.expect(reply(sequence, LinkStatus.OK))
            expected.update(zip(range(where, where + 4 * words, 4), data, strict=True))
            assert host.memory == expected
        else:
            await host.say(frame(sequence, Command.READ, words, where))
            await host.expect(reply(sequence, LinkStatus.OK, [expected.get(where + 4 * i, 0) for i in range(words)]))
    await host.say(frame(1, Command.READ, 2, 0x1FC))
    await host.expect(reply(1, LinkStatus.BUS, [0x200]))


@cocotb.test()
async def bad_frames(dut: Any) -> None:
    """One error reply each, no effect, and the next request works; STATUS names them all."""
    host = _Host(dut)
    await host.begin()
    for sequence, (text, status) in enumerate(BAD.values()):
        await host.say(text)
        got = await host.hear(6)
        assert got[0] == REPLY and got[2:4] == bytes((status, 0)) and got[4:] == check_sum(got[1:4])
        assert set(host.memory) <= {0x180}
        await host.say(frame(sequence, Command.WRITE, 1, 0x180, [sequence]))
        await host.expect(reply(sequence, LinkStatus.OK))
        assert host.memory == {0x180: sequence}
    bits = sum(1 << status for status in {status for _, status in BAD.values()})
    for expected in (bits, 0):
        await host.say(frame(7, Command.STATUS, 0, 0))
        await host.expect(reply(7, LinkStatus.OK, [expected]))
