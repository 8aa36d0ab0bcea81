"""The serial bridge: good requests, every kind of bad one, and that a good one works after each of them."""

import random

import pytest

from systolith.rtl.frames import REPLY, START, Command, FrameReceiver, LinkStatus, check_sum
from systolith.rtl.uart import UartBridge
from tests.serial_line import listen, put_byte, until
from tests.streams import receive, simulate, stalls

DIVISOR, WORDS, TIMEOUT = 4, 3, 150


def frame(sequence, command, words, address, data=()):
    body = bytes((sequence, command, words)) + address.to_bytes(4, "little")
    body += b"".join(word.to_bytes(4, "little") for word in data)
    return bytes((START,)) + body + check_sum(body)


def reply(sequence, status, data=()):
    body = bytes((sequence, status, len(data))) + b"".join(word.to_bytes(4, "little") for word in data)
    return bytes((REPLY,)) + body + check_sum(body)


def target(bus, memory, seed=1):
    """Words at 0x100 to 0x1FF, errors elsewhere."""
    async def serve(ctx):
        stall = stalls(seed)
        while True:
            request = (await receive(ctx, bus.request, 1, stall, patience=1000000))[0]
            where = request["address"]
            error = not 0x100 <= where < 0x200
            if request["write"] and not error:
                memory[where] = request["data"]
            for _ in range(next(stall)):
                await ctx.tick()
            data = 0 if error or request["write"] else memory.get(where, 0)
            ctx.set(bus.response.payload, {"data": data, "error": error})
            ctx.set(bus.response.valid, 1)
            await until(ctx, bus.response.ready)
            ctx.set(bus.response.valid, 0)
    return serve


class Bench:
    """A bridge with its line and a target."""

    def __init__(self):
        self.dut = UartBridge(DIVISOR, WORDS, TIMEOUT)
        self.got = bytearray()
        self.memory = {}

    def run(self, bench):
        simulate(self.dut, bench, background=[listen(self.dut.tx, DIVISOR, self.got),
                                              target(self.dut.bus, self.memory)])

    async def say(self, ctx, text, pause=0):
        for byte in text:
            await put_byte(ctx, self.dut.rx, byte, DIVISOR)
            for _ in range(pause):
                await ctx.tick()

    async def hear(self, ctx, expected, cycles=4000):
        for _ in range(cycles):
            if len(self.got) >= len(expected):
                break
            await ctx.tick()
        assert bytes(self.got) == expected, f"{self.got.hex()} is not {expected.hex()}"
        self.got.clear()

    async def works(self, ctx, sequence=77):
        """A good request is executed."""
        data = random.Random(len(self.memory)).getrandbits(32)
        await self.say(ctx, frame(sequence, Command.WRITE, 1, 0x1FC, [data]))
        await self.hear(ctx, reply(sequence, LinkStatus.OK))
        assert self.memory[0x1FC] == data

    async def errors(self, ctx, bits):
        """STATUS has these bits, and none the next time."""
        for expected in (bits, 0):
            await self.say(ctx, frame(3, Command.STATUS, 0, 0))
            await self.hear(ctx, reply(3, LinkStatus.OK, [expected]))


def test_writes_and_reads() -> None:
    bench = Bench()
    rng = random.Random(1)
    expected: dict[int, int] = {}

    async def host(ctx):
        for sequence in range(14):
            words = rng.randint(1, WORDS)
            where = 0x100 + 4 * rng.randrange(64 - words)
            if rng.random() < 0.5:
                data = [rng.getrandbits(32) for _ in range(words)]
                await bench.say(ctx, frame(sequence, Command.WRITE, words, where, data), rng.choice((0, 0, 3, 90)))
                await bench.hear(ctx, reply(sequence, LinkStatus.OK))
                expected.update(zip(range(where, where + 4 * words, 4), data, strict=True))
                assert bench.memory == expected
            else:
                await bench.say(ctx, frame(sequence, Command.READ, words, where))
                data = [expected.get(where + 4 * i, 0) for i in range(words)]
                await bench.hear(ctx, reply(sequence, LinkStatus.OK, data))
        await bench.errors(ctx, 0)
    bench.run(host)


def test_bus_errors() -> None:
    """The reply has the address; accesses before it have been made, those after it have not."""
    bench = Bench()

    async def host(ctx):
        await bench.say(ctx, frame(1, Command.READ, 3, 0x1F8))
        await bench.hear(ctx, reply(1, LinkStatus.BUS, [0x200]))
        await bench.say(ctx, frame(2, Command.WRITE, 3, 0xFC, [1, 2, 3]))
        await bench.hear(ctx, reply(2, LinkStatus.BUS, [0xFC]))
        assert bench.memory == {}
        await bench.say(ctx, frame(2, Command.WRITE, 3, 0x1F8, [1, 2, 3]))
        await bench.hear(ctx, reply(2, LinkStatus.BUS, [0x200]))
        assert bench.memory == {0x1F8: 1, 0x1FC: 2}
        await bench.works(ctx)
        await bench.errors(ctx, 1 << LinkStatus.BUS)
    bench.run(host)


GOOD = frame(9, Command.WRITE, 2, 0x100, [0x11223344, 0x5A5A5A5A])
BAD = {
    "too long": (frame(9, Command.WRITE, WORDS + 1, 0x100, [START] * (WORDS + 1)), LinkStatus.LENGTH),
    "no words": (frame(9, Command.READ, 0, 0x100), LinkStatus.LENGTH),
    "status with words": (frame(9, Command.STATUS, 1, 0), LinkStatus.LENGTH),
    "command": (frame(9, 4, 1, 0x100, [0]), LinkStatus.COMMAND),
    "command 0": (frame(9, 0, 1, 0x100), LinkStatus.COMMAND),
    "one byte": (GOOD[:1], LinkStatus.TIMEOUT),
    "half a header": (GOOD[:5], LinkStatus.TIMEOUT),
    "half the words": (GOOD[:13], LinkStatus.TIMEOUT),
    "half a sum": (GOOD[:-1], LinkStatus.TIMEOUT),
    "sum": (GOOD[:-1] + bytes((GOOD[-1] ^ 1,)), LinkStatus.CHECK_SUM),
    "sum, first byte": (GOOD[:-2] + bytes((GOOD[-2] ^ 128, GOOD[-1])), LinkStatus.CHECK_SUM),
    "surplus": (frame(9, Command.READ, 1, 0x100)[:-2] + GOOD, LinkStatus.CHECK_SUM),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_frames(case: str) -> None:
    """One error reply, no effect, and the next request works."""
    text, status = BAD[case]
    bench = Bench()

    async def host(ctx):
        await bench.say(ctx, text)
        assert not bench.got
        for _ in range(2 * TIMEOUT + 60 * DIVISOR):
            await ctx.tick()
        assert bench.got[0] == REPLY and bench.got[2:4] == bytes((status, 0)) and len(bench.got) == 6
        assert bytes(bench.got[4:]) == check_sum(bytes(bench.got[1:4]))
        bench.got.clear()
        assert not bench.memory
        await bench.works(ctx)
        await bench.errors(ctx, 1 << status)
    bench.run(host)


@pytest.mark.parametrize("at", [1, 4, 9, 17])
def test_broken_byte_in_a_frame(at: int) -> None:
    bench = Bench()

    async def host(ctx):
        await bench.say(ctx, GOOD[:at])
        await put_byte(ctx, bench.dut.rx, GOOD[at], DIVISOR, stop=0)
        await ctx.tick().repeat(DIVISOR)
        await bench.say(ctx, GOOD[at + 1:])
        await ctx.tick().repeat(2 * TIMEOUT + 60 * DIVISOR)
        assert len(bench.got) == 6 and bench.got[2] == LinkStatus.BROKEN
        bench.got.clear()
        assert not bench.memory
        await bench.works(ctx)
        await bench.errors(ctx, 1 << LinkStatus.BROKEN)
    bench.run(host)


def test_bytes_outside_frames() -> None:
    """Noise between frames, a break of the line, bytes while a reply goes out: noted, without a reply."""
    bench = Bench()

    async def host(ctx):
        await bench.say(ctx, bytes((0, 255, REPLY, 0x5B)))
        await bench.works(ctx)
        await bench.errors(ctx, 1)
        ctx.set(bench.dut.rx, 0)
        await ctx.tick().repeat(1000)
        ctx.set(bench.dut.rx, 1)
        await ctx.tick().repeat(1000)
        assert not bench.got
        await bench.works(ctx)
        await bench.errors(ctx, 1 << LinkStatus.BROKEN)
        await bench.say(ctx, frame(5, Command.READ, WORDS, 0x100))
        await bench.say(ctx, b"\x5a\x5a")
        await bench.hear(ctx, reply(5, LinkStatus.OK, [0] * WORDS))
        await bench.works(ctx)
        await bench.errors(ctx, 1)
    bench.run(host)


@pytest.mark.parametrize("seed", range(3))
def test_rubbish(seed: int) -> None:
    """Whatever comes in, a request after a silence works."""
    bench = Bench()
    rng = random.Random(seed)

    async def host(ctx):
        for _ in range(4):
            text = bytearray(GOOD if rng.random() < 0.5 else rng.randbytes(40))
            for _ in range(rng.randint(1, 5)):
                text[rng.randrange(len(text))] = rng.choice((START, REPLY, rng.randrange(256)))
            await bench.say(ctx, bytes(text), rng.choice((0, 3)))
            await ctx.tick().repeat(2 * TIMEOUT + 40 * DIVISOR * (WORDS + 6))
            bench.got.clear()
            await bench.works(ctx)
    bench.run(host)


@pytest.mark.parametrize("change, message", [
    ((3, 4, 100), "divisor must be at least 4"), ((4, 0, 100), "max_words must be from 1 to 255, not 0"),
    ((4, 256, 100), "max_words must be from 1 to 255, not 256"), ((4, 4, 0), "timeout must be at least 1 cycle, not 0"),
])
def test_refuses_what_cannot_work(change: tuple[int, int, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        UartBridge(*change)
    assert FrameReceiver(255, 1).max_words == 255
