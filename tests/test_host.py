"""The host's driver against the serial bridge and the registers, in the simulator."""

import random
import sys

import pytest
from amaranth import Module
from amaranth.lib import wiring

from systolith.gen.errors import UserError
from systolith.gen.host import BusError, Host, LinkError, MachineError, UartLink, open_serial
from systolith.rtl.errors import ErrorCode
from systolith.rtl.register_map import BY_NAME, MEMORY_AT
from systolith.rtl.registers import HostRegisters
from systolith.rtl.uart import UartBridge
from tests.serial_line import SimulatedLine, until
from tests.streams import read_server, write_server

DIVISOR, WORDS, TIMEOUT, MEMORY = 4, 8, 200, 512
NAMES = ["cycles", "array_busy"]


class Device:
    """A bridge and registers; a stand-in for the sequencer runs 100 cycles, and fails when the entry is 0xBAD0."""

    def __init__(self, **line):
        self.memory = bytearray(random.Random(1).randbytes(MEMORY))
        m = Module()
        m.submodules.bridge = bridge = UartBridge(DIVISOR, WORDS, TIMEOUT)
        m.submodules.registers = self.registers = HostRegisters(8, MEMORY, NAMES, (1, 2, 3), 0xC0FFEE)
        wiring.connect(m, bridge.bus, self.registers.bus)
        self.starts = 0
        self.line = SimulatedLine(m, bridge.rx, bridge.tx, DIVISOR, [
            read_server(self.registers.read, self.memory), write_server(self.registers.write, self.memory),
            self._machine], patience=1500, **line)

    async def _machine(self, ctx):
        r = self.registers
        ctx.set(r.counter_value, 100)
        while True:
            await until(ctx, r.start | r.clear)
            if ctx.get(r.failed):
                ctx.set(r.failed, 0)
                continue
            self.starts += 1
            ctx.set(r.running, 1)
            for _ in range(100):
                await ctx.tick()
            ctx.set(r.running, 0)
            failed = ctx.get(r.entry) == 0xBAD0
            ctx.set(r.failed, failed)
            ctx.set(r.done, not failed)
            ctx.set(r.error_code, ErrorCode.ILLEGAL_INSTRUCTION if failed else 0)
            ctx.set(r.error_information, 0xBAD4 if failed else 0)


def test_memory_and_run() -> None:
    device = Device()
    host = Host(UartLink(device.line, WORDS))
    assert (host.version, host.config_hash, host.memory_bytes) == ((1, 2, 3), 0xC0FFEE, MEMORY)
    expected = bytearray(device.memory)
    for address, size in ((0, 36), (3, 2), (101, 9), (MEMORY - 1, 1), (MEMORY, 0)):
        assert host.read_memory(address, size) == expected[address:address + size]
        data = random.Random(address).randbytes(size)
        expected[address:address + size] = data
        host.write_memory(address, data)
        assert device.memory == expected
    for address, size in ((-1, 2), (MEMORY - 1, 2)):
        with pytest.raises(UserError, match="are not in a memory of 512 bytes"):
            host.read_memory(address, size)
    assert host.run(0x40) == 100
    assert host.status().done and host.counters() == [100, 100] and device.starts == 1
    with pytest.raises(MachineError, match="stopped with ILLEGAL_INSTRUCTION, information 0xbad4") as caught:
        host.run(0xBAD0)
    assert caught.value.code == ErrorCode.ILLEGAL_INSTRUCTION
    host.clear()
    assert not host.status().failed


def test_bus_errors_and_their_names() -> None:
    link = UartLink(Device().line, WORDS)
    with pytest.raises(BusError, match="nothing at address 0x1000200") as caught:
        link.read(MEMORY_AT + MEMORY - 4, 2)
    assert caught.value.address == MEMORY_AT + MEMORY
    with pytest.raises(BusError):
        link.write(BY_NAME["ID"].address, [1])
    assert link.errors() == ["BUS"] and link.errors() == []


def test_damaged_frames_are_sent_again() -> None:
    """A bit of every fifth byte of requests and every 90th of replies flips: nothing is lost, nothing wrong arrives."""
    rng = random.Random(5)

    def damage(text: bytes) -> bytes:
        if rng.random() < 0.3:
            where = rng.randrange(len(text))
            text = text[:where] + bytes((text[where] ^ 1 << rng.randrange(8),)) + text[where + 1:]
        return text if rng.random() < 0.9 else text[:rng.randrange(len(text))]
    device = Device(damage=damage, damage_reply=lambda byte: byte ^ (rng.random() < 1 / 90) * 4)
    link = UartLink(device.line, WORDS, attempts=12)
    host = Host(link)
    expected = bytearray(device.memory)
    for address in range(0, 96, 32):
        data = rng.randbytes(32)
        expected[address:address + 32] = data
        host.write_memory(address, data)
        assert host.read_memory(address, 32) == data
    assert device.memory == expected
    assert link.repeats > 3


def test_a_start_is_not_repeated() -> None:
    """When the reply to a start is lost the driver says so instead of starting twice."""
    device = Device()
    host = Host(UartLink(device.line, WORDS))
    device.line._damage_reply = lambda byte: byte ^ 1
    with pytest.raises(LinkError, match="no good reply came"):
        host._link.write(BY_NAME["CONTROL"].address, [1], repeat=False)
    assert device.starts == 1


def test_no_machine_there() -> None:
    class Silent:
        def write(self, data: bytes) -> None: ...
        def read(self, size: int) -> bytes:
            return b""

    class Echo(Silent):
        def read(self, size: int) -> bytes:
            return bytes(size)

    with pytest.raises(LinkError, match="the link failed 4 times: no good reply came; is it the right port"):
        Host(UartLink(Silent()))

    class Other:
        def read(self, address: int, count: int = 1) -> list[int]:
            return [0xFFFFFFFF] * count
    with pytest.raises(LinkError, match="no Systolith machine: its identification is 0xffffffff"):
        Host(Other())  # type: ignore[arg-type]


def test_port_that_cannot_be_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "serial", None)
    with pytest.raises(LinkError, match="a serial port needs pyserial"):
        open_serial("/dev/none")
