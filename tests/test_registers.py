"""The register map and the memory window, access by access."""

import random

import pytest

from systolith.rtl import register_map as table
from systolith.rtl.register_map import BY_NAME, COUNTERS_AT, MEMORY_AT, REGISTERS, SEMAPHORES_AT, Access
from systolith.rtl.registers import HostRegisters
from tests.streams import read_server, receive, send, simulate, stalls, write_server

COUNTERS = ["cycles", "array_busy", "conflicts"]
MEMORY = 1024
ERROR = {"data": 0, "error": 1}


def make(word_bytes: int = 16, memory_bytes: int = MEMORY, counters: list[str] = COUNTERS, **more) -> HostRegisters:
    return HostRegisters(word_bytes, memory_bytes, counters, **more)


async def access(ctx, dut, address, data=None):
    """One access; the response as a dict."""
    await send(ctx, dut.bus.request, [{"address": address, "write": data is not None, "data": data or 0}], patience=20)
    return (await receive(ctx, dut.bus.response, 1, patience=100))[0]


def value(data: int) -> dict[str, int]:
    return {"data": data, "error": 0}


def at(name: str) -> int:
    return BY_NAME[name].address


def test_constants_and_status() -> None:
    dut = make(version=(1, 2, 3), config_hash=0xDEADBEEF)

    async def bench(ctx):
        for name, data in (("ID", 0x54535953), ("VERSION", 0x010203), ("CONFIG", 0xDEADBEEF), ("MEMORY_BYTES", MEMORY),
                           ("COUNTERS", 3)):
            assert await access(ctx, dut, at(name)) == value(data)
        for bit, name in enumerate(("running", "done", "failed", "clearing")):
            ctx.set(getattr(dut, name), 1)
            assert await access(ctx, dut, at("STATUS")) == value(1 << bit)
            ctx.set(getattr(dut, name), 0)
        ctx.set(dut.error_code, 0x5A)
        ctx.set(dut.error_information, 0x87654321)
        ctx.set(dut.pc, 0xABCDE0)
        assert await access(ctx, dut, at("ERROR_CODE")) == value(0x5A)
        assert await access(ctx, dut, at("ERROR_INFORMATION")) == value(0x87654321)
        assert await access(ctx, dut, at("PC")) == value(0xABCDE0)
    simulate(dut, bench)


def test_control_pulses_entry_and_length() -> None:
    dut = make()
    pulses = []

    async def watch(ctx):
        while True:
            _, _, start, clear = await ctx.tick().sample(dut.start, dut.clear)
            if start or clear:
                pulses.append((start, clear))

    async def bench(ctx):
        for data in (1, 2, 0, 3):
            assert await access(ctx, dut, at("CONTROL"), data) == value(0)
        assert await access(ctx, dut, at("ENTRY"), 0xFFFFFC) == value(0)
        assert ctx.get(dut.entry) == 0xFFFFFC
        assert await access(ctx, dut, at("ENTRY"), 0x1000000) == ERROR
        assert await access(ctx, dut, at("ENTRY")) == value(0xFFFFFC)
        assert ctx.get(dut.length) == 0
        for data, answer in ((65535, value(0)), (65536, ERROR), (1 << 31, ERROR), (7, value(0))):
            assert await access(ctx, dut, at("LENGTH"), data) == answer
            assert await access(ctx, dut, at("LENGTH")) == value(7 if data == 7 else 65535)
            assert ctx.get(dut.length) == (7 if data == 7 else 65535) and ctx.get(dut.entry) == 0xFFFFFC
        await ctx.tick()
    simulate(dut, bench, background=[watch])
    assert pulses == [(1, 0), (0, 1), (1, 1)]


def test_interrupts() -> None:
    dut = make()

    async def bench(ctx):
        ctx.set(dut.done, 1)
        assert await access(ctx, dut, at("INTERRUPT_STATUS")) == value(1)
        assert not ctx.get(dut.interrupt)
        await access(ctx, dut, at("INTERRUPT_ENABLE"), 0xFFFFFFFF)
        assert await access(ctx, dut, at("INTERRUPT_ENABLE")) == value(3)
        assert ctx.get(dut.interrupt)
        await access(ctx, dut, at("INTERRUPT_STATUS"), 2)
        assert ctx.get(dut.interrupt)
        await access(ctx, dut, at("INTERRUPT_STATUS"), 1)  # still done, but no new event
        assert not ctx.get(dut.interrupt)
        ctx.set(dut.done, 0)
        ctx.set(dut.failed, 1)
        await ctx.tick().repeat(2)
        assert ctx.get(dut.interrupt)
        assert await access(ctx, dut, at("INTERRUPT_STATUS")) == value(2)
        await access(ctx, dut, at("INTERRUPT_ENABLE"), 1)
        assert not ctx.get(dut.interrupt)
    simulate(dut, bench)


def test_counters_and_semaphores() -> None:
    dut = make()

    async def counters(ctx):
        while True:
            _, _, index = await ctx.tick().sample(dut.counter_index)
            ctx.set(dut.counter_value, 1000 + index)

    async def bench(ctx):
        ctx.set(dut.semaphores, [100 + i for i in range(32)])
        for index in range(3):
            assert await access(ctx, dut, COUNTERS_AT + 4 * index) == value(1000 + index)
        assert await access(ctx, dut, COUNTERS_AT + 12) == ERROR
        for index in range(1, 32):
            assert await access(ctx, dut, SEMAPHORES_AT + 4 * index) == value(100 + index)
    simulate(dut, bench, background=[counters])


@pytest.mark.parametrize("semaphores, paged, clips", [(32, True, True), (16, False, False), (16, False, True)])
def test_every_location_answers_as_the_map_says(semaphores: int, paged: bool, clips: bool) -> None:
    """All of the first kilobyte, at every byte address: registers in the map answer, everything else is an error."""
    dut = make(semaphores=semaphores, paged=paged, clips=clips)
    assert hasattr(dut, "length") == clips
    rows = {row["address"]: row["access"] for row in table.register_map(COUNTERS, semaphores, paged, clips)}

    async def bench(ctx):
        for address in [*range(0x400), 0x0100_0000 - 4, 0x8000_0000, MEMORY_AT + MEMORY, MEMORY_AT + 2, 0x0200_0000,
                        0xFFFF_FFFC, 0x8100_0000]:
            how = rows.get(address, "")
            assert (await access(ctx, dut, address))["error"] == (how not in ("ro", "rw", "rw1c")), hex(address)
            assert (await access(ctx, dut, address, 0))["error"] == (how not in ("wo", "rw", "rw1c")), hex(address)

    async def semaphore(ctx):
        ctx.set(dut.give.ready, 1)
        while True:
            await ctx.tick()
    simulate(dut, bench, background=[semaphore])


def test_gives_and_pages() -> None:
    """A write to GIVE is answered when the semaphores have taken it."""
    dut = make()

    async def bench(ctx):
        ctx.set(dut.pages, 0x00030011)
        assert await access(ctx, dut, at("PAGES")) == value(0x00030011)
        assert await access(ctx, dut, at("GIVE"), 0x87FF_001F) == value(0)
        assert ctx.get(dut.feeding)
        assert await access(ctx, dut, at("GIVE"), 3 << 16 | 5) == value(0)
        assert not ctx.get(dut.feeding)

    async def semaphores(ctx):
        got = await receive(ctx, dut.give, 2, stalls(3))
        assert got == [{"semaphore": 31, "count": 2047}, {"semaphore": 5, "count": 3}]
    simulate(dut, bench, semaphores)


@pytest.mark.parametrize("word_bytes", [4, 8, 16, 128])
def test_memory_window(word_bytes: int) -> None:
    """Random reads and writes over the whole window; a write changes four bytes only."""
    dut = make(word_bytes)
    rng = random.Random(word_bytes)
    expected = bytearray(rng.randbytes(MEMORY))
    memory = bytearray(expected)

    async def bench(ctx):
        for step in range(150):
            offset = rng.choice((0, MEMORY - 4, 4 * rng.randrange(MEMORY // 4)))
            if rng.random() < 0.5:
                data = rng.getrandbits(32)
                expected[offset:offset + 4] = data.to_bytes(4, "little")
                assert await access(ctx, dut, MEMORY_AT + offset, data) == value(0)
                assert memory == expected, step
            else:
                data = int.from_bytes(expected[offset:offset + 4], "little")
                assert await access(ctx, dut, MEMORY_AT + offset) == value(data)
    log: list[int] = []
    simulate(dut, bench, background=[read_server(dut.read, memory, 4, stalls(1, long=10), log),
                                     write_server(dut.write, memory, stalls(2, long=10), log)])
    assert all(address % word_bytes == 0 for address in log)


def test_back_pressure() -> None:
    """Requests and responses that stall: one response each, in order."""
    dut = make(8)
    memory = bytearray(range(256)) * 4
    addresses = [random.Random(3).choice((0, 4, MEMORY_AT, MEMORY_AT + 40, 0x7F0)) for _ in range(60)]
    answers = {0: value(0x54535953), 4: value(0x000100), MEMORY_AT: value(0x03020100),
               MEMORY_AT + 40: value(0x2B2A2928), 0x7F0: ERROR}

    async def initiator(ctx):
        await send(ctx, dut.bus.request, [{"address": a, "write": 0, "data": 0} for a in addresses], stalls(4))

    async def target(ctx):
        got = await receive(ctx, dut.bus.response, len(addresses), stalls(5))
        assert got == [answers[a] for a in addresses]
    simulate(dut, initiator, target, background=[read_server(dut.read, memory, 5, stalls(6))])


def test_the_map_is_sound() -> None:
    addresses = [r.address for r in REGISTERS]
    assert len(set(addresses)) == len(addresses) and all(a % 4 == 0 and a < COUNTERS_AT for a in addresses)
    assert {r.access for r in REGISTERS} == set(Access)
    text = table.markdown(COUNTERS)
    assert all(r.name in text for r in REGISTERS)


@pytest.mark.parametrize("change, message", [
    ({"word_bytes": 2}, "word_bytes must be a power of two from 4 on, not 2"),
    ({"counters": []}, "there must be 1 to 128 counters, not 0"),
    ({"config_hash": 1 << 32}, "config_hash must have 32 bits"),
    ({"version": (0, 256, 0)}, "version must be three numbers up to 255"),
])
def test_refuses_what_cannot_work(change: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make(**change)
