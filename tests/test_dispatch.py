"""The dispatcher against address registers in Python."""

import random

from systolith.rtl.dispatch import Dispatcher
from systolith.rtl.isa import ADDRESS_REGISTERS
from tests.streams import check, send, simulate, stalls

UNITS = {2: "array", 3: "vector"}


def test_words_and_registers() -> None:
    """Words to two units with and without addresses, changes of registers between them, clears now and then."""
    dut = Dispatcher(UNITS)
    rng = random.Random(1)
    registers = [0] * ADDRESS_REGISTERS
    expected: dict[int, list[int]] = {2: [], 3: []}
    steps = []
    for _ in range(300):
        kind = rng.choice(("word", "word", "change"))
        if kind == "word":
            step = {"word": rng.getrandbits(32), "unit": rng.choice((2, 3)), "address": rng.getrandbits(1)}
            word = step["word"]
            if step["address"]:
                word = word & ~0xFFFFFF | (word + registers[word >> 24 & 15]) & 0xFFFFFF
            expected[step["unit"]].append(word)
        else:
            step = {"register": rng.choice((0, 1, 5, 15)), "add": rng.getrandbits(1), "value": rng.getrandbits(24)}
            if step["register"]:
                base = registers[step["register"]] if step["add"] else 0
                registers[step["register"]] = base + step["value"] & 0xFFFFFF
        if rng.random() < 0.03:
            registers = [0] * ADDRESS_REGISTERS
            steps.append((kind, step, True))
        else:
            steps.append((kind, step, False))

    async def source(ctx):
        stall = stalls(2, long=5)
        for kind, step, clear in steps:
            await send(ctx, dut.i if kind == "word" else dut.change, [step], stall)
            if clear:
                while ctx.get(dut.busy):
                    await ctx.tick()
                ctx.set(dut.clear, 1)
                await ctx.tick()
                ctx.set(dut.clear, 0)
    simulate(dut, source, lambda ctx: check(ctx, dut.to_array, expected[2], stalls(3)),
             lambda ctx: check(ctx, dut.to_vector, expected[3], stalls(4)))


def test_a_word_a_cycle_and_a_clear_drops() -> None:
    dut = Dispatcher(UNITS)

    async def bench(ctx):
        ctx.set(dut.to_array.ready, 1)
        for number in range(20):
            ctx.set(dut.i.payload, {"word": number, "unit": 2, "address": 0})
            ctx.set(dut.i.valid, 1)
            assert ctx.get(dut.i.ready)
            if number:
                assert ctx.get(dut.to_array.valid) and ctx.get(dut.to_array.payload) == number - 1
            await ctx.tick()
        ctx.set(dut.to_array.ready, 0)
        ctx.set(dut.i.valid, 0)
        await ctx.tick().repeat(3)
        assert ctx.get(dut.busy) and ctx.get(dut.to_array.valid) and not ctx.get(dut.to_vector.valid)
        ctx.set(dut.clear, 1)
        await ctx.tick()
        assert not ctx.get(dut.busy) and not ctx.get(dut.to_array.valid)
    simulate(dut, bench)
