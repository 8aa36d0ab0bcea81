"""The instruction queue against the encoder of the instruction set."""

import random

import pytest

from systolith.rtl import isa
from systolith.rtl.queue import InstructionQueue
from tests.streams import check, plain, send, simulate, stalls


def programs(kind: isa.InstructionType, count: int, seed: int) -> tuple[list[int], list[dict[str, int]]]:
    """Words of random instructions of `kind`, and the same as layout values (reserved bits are random too)."""
    rng = random.Random(seed)
    words, instructions = [], []
    for _ in range(count):
        bits = rng.getrandbits(32 * kind.length)
        words += [bits >> 32 * i & 0xFFFFFFFF for i in range(kind.length)]
        instructions.append(plain(kind.layout().from_bits(bits)))
    return words, instructions


@pytest.mark.parametrize("kind", [isa.ARRAY, isa.VECTOR, isa.MOVE_IN, isa.SYNC], ids=lambda kind: kind.name)
@pytest.mark.parametrize("seed, depth", [(1, 2), (2, 32)])
def test_order_and_fields(kind: isa.InstructionType, seed: int, depth: int) -> None:
    dut = InstructionQueue(kind, depth)
    words, instructions = programs(kind, 12, seed)
    simulate(dut, lambda ctx: send(ctx, dut.i, words, stalls(seed)),
             lambda ctx: check(ctx, dut.o, instructions, stalls(seed + 10, often=0.7)))


def test_fields_are_those_of_the_encoder() -> None:
    instruction = isa.ARRAY(tag=7, a=0x123456, rows_y=3, pad=-5, x_start=-20, ring=4096, ready=3)
    dut = InstructionQueue(isa.ARRAY, 4)

    async def fields(ctx):
        for _ in range(100):
            _, _, valid, payload = await ctx.tick().sample(dut.o.valid, dut.o.payload)
            if valid:
                got = plain(payload)
                assert {name: got[name] for name in instruction.values} == instruction.values
                return
        raise AssertionError("no instruction came")
    simulate(dut, lambda ctx: send(ctx, dut.i, instruction.encode()), fields)


def test_depth_and_busy() -> None:
    """It takes an instruction and `depth` words more, then refuses; `busy` holds from the first word to the last."""
    dut = InstructionQueue(isa.SYNC, 6)

    async def bench(ctx):
        assert not ctx.get(dut.busy)
        ctx.set(dut.i.valid, 1)
        for _ in range(isa.SYNC.length + 6):
            for _ in range(3):
                if ctx.get(dut.i.ready):
                    break
                ctx.set(dut.i.valid, 0)
                await ctx.tick()
                ctx.set(dut.i.valid, 1)
            assert ctx.get(dut.i.ready)
            await ctx.tick()
            ctx.set(dut.i.valid, 0)
            assert ctx.get(dut.busy)
            await ctx.tick().repeat(2)
            ctx.set(dut.i.valid, 1)
        assert not ctx.get(dut.i.ready)
        ctx.set(dut.i.valid, 0)
        ctx.set(dut.o.ready, 1)
        taken = 0
        for _ in range(40):
            assert ctx.get(dut.busy) or taken == 3
            taken += ctx.get(dut.o.valid)
            await ctx.tick()
        assert taken == 3 and not ctx.get(dut.busy)
    simulate(dut, bench)


def test_sustained_rate() -> None:
    """An instruction of n words every n + 1 cycles."""
    dut = InstructionQueue(isa.SYNC, 8)
    words, instructions = programs(isa.SYNC, 40, 5)
    cycles = 0

    async def bench(ctx):
        nonlocal cycles
        ctx.set(dut.o.ready, 1)
        seen = 0
        while seen < len(instructions):
            seen += ctx.get(dut.o.valid)
            await ctx.tick()
            cycles += 1
    simulate(dut, lambda ctx: send(ctx, dut.i, words), bench, deadline=1000)
    assert cycles <= len(words) + len(instructions) + 6


def test_refuses_a_depth_that_cannot_work() -> None:
    with pytest.raises(ValueError, match="depth must be at least 2, not 1"):
        InstructionQueue(isa.SYNC, 1)
