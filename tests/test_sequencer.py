"""The sequencer against a walk through the program in plain Python."""

import random
from collections.abc import Iterable

import pytest

from systolith.rtl import isa
from systolith.rtl.errors import ErrorCode
from systolith.rtl.isa import ADDRESS, ARRAY, COMPACT, END, JUMP, LOOP, MOVE_IN, NEXT, SYNC, VECTOR, Instruction
from systolith.rtl.sequencer import Sequencer
from tests.streams import check, read_server, receive, silent, simulate, stalls

UNITS = ("array", "vector")
MEMORY = 4096
WATCHDOG = 400


def words_of(program: Iterable[Instruction]) -> list[int]:
    return [word for instruction in program for word in instruction.encode()]


def image(program: Iterable[Instruction] | list[int], entry: int = 0, size: int = MEMORY) -> bytearray:
    """Memory with `program` (instructions or words) at `entry`, and rubbish elsewhere."""
    items = list(program)
    words = items if items and isinstance(items[0], int) else words_of(items)  # type: ignore[arg-type]
    memory = bytearray([0xFF]) * size
    for index, word in enumerate(words):
        memory[entry + 4 * index:entry + 4 * index + 4] = int(word).to_bytes(4, "little")
    return memory


def walk(program: list[Instruction], length: int = 1) -> dict[str, list[int]]:
    """What each unit's queue gets; `length`: what a scaled ADDRESS is multiplied by."""
    registers = [0] * isa.ADDRESS_REGISTERS
    out: dict[str, list[int]] = {name: [] for name in UNITS}
    stack: list[list[int]] = []
    at = 0
    while True:
        instruction = program[at]
        at += 1
        if instruction.kind is END:
            return out
        if instruction.kind is LOOP:
            stack.append([at, instruction.count])
        elif instruction.kind is NEXT:
            stack[-1][1] -= 1
            if stack[-1][1]:
                at = stack[-1][0]
            else:
                stack.pop()
        elif instruction.kind is ADDRESS:
            base = registers[instruction.register] if instruction.add else 0
            if instruction.register:
                value = instruction.value * (length if instruction.scaled else 1)
                registers[instruction.register] = (base + value) % (1 << 24)
        elif instruction.kind is not SYNC:
            words = instruction.encode()
            for letter, index in (("a", 3), ("b", 4), ("c", 5)):
                address = words[index] + registers[getattr(instruction, f"{letter}_register")] & 0xFFFFFF
                words[index] = words[index] & ~0xFFFFFF | address
            out[isa.UNITS[instruction.kind.opcode >> 4]] += words


def random_instruction(rng: random.Random) -> Instruction:
    kind = rng.choice((ARRAY, VECTOR, ADDRESS, ADDRESS))
    values = {name: rng.randint(-(1 << f.width - 1), (1 << f.width - 1) - 1) if f.signed else rng.getrandbits(f.width)
              for name, f in kind.fields.items() if name not in ("opcode", "length")}
    return kind(**values)


def random_body(rng: random.Random, depth: int) -> list[Instruction]:
    body = []
    for _ in range(rng.randint(1, 3)):
        if depth and rng.random() < 0.5:
            body += [LOOP(count=rng.randint(1, 3)), *random_body(rng, depth - 1), NEXT()]
        else:
            body.append(random_instruction(rng))
    return body


def make(word_bytes: int = 4, units: tuple[str, ...] = UNITS, memory_bytes: int = MEMORY, **more: int) -> Sequencer:
    return Sequencer(word_bytes, memory_bytes, units, WATCHDOG, **more)


async def pulse(ctx, signal):
    ctx.set(signal, 1)
    await ctx.tick()
    ctx.set(signal, 0)


async def run(ctx, dut, entry=0, cycles=5000):
    """Start, and wait until it no longer runs."""
    ctx.set(dut.entry, entry)
    await pulse(ctx, dut.start)
    assert ctx.get(dut.running) and not ctx.get(dut.done)
    for count in range(cycles):
        if not ctx.get(dut.running):
            return count
        await ctx.tick()
    raise AssertionError("it runs for ever")


def status(ctx, dut):
    assert sum(ctx.get(s) for s in (dut.running, dut.done, dut.failed, dut.clearing)) <= 1
    return ctx.get(dut.error_code), ctx.get(dut.error_information)


async def accept_all(ctx, dut):
    for queue in dut.queues.values():
        ctx.set(queue.ready, 1)


@pytest.mark.parametrize("word_bytes, seed, entry, length", [
    (4, 1, 0, None), (4, 2, 40, 65535), (8, 3, 12, 0), (16, 4, 4, 0x5A3), (128, 5, 76, None)])
def test_random_programs(word_bytes: int, seed: int, entry: int, length: int | None) -> None:
    """Loops, address registers and words to two units, with memory and both queues stalling; without a length what is
    scaled is not."""
    rng = random.Random(seed)
    program = [*random_body(rng, isa.LOOP_DEPTH), *random_body(rng, isa.LOOP_DEPTH), END()]
    expected = walk(program, 1 if length is None else length)
    dut = make(word_bytes, scales=length is not None)
    memory = image(program, entry, size=MEMORY)

    async def host(ctx):
        if length is not None:
            ctx.set(dut.length, length)
        await run(ctx, dut, entry, 20000)
        assert ctx.get(dut.done) and status(ctx, dut) == (0, 0)

    async def progress(ctx):  # the queues stall for long here
        while True:
            await pulse(ctx, dut.progress)
            for _ in range(50):
                await ctx.tick()
    simulate(dut, host,
             *(lambda ctx, n=n: check(ctx, dut.queues[n], expected[n], stalls(seed + len(n))) for n in UNITS),
             background=[read_server(dut.memory, memory, 5, stalls(seed + 3)), progress])
    assert any(expected.values())


@pytest.mark.parametrize("length", [0, 1, 256, 65535])
def test_scaled_addresses(length: int) -> None:
    """Set and added, positive and negative, register after register; what is not scaled stays as it is."""
    changes = [(1, 0, 1, 192), (2, 0, 1, -16), (1, 1, 1, 5), (1, 1, 0, -7), (3, 0, 0, 77), (0, 0, 1, 9),
               (2, 1, 1, 1 << 20)]
    program = [*(one for register, add, scaled, value in changes for one in (
        ADDRESS(register=register, add=add, scaled=scaled, value=value),
        VECTOR(a=100, a_register=1, b=200, b_register=2, c=300, c_register=3))), END()]
    dut = make(scales=True)
    expected = walk(program, length)

    async def host(ctx):
        ctx.set(dut.length, length)
        cycles = await run(ctx, dut)
        assert ctx.get(dut.done) and status(ctx, dut) == (0, 0)
        assert cycles < len(changes) * (VECTOR.length + isa.LENGTH_BITS + 12) + 40
    simulate(dut, host, lambda ctx: check(ctx, dut.queues["vector"], expected["vector"]),
             background=[read_server(dut.memory, image(program), 5)])


def test_rate() -> None:
    """A word a cycle to the units, and some ten cycles from the start and over the jump of a loop."""
    program = [LOOP(count=10), VECTOR(a=1), VECTOR(a=2), NEXT(), END()]
    for word_bytes in (4, 16):
        dut = make(word_bytes)

        async def host(ctx, dut=dut):
            await accept_all(ctx, dut)
            cycles = await run(ctx, dut)
            assert cycles < 10 * (2 * VECTOR.length + 12) + 25, cycles
        simulate(dut, host, background=[read_server(dut.memory, image(program), 5)])


@pytest.mark.parametrize("word_bytes", [4, 16])
def test_jumps(word_bytes: int) -> None:
    """Forwards, backwards and after a loop, to any word; address registers and what is kept stay."""
    parts = {0: [VECTOR(a=1, a_register=2), JUMP(address=0x404)],
             0x404: [ADDRESS(register=2, value=0x100), ARRAY(a=5, a_register=2), JUMP(address=0x20C)],
             0x20C: [LOOP(count=2), NEXT(), JUMP(address=0x800)],
             0x800: [END()]}
    memory = image([])
    for at, part in parts.items():
        words = words_of(part)
        if at == 0x800:  # instructions in compact form, of those that came before the jumps
            words = [COMPACT | VECTOR.opcode, 0, COMPACT | ARRAY.opcode, 1 << 3, 7 | 2 << 24] + words
        memory[at:at + 4 * len(words)] = b"".join(word.to_bytes(4, "little") for word in words)
    expected = walk([VECTOR(a=1, a_register=2), ADDRESS(register=2, value=0x100), ARRAY(a=5, a_register=2),
                     VECTOR(a=1, a_register=2), ARRAY(a=7, a_register=2), END()])
    dut = make(word_bytes)

    async def host(ctx):
        for _ in range(2):
            await run(ctx, dut)
            assert ctx.get(dut.done) and status(ctx, dut) == (0, 0) and ctx.get(dut.pc) == 0x814
    simulate(dut, host,
             *(lambda ctx, n=n: check(ctx, dut.queues[n], 2 * expected[n], stalls(len(n))) for n in UNITS),
             background=[read_server(dut.memory, memory, 5, stalls(word_bytes))])


def test_a_jump_drops_what_was_read_ahead() -> None:
    """What follows is written while the sequencer waits in front of the jump: to the next address, even."""
    start = [SYNC(wait0=3, wait0_count=1), JUMP(address=4 * (SYNC.length + JUMP.length))]
    dut = make(16)
    memory = image([*start, VECTOR(a=1), VECTOR(a=2), END()])

    async def host(ctx):
        await pulse(ctx, dut.start)
        await ctx.tick().repeat(60)
        assert ctx.get(dut.take.valid)
        memory[:] = image([*start, VECTOR(a=3), END()])
        await receive(ctx, dut.take, 1)
        while not ctx.get(dut.done):
            await ctx.tick()
    simulate(dut, host, lambda ctx: check(ctx, dut.to_vector, VECTOR(a=3).encode()),
             background=[read_server(dut.memory, memory)])


def test_sync_takes_and_gives() -> None:
    program = [SYNC(wait0=3, wait0_count=2, wait1=4, wait1_count=1,
                    signal0=5, signal0_count=7, signal1=6, signal1_count=8),
               SYNC(signal1=9, signal1_count=1), SYNC(), SYNC(wait1=2, wait1_count=2047), END()]
    dut = make()

    async def host(ctx):
        await run(ctx, dut)
        assert ctx.get(dut.done)
    simulate(dut, host,
             lambda ctx: check(ctx, dut.take, [{"semaphore": s, "count": c} for s, c in ((3, 2), (4, 1), (2, 2047))],
                               stalls(1, often=1.0)),
             lambda ctx: check(ctx, dut.give, [{"semaphore": s, "count": c} for s, c in ((5, 7), (6, 8), (9, 1))],
                               stalls(2, often=1.0)),
             background=[read_server(dut.memory, image(program))])


def test_sync_gives_after_it_has_taken() -> None:
    dut = make()

    async def host(ctx):
        await pulse(ctx, dut.start)
        await silent(ctx, dut.give, 60)
        assert ctx.get(dut.take.valid)
        await receive(ctx, dut.take, 1)
        await receive(ctx, dut.give, 1, patience=3)
    program = [SYNC(wait0=1, wait0_count=1, signal0=1, signal0_count=1), END()]
    simulate(dut, host, background=[read_server(dut.memory, image(program))])


def test_end_waits_for_every_unit_and_queue_words() -> None:
    dut = make()

    async def host(ctx):
        ctx.set(dut.unit_busy, {"array": 1, "vector": 0})
        await pulse(ctx, dut.start)
        await ctx.tick().repeat(60)
        assert ctx.get(dut.running)
        ctx.set(dut.unit_busy, {"array": 0, "vector": 0})
        await ctx.tick().repeat(60)
        assert ctx.get(dut.running)  # the last word has not gone
        await receive(ctx, dut.to_array, ARRAY.length - 1)
        await ctx.tick().repeat(60)
        assert ctx.get(dut.running)
        await receive(ctx, dut.to_array, 1)
        await ctx.tick().repeat(3)
        assert ctx.get(dut.done)
    simulate(dut, host, background=[read_server(dut.memory, image([ARRAY(), END()]))])


def test_runs_are_alike() -> None:
    """Address registers and loops of one run do not reach the next; each run resets the units once, for a cycle."""
    program = [VECTOR(a=100, a_register=5), ADDRESS(register=5, add=1, value=7), VECTOR(a=1, a_register=5),
               LOOP(count=3), END()]  # END leaves the loop open
    dut = make()
    expected = walk(program)["vector"]
    resets = 0

    async def host(ctx):
        for _ in range(isa.LOOP_DEPTH + 2):
            await run(ctx, dut)
            assert ctx.get(dut.done) and status(ctx, dut) == (0, 0)

    async def count(ctx):
        nonlocal resets
        while True:
            _, _, reset = await ctx.tick().sample(dut.unit_reset)
            resets += reset
    simulate(dut, host, lambda ctx: check(ctx, dut.to_vector, expected * (isa.LOOP_DEPTH + 2)),
             background=[read_server(dut.memory, image(program)), count])
    assert resets == isa.LOOP_DEPTH + 2


BAD_LENGTH = END().encode()[0] | 2 << 8
TOO_DEEP = words_of([LOOP(count=2)] * (isa.LOOP_DEPTH + 1))
ERRORS = {
    "zero": ([0], ErrorCode.ILLEGAL_INSTRUCTION, 0),
    "no opcode": (words_of([SYNC(), VECTOR()]) + [0x177], ErrorCode.ILLEGAL_INSTRUCTION, 4 * (3 + VECTOR.length)),
    "length": ([BAD_LENGTH, 0, 0], ErrorCode.ILLEGAL_INSTRUCTION, 0),
    "unit length": ([VECTOR().encode()[0] + 0x100] + [0] * 40, ErrorCode.ILLEGAL_INSTRUCTION, 0),
    "no such unit": (words_of([SYNC(), MOVE_IN(blocks=1), END()]), ErrorCode.ILLEGAL_INSTRUCTION, 12),
    "deep": (TOO_DEEP, ErrorCode.LOOP_NESTING, 4 * (len(TOO_DEEP) - LOOP.length)),
    "next": (words_of([SYNC(), NEXT()]), ErrorCode.LOOP_NESTING, 12),
    "next after loop": (words_of([LOOP(count=2), NEXT(), NEXT()]), ErrorCode.LOOP_NESTING, 12),
    "jump in a loop": (words_of([LOOP(count=2), JUMP(address=2048), NEXT(), END()]), ErrorCode.LOOP_NESTING, 8),
    "jump to half a word": (words_of([SYNC(), JUMP(address=2046)]), ErrorCode.ILLEGAL_OPERAND, 0),
    "no times": (words_of([LOOP(), NEXT(), END()]), ErrorCode.ILLEGAL_OPERAND, 0),
    "sync for ever": (words_of([SYNC(wait0=1, wait0_count=1), END()]), ErrorCode.TIMEOUT, 0b1),
}


@pytest.mark.parametrize("case", ERRORS)
def test_program_errors(case: str) -> None:
    """Each error stops the machine in its named state; it refuses to start, and runs again after a clear."""
    words, code, information = ERRORS[case]
    dut = make()
    memory = image(words)
    memory[2048:2052] = image([END()])[:4]

    async def host(ctx):
        await accept_all(ctx, dut)
        await run(ctx, dut)
        assert ctx.get(dut.failed) and not ctx.get(dut.done) and status(ctx, dut) == (code, information)
        await pulse(ctx, dut.start)
        await ctx.tick().repeat(10)
        assert ctx.get(dut.failed) and status(ctx, dut) == (code, information)
        await pulse(ctx, dut.clear)
        assert ctx.get(dut.clearing) and ctx.get(dut.unit_reset) and status(ctx, dut) == (0, 0)
        await ctx.tick().repeat(dut.reset_cycles - 1)
        assert ctx.get(dut.unit_reset)
        await ctx.tick()
        assert not ctx.get(dut.clearing) and not ctx.get(dut.unit_reset)
        await run(ctx, dut, 2048)
        assert ctx.get(dut.done) and status(ctx, dut) == (0, 0)
    simulate(dut, host, background=[read_server(dut.memory, memory)])


@pytest.mark.parametrize("word_bytes", [4, 32])
def test_the_end_of_memory(word_bytes: int) -> None:
    """A program may end in the last word; one that runs on, or starts outside, is out of range."""
    dut = make(word_bytes)
    log: list[int] = []
    memory = image([SYNC(), END()], MEMORY - 16)
    memory[0x100:0x104] = image([END()])[:4]

    async def host(ctx):
        await accept_all(ctx, dut)
        await run(ctx, dut, MEMORY - 16)
        assert ctx.get(dut.done)
        memory[-4:] = (SYNC().encode()[0]).to_bytes(4, "little")
        for entry, code, information in ((MEMORY - 16, ErrorCode.ADDRESS_OUT_OF_RANGE, MEMORY),
                                         (MEMORY, ErrorCode.ADDRESS_OUT_OF_RANGE, MEMORY),
                                         (0xFFFFFC, ErrorCode.ADDRESS_OUT_OF_RANGE, 0xFFFFFC),
                                         (0x102, ErrorCode.ILLEGAL_INSTRUCTION, 0x102)):
            await run(ctx, dut, entry)
            assert status(ctx, dut) == (code, information)
            await pulse(ctx, dut.clear)
            await ctx.tick().repeat(dut.reset_cycles)
    simulate(dut, host, background=[read_server(dut.memory, memory, log=log)])
    assert max(log) < MEMORY and all(address % word_bytes == 0 for address in log)


OUTSIDE = [
    ({"memory_error": 1, "memory_address": 0xABCDEF}, ErrorCode.ADDRESS_OUT_OF_RANGE, 0xABCDEF),
    ({"unit_error": {"array": 0, "vector": 1}}, ErrorCode.ILLEGAL_OPERAND, 3),
    ({"unit_error": {"array": 1, "vector": 1}}, ErrorCode.ILLEGAL_OPERAND, 2),
    ({"semaphore_error": 1, "semaphore_number": 9}, ErrorCode.SEMAPHORE_OVERFLOW, 9),
]


@pytest.mark.parametrize("inputs, code, information", OUTSIDE)
def test_errors_from_outside(inputs: dict, code: ErrorCode, information: int) -> None:
    """Errors of units, memory and semaphores; the first one stays, and one while nothing runs is none."""
    dut = make()

    async def trigger(ctx, values):
        before = {name: ctx.get(getattr(dut, name)) for name in values}
        for name, value in values.items():
            ctx.set(getattr(dut, name), value)
        await ctx.tick()
        for name, value in before.items():
            ctx.set(getattr(dut, name), value)

    async def host(ctx):
        await trigger(ctx, inputs)
        assert not ctx.get(dut.failed)
        await pulse(ctx, dut.start)
        await ctx.tick().repeat(30)
        await trigger(ctx, inputs)
        assert ctx.get(dut.failed) and status(ctx, dut) == (code, information)
        for other, _, _ in OUTSIDE:
            await trigger(ctx, other)
        assert status(ctx, dut) == (code, information)
        await pulse(ctx, dut.clear)
        assert status(ctx, dut) == (0, 0)
    simulate(dut, host, background=[read_server(dut.memory, image([SYNC(wait0=1, wait0_count=1), END()]))])


def test_watchdog() -> None:
    """It counts cycles without progress only, and says who was busy."""
    dut = make()

    async def host(ctx):
        ctx.set(dut.unit_busy, {"array": 0, "vector": 1})
        await pulse(ctx, dut.start)
        for _ in range(5):
            await ctx.tick().repeat(WATCHDOG - 20)
            assert ctx.get(dut.running)
            await pulse(ctx, dut.progress)
        await ctx.tick().repeat(WATCHDOG - 20)
        assert ctx.get(dut.running)
        await ctx.tick().repeat(40)
        assert status(ctx, dut) == (ErrorCode.TIMEOUT, 1 << 3)
    simulate(dut, host, background=[read_server(dut.memory, image([END()]))])


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_clear_at_any_time(seed: int) -> None:
    """Whenever the clear comes, also with reads under way, the next run executes the whole program and nothing else."""
    rng = random.Random(seed)
    program = [ADDRESS(register=1, value=64), LOOP(count=2), ARRAY(a=1, a_register=1), SYNC(wait0=1, wait0_count=1),
               ADDRESS(register=1, add=1, value=-1), NEXT(), END()]
    dut = make(reset_cycles=24)
    expected = walk(program)["array"]

    async def host(ctx):
        for _ in range(12):
            await pulse(ctx, dut.start)
            await ctx.tick().repeat(rng.randint(1, 90))
            when = rng.choice((0, 1, 12, None))  # a start together with or during the clear runs after it
            ctx.set(dut.start, when == 0)
            await pulse(ctx, dut.clear)
            ctx.set(dut.start, 0)
            if when is not None:
                if when:
                    await ctx.tick().repeat(when)
                    await pulse(ctx, dut.start)
                while ctx.get(dut.clearing):
                    await ctx.tick()
                await ctx.tick()
            else:
                while ctx.get(dut.clearing):
                    await ctx.tick()
                await pulse(ctx, dut.start)
            assert ctx.get(dut.running)
            got = []
            while not ctx.get(dut.done):
                _, _, valid, word, running = await ctx.tick().sample(
                    dut.to_array.valid, dut.to_array.payload, dut.running)
                assert running
                got += [word] if valid else []
            assert got == expected

    async def others(ctx):
        await accept_all(ctx, dut)
        ctx.set(dut.take.ready, 1)
    simulate(dut, others, host, background=[read_server(dut.memory, image(program), 6, stalls(seed, long=6))])


@pytest.mark.parametrize("change, message", [
    ({"units": ()}, "units must name each unit once and at least one"),
    ({"units": ("array", "array")}, "units must name each unit once"),
    ({"units": ("gpu",)}, "units must be out of .* not 'gpu'"),
    ({"word_bytes": 6}, "word_bytes must be a power of two from 4 on, not 6"),
    ({"memory_bytes": 6}, "memory_bytes must be a multiple of 4"),
    ({"reset_cycles": 0}, "reset_cycles must be at least 1, not 0"),
])
def test_refuses_what_cannot_work(change: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make(**change)
