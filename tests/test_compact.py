"""Instructions in compact form: assembled, expanded in Python, and by the sequencer."""

import random

import pytest

from systolith.rtl import assembly
from systolith.rtl.assembly import Expander, assemble
from systolith.rtl.errors import ErrorCode
from systolith.rtl.isa import ADDRESS, ARRAY, COMPACT, END, LOOP, NEXT, SYNC, VECTOR, Instruction
from tests.streams import check, read_server, simulate, stalls
from tests.test_sequencer import UNITS, accept_all, image, make, random_instruction, run, status, walk


def varied(rng: random.Random, count: int) -> list[Instruction]:
    """Instructions that differ in a few fields from one of those before, with loops and address registers between."""
    line = [random_instruction(rng) for _ in range(4)] + [VECTOR(), ARRAY()]
    out: list[Instruction] = []
    for _ in range(count):
        one = rng.choice(line)
        names = rng.sample(sorted(set(one.values) - {"opcode", "length"}), rng.choice((0, 1, 2, 3)))
        changes = {name: random_instruction(rng).values.get(name, 0) if rng.random() < 0.3 else rng.getrandbits(1)
                   for name in names}
        fitting = {name: value for name, value in changes.items()
                   if not value >> one.kind.fields[name].width - one.kind.fields[name].signed}
        one = one.kind(**one.values | fitting | {"tag": rng.choice((0, 1, 2, 3, 17, 65535))} if one.kind is not ADDRESS
                       else one.values)
        line[rng.randrange(len(line))] = one
        out.append(one)
        if rng.random() < 0.1:
            out += [LOOP(count=2), VECTOR(a=3, a_register=1, tag=1), VECTOR(a=4, a_register=1, tag=1),
                    ADDRESS(register=1, add=1, value=16), NEXT()]
    return [*out, END()]


@pytest.mark.parametrize("slots", [1, 4, 16])
def test_programs_come_back(slots: int) -> None:
    for seed in range(20):
        program = varied(random.Random(seed), 40)
        words = assemble(program, slots)
        expander, at, found = Expander(slots), 0, []
        while at < len(words):
            instruction, at = expander.decode(words, at)
            found.append(instruction)
        assert found == program
        assert len(words) < sum(one.kind.length for one in program)
        assert len(assembly.disassemble(words, slots)) == len(program)


def test_more_slots_make_shorter_programs() -> None:
    layers = [VECTOR(a=100 * tag + 7 * turn, low=tag, ny=tag, nx=tag + 5, c_row=tag, tag=tag)
              for turn in range(10) for tag in range(4)]
    sizes = [len(assemble(layers, slots)) for slots in (1, 4)]
    assert sizes[1] <= 4 * VECTOR.length + 36 * 3 + 1 < sizes[0]


@pytest.mark.parametrize("word_bytes, seed, slots", [(4, 1, 1), (8, 2, 4), (16, 3, 16), (16, 4, 2)])
def test_the_sequencer_makes_them_whole(word_bytes: int, seed: int, slots: int) -> None:
    """Memory and both queues stalling; and once more, as nothing is kept from run to run."""
    program = varied(random.Random(seed), 30)
    words = assemble(program, slots)
    expected = walk(program)
    dut = make(word_bytes, slots=slots, memory_bytes=1 << 14)

    async def host(ctx):
        for _ in range(2):
            await run(ctx, dut, 0, 30000)
            assert ctx.get(dut.done) and status(ctx, dut) == (0, 0)

    async def progress(ctx):
        while True:
            ctx.set(dut.progress, 1)
            await ctx.tick()
            ctx.set(dut.progress, 0)
            for _ in range(50):
                await ctx.tick()
    simulate(dut, host,
             *(lambda ctx, n=n: check(ctx, dut.queues[n], 2 * expected[n], stalls(seed + len(n))) for n in UNITS),
             background=[read_server(dut.memory, image(words, size=1 << 14), 5, stalls(seed + 3)), progress])


def test_rate() -> None:
    """A cycle more than the whole form, however few words there are."""
    words = assemble([VECTOR(a=1), *[VECTOR(a=2)] * 10, END()], 1)
    assert len(words) == VECTOR.length + 2 + 1 + 9 * 2 + 1
    dut = make(16)

    async def host(ctx):
        await accept_all(ctx, dut)
        cycles = await run(ctx, dut)
        assert 11 * VECTOR.length + 10 <= cycles < 11 * VECTOR.length + 10 + 20
    simulate(dut, host, background=[read_server(dut.memory, image(words), 5)])


HEADER = COMPACT | VECTOR.opcode
ERRORS = {
    "nothing kept": ([*SYNC().encode(), HEADER, 0], ErrorCode.ILLEGAL_INSTRUCTION, 12),
    "another unit's": ([*ARRAY().encode(), HEADER, 0], ErrorCode.ILLEGAL_INSTRUCTION, 4 * ARRAY.length),
    "another slot": ([*VECTOR(tag=1).encode(), HEADER, 0], ErrorCode.ILLEGAL_INSTRUCTION, 4 * VECTOR.length),
    "no such slot": ([*VECTOR().encode(), HEADER | 4 << 8, 0], ErrorCode.ILLEGAL_INSTRUCTION, 4 * VECTOR.length),
    "the sequencer's own": ([*SYNC().encode(), COMPACT | SYNC.opcode, 0], ErrorCode.ILLEGAL_INSTRUCTION, 12),
}


@pytest.mark.parametrize("case", ERRORS)
def test_errors(case: str) -> None:
    words, code, information = ERRORS[case]
    dut = make(slots=4)

    async def host(ctx):
        await accept_all(ctx, dut)
        await run(ctx, dut)
        assert ctx.get(dut.failed) and status(ctx, dut) == (code, information)
    simulate(dut, host, background=[read_server(dut.memory, image(words))])
    expander, at = Expander(4), 0
    with pytest.raises(assembly.IllegalInstruction, match=f"at {information:#x}"):
        while True:
            _, at = expander.expand(words, at)


def test_the_end_of_memory() -> None:
    """A compact instruction may end with it, and not go past it."""
    size = 4096
    for missing, code in ((0, ErrorCode.ADDRESS_OUT_OF_RANGE), (1, ErrorCode.ADDRESS_OUT_OF_RANGE)):
        words = [*VECTOR().encode(), HEADER, 0b10, 7][:VECTOR.length + 3 - missing]
        dut = make()
        memory = image(words, entry=size - 4 * len(words), size=size)
        seen: list[int] = []

        async def host(ctx, dut=dut, words=words, code=code):
            await accept_all(ctx, dut)
            await run(ctx, dut, size - 4 * len(words))
            assert ctx.get(dut.failed) and status(ctx, dut) == (code, size)

        async def watch(ctx, dut=dut, seen=seen):
            while True:
                _, _, valid = await ctx.tick().sample(dut.to_vector.valid)
                seen.append(valid)
        simulate(dut, host, background=[read_server(dut.memory, memory), watch])
        assert sum(seen) == VECTOR.length + (VECTOR.length if not missing else 1)


def test_a_run_keeps_nothing_for_the_next() -> None:
    dut = make()
    memory = image([*VECTOR().encode(), *END().encode()])
    memory[2048:2056] = image([HEADER, 0])[:8]

    async def host(ctx):
        await accept_all(ctx, dut)
        await run(ctx, dut)
        assert ctx.get(dut.done)
        await run(ctx, dut, 2048)
        assert ctx.get(dut.failed) and status(ctx, dut) == (ErrorCode.ILLEGAL_INSTRUCTION, 2048)
    simulate(dut, host, background=[read_server(dut.memory, memory)])
