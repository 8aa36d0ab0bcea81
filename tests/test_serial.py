"""The serial receiver and transmitter, against bits made and read in Python."""

import random

import pytest

from systolith.rtl.serial import SerialReceiver, SerialTransmitter
from tests.serial_line import listen, put_byte
from tests.streams import send, simulate, stalls


def collector(dut, got, broken):
    async def bench(ctx):
        while True:
            _, _, valid, data, bad = await ctx.tick().sample(dut.valid, dut.data, dut.broken)
            if valid:
                got.append(data)
            broken[0] += bad
    return bench


@pytest.mark.parametrize("divisor, sent", [(4, 4), (5, 5), (16, 16), (33, 33), (33, 32), (33, 34)])
def test_receiver(divisor: int, sent: int) -> None:
    """Every byte, back to back and with pauses; also from a sender that is 3 % fast or slow."""
    dut = SerialReceiver(divisor)
    rng = random.Random(divisor)
    text = bytes((0, 255, 0x55, 0xAA)) + rng.randbytes(30)
    got, broken = bytearray(), [0]

    async def bench(ctx):
        for byte in text:
            await put_byte(ctx, dut.rx, byte, sent)
            for _ in range(rng.choice((0, 0, 1, 7, 100))):
                await ctx.tick()
        await ctx.tick().repeat(2 * divisor + 5)
        assert not ctx.get(dut.active)
    simulate(dut, bench, background=[collector(dut, got, broken)])
    assert got == text and not broken[0]


def test_broken_bytes_and_noise() -> None:
    """No stop bit, a line held down for long, a short pulse: the byte is lost, those after it are not."""
    dut = SerialReceiver(8)
    got, broken = bytearray(), [0]

    async def bench(ctx):
        await put_byte(ctx, dut.rx, 0x12, 8, stop=0)
        await ctx.tick().repeat(8)
        ctx.set(dut.rx, 0)
        await ctx.tick().repeat(500)
        ctx.set(dut.rx, 1)
        await ctx.tick().repeat(8)
        ctx.set(dut.rx, 0)
        await ctx.tick().repeat(2)
        ctx.set(dut.rx, 1)
        await ctx.tick().repeat(100)
        await put_byte(ctx, dut.rx, 0x34, 8)
        await ctx.tick().repeat(20)
    simulate(dut, bench, background=[collector(dut, got, broken)])
    assert got == bytes((0x34,)) and broken == [2]


@pytest.mark.parametrize("divisor", [4, 9])
def test_transmitter(divisor: int) -> None:
    dut = SerialTransmitter(divisor)
    text = bytes((0, 255, 0x55)) + random.Random(1).randbytes(20)
    got = bytearray()

    async def bench(ctx):
        assert ctx.get(dut.tx)
        await send(ctx, dut.i, text[:10])
        await send(ctx, dut.i, text[10:], stalls(1, often=1))
        await ctx.tick().repeat(11 * divisor)
        assert ctx.get(dut.tx) and ctx.get(dut.i.ready)
    simulate(dut, bench, background=[listen(dut.tx, divisor, got)])
    assert got == text


def test_refuses_what_cannot_work() -> None:
    for kind in (SerialReceiver, SerialTransmitter):
        with pytest.raises(ValueError, match="divisor must be at least 4 cycles a bit, not 3"):
            kind(3)
