# amaranth: UnusedElaboratable=no
"""The movers: bytes, order of semaphores and data, rate, and what they refuse."""

import random
from collections import deque
from typing import Any

import pytest
from amaranth import Value

from systolith.rtl.isa import MOVE_IN, MOVE_OUT, Instruction
from systolith.rtl.mover import MoveIn, MoveOut
from tests.mover_loop import EXTERNAL_BITS, MoverLoop, copy, numbers, random_moves, semaphore_traffic, values
from tests.streams import Bench, Stall, plain, read_server, receive, send, simulate, stalls, write_server

MEMORY = 4096


def external_reads(dut: Any, store: bytearray, latency: int, ask: Stall | None, answer: Stall | None,
                   asked: list[Any]) -> Bench:
    """External memory behind `read_request` and `read_data`: in order, never before `latency` cycles."""
    width = len(Value.cast(dut.read_data.payload)) // 8

    async def serve(ctx: Any) -> None:
        beats: deque[tuple[int, int]] = deque()
        cycle, idle, wait = 0, next(ask) if ask else 0, next(answer) if answer else 0
        while True:
            valid = bool(beats) and beats[0][0] <= cycle and wait <= 0
            ctx.set(dut.read_data.valid, valid)
            ctx.set(dut.read_data.payload, beats[0][1] if valid else (1 << 8 * width) - 1)
            ctx.set(dut.read_request.ready, idle <= 0)
            _, _, asking, burst, ready = await ctx.tick().sample(
                dut.read_request.valid, dut.read_request.payload, dut.read_data.ready)
            if asking and idle <= 0:
                asked.append(plain(burst))
                for n in range(burst.beats + 1):
                    at = burst.address + n * width
                    beats.append((cycle + latency, int.from_bytes(store[at:at + width], "little")))
                idle = next(ask) if ask else 0
            else:
                idle -= 1
            if valid and ready:
                beats.popleft()
                wait = next(answer) if answer else 0
            else:
                wait -= not valid
            cycle += 1
    return serve


def external_writes(dut: Any, store: bytearray, latency: int, ask: Stall | None, take: Stall | None,
                    done: list[int]) -> Bench:
    """External memory behind `write_request`, `write_data` and `write_done`."""
    width = len(Value.cast(dut.write_data.payload)) // 8

    async def serve(ctx: Any) -> None:
        places: deque[tuple[int, bool]] = deque()
        finished: deque[int] = deque()
        cycle, idle, wait = 0, next(ask) if ask else 0, next(take) if take else 0
        while True:
            ready = bool(places) and wait <= 0
            ctx.set(dut.write_data.ready, ready)
            ctx.set(dut.write_request.ready, idle <= 0)
            ends = bool(finished) and finished[0] <= cycle
            ctx.set(dut.write_done, ends)
            if ends:
                finished.popleft()
                done.append(cycle)
            _, _, asking, burst, valid, beat = await ctx.tick().sample(
                dut.write_request.valid, dut.write_request.payload, dut.write_data.valid, dut.write_data.payload)
            if valid and ready:
                at, last = places.popleft()
                store[at:at + width] = beat.to_bytes(width, "little")
                wait = next(take) if take else 0
                if last:
                    finished.append(cycle + latency)
            else:
                wait -= 1
            if asking and idle <= 0:
                places.extend((burst.address + n * width, n == burst.beats) for n in range(burst.beats + 1))
                idle = next(ask) if ask else 0
            else:
                idle -= 1
            cycle += 1
    return serve


def units(dut: Any, moves: list[Instruction], seed: int | None, progress: Any, prefix: str = "") -> list[Bench]:
    """Benches that feed the instructions and check semaphores, order and the end of each instruction.

    `progress()` is the number of bytes whose blocks may have been given back.
    """
    def member(name: str) -> Any:
        return getattr(dut, prefix + name)

    def stall(n: int) -> Stall | None:
        return None if seed is None else stalls(seed + n)
    takes, _ = semaphore_traffic(moves)
    over: list[bool] = []

    async def feed(ctx: Any) -> None:
        await send(ctx, member("instruction"), map(values, moves), stall(1))

    async def take(ctx: Any) -> None:
        for wanted in takes:
            assert (await receive(ctx, member("take"), 1, stall(2), patience=20000))[0] == wanted

    async def give(ctx: Any) -> None:
        owed = 0
        for move in moves:
            expected = semaphore_traffic([move])[1]
            for number, wanted in enumerate(expected):
                assert (await receive(ctx, member("give"), 1, stall(3), patience=20000))[0] == wanted
                blocks = number + 1 if move.values["give"] and number < move.blocks else move.blocks
                assert progress() >= owed + blocks * move.block_bytes, "a give came too early"
            owed += move.blocks * move.block_bytes
        over.append(True)

    async def retire(ctx: Any) -> None:
        owed = 0
        for move in moves:
            for _ in range(20000):
                _, _, retired, busy, error = await ctx.tick().sample(member("retired"), member("busy"), member("error"))
                assert not error
                if retired.valid:
                    break
            else:
                raise AssertionError("an instruction does not end")
            owed += move.blocks * move.block_bytes
            assert retired.tag == move.tag and busy
            assert progress() >= owed
        await ctx.tick()
        assert over and not ctx.get(member("busy"))
    return [feed, take, give, retire]


@pytest.mark.parametrize("word, beat", [(16, 8), (4, 4), (8, 1)])
@pytest.mark.parametrize("seed", [None, 1, 2])
@pytest.mark.parametrize("indexed", [False, True])
def test_move_in(word: int, beat: int, seed: int | None, indexed: bool) -> None:
    """Every byte arrives at its place, and no other byte changes, with everything stalling."""
    moves = random_moves(MOVE_IN, word, beat, 12, word + beat + 20 * indexed, MEMORY, indexed=indexed)
    store = bytearray(random.Random(3).randbytes(1 << EXTERNAL_BITS))
    memory = bytearray(b"\xa5" * MEMORY)
    expected = bytearray(memory)
    copy(moves, store, expected, into_memory=True)
    dut, log, asked = MoveIn(word, beat, indexed), [], []  # type: ignore[var-annotated]

    def stall(n: int) -> Stall | None:
        return None if seed is None else stalls(10 * seed + n)
    background = [external_reads(dut, store, 20, stall(5), stall(6), asked),
                  write_server(dut.memory, memory, stall(7), log)]
    if indexed:
        background.append(read_server(dut.numbers, numbers(MEMORY), 7, stall(8)))
    simulate(dut, *units(dut, moves, seed, lambda: len(log) * word), background=background)
    assert memory == expected
    assert sum(b["beats"] + 1 for b in asked) * beat == sum(i.blocks * i.block_bytes for i in moves)
    assert len(asked) == sum(i.blocks * -(-i.block_bytes // (256 * beat)) for i in moves)


@pytest.mark.parametrize("word, beat", [(16, 8), (4, 4), (8, 1)])
@pytest.mark.parametrize("seed", [None, 1, 2])
def test_move_out(word: int, beat: int, seed: int | None) -> None:
    """As `test_move_in`, the other way, from addresses that need not be aligned."""
    moves = random_moves(MOVE_OUT, word, beat, 12, word + beat + 1, MEMORY, aligned=False)
    memory = bytearray(random.Random(4).randbytes(MEMORY))
    store = bytearray(b"\xa5" * (1 << EXTERNAL_BITS))
    expected = bytearray(store)
    copy(moves, memory, expected, into_memory=False)
    dut, done = MoveOut(word, beat), []  # type: ignore[var-annotated]
    # Bytes that are in external memory after each burst.
    totals = [0]
    for size in (i.block_bytes for i in moves for _ in range(i.blocks)):
        for at in range(0, size, 256 * beat):
            totals.append(totals[-1] + min(256 * beat, size - at))

    def stall(n: int) -> Stall | None:
        return None if seed is None else stalls(10 * seed + n)
    simulate(dut, *units(dut, moves, seed, lambda: totals[len(done)]), background=[
        external_writes(dut, store, 9, stall(5), stall(6), done), read_server(dut.memory, memory, 4, stall(7))])
    assert store == expected
    assert len(done) == len(totals) - 1


def test_request_waits_for_its_take() -> None:
    """No block is requested before its semaphore is granted."""
    dut, asked = MoveIn(16, 8), []  # type: ignore[var-annotated]
    move = MOVE_IN(blocks=4, block_bytes=64, step=64, external_step=64, take=3)

    async def bench(ctx: Any) -> None:
        for number in range(4):
            await ctx.tick().repeat(40)
            assert len(asked) == number
            assert ctx.get(dut.events.wait_semaphore)
            await receive(ctx, dut.take, 1)

    simulate(dut, lambda ctx: send(ctx, dut.instruction, [values(move)]), bench, background=[
        external_reads(dut, bytearray(4096), 5, None, None, asked), write_server(dut.memory, bytearray(4096))])


@pytest.mark.parametrize("word, latency", [(16, 32), (8, 32), (16, 64)])
def test_move_in_rate(word: int, latency: int) -> None:
    """Blocks of 256 bytes at 8 bytes a beat, over blocks and instructions: at least 98 % of the cycles move a beat."""
    dut = MoverLoop(word, 8, latency)
    moves = [MOVE_IN(tag=n + 1, a=0, external=1024 * n, block_bytes=256, blocks=4, step=256, external_step=256,
                     wait0=1, wait0_count=1, wait1=2, wait1_count=1, take=3, give=4, signal0=5, signal0_count=1,
                     signal1=6, signal1_count=2, ring=0, ring_bytes=512) for n in range(10)]
    busy: list[int] = []

    async def watch(ctx: Any) -> None:
        while True:
            busy.append((await ctx.tick().sample(dut.in_events.busy))[2])
    memory = bytearray(MEMORY)
    log: list[int] = []
    simulate(dut, *units(dut, moves, None, lambda: len(log) * word, "in_"),
             background=[watch, write_server(dut.write, memory, None, log)])
    steady = busy[busy.index(1):len(busy) - busy[::-1].index(1)]
    assert sum(busy) == 10 * 1024 // 8
    assert sum(steady) / len(steady) >= 0.98, f"{sum(steady)} beats in {len(steady)} cycles"
    assert busy.index(1) <= latency + 14


def test_move_out_rate() -> None:
    """The other way, the same."""
    dut = MoverLoop(16, 8, 32)
    moves = [MOVE_OUT(tag=n + 1, external=1024 * n, block_bytes=256, blocks=4, step=256, external_step=256, wait0=1,
                      wait0_count=1, take=3, give=4, signal0=5, signal0_count=1) for n in range(10)]
    busy: list[int] = []

    async def watch(ctx: Any) -> None:
        while True:
            busy.append((await ctx.tick().sample(dut.out_events.busy))[2])
    simulate(dut, *units(dut, moves, None, lambda: 1 << 30, "out_"),
             background=[watch, read_server(dut.read, bytearray(MEMORY))])
    steady = busy[busy.index(1):len(busy) - busy[::-1].index(1)]
    assert sum(busy) == 10 * 1024 // 8
    assert sum(steady) / len(steady) >= 0.98, f"{sum(steady)} beats in {len(steady)} cycles"


def test_gives_refused_for_long() -> None:
    """More blocks end than the unit can remember while its gives are refused: it waits, and forgets none."""
    for kind in (MOVE_IN, MOVE_OUT):
        dut: Any = MoveIn(4, 4) if kind is MOVE_IN else MoveOut(4, 4)
        move = kind(blocks=60, block_bytes=4, step=4, external_step=4, give=3, signal0=1, signal0_count=2)

        async def give(ctx: Any, dut: Any = dut) -> None:
            await ctx.tick().repeat(500)
            for _ in range(60):
                assert await receive(ctx, dut.give, 1) == [{"semaphore": 3, "count": 1}]
            assert await receive(ctx, dut.give, 1) == [{"semaphore": 1, "count": 2}]
            await ctx.tick().repeat(3)
            assert not ctx.get(dut.busy)
        done: list[int] = []
        servers = [external_reads(dut, bytearray(512), 5, None, None, []), write_server(dut.memory, bytearray(512))] \
            if kind is MOVE_IN else [external_writes(dut, bytearray(512), 200, None, None, done),
                                     read_server(dut.memory, bytearray(512))]
        simulate(dut, lambda ctx, d=dut, v=move: send(ctx, d.instruction, [values(v)]), give, background=servers)


def test_many_bursts() -> None:
    """A block of more bursts than the unit can remember, all accepted at once."""
    dut, move = MoveOut(4, 1), MOVE_OUT(blocks=1, block_bytes=4608, give=3)
    memory, store, done = bytearray(random.Random(1).randbytes(4608)), bytearray(4608), []  # type: ignore[var-annotated]
    simulate(dut, lambda ctx: send(ctx, dut.instruction, [values(move)]), lambda ctx: receive(ctx, dut.give, 1),
             background=[external_writes(dut, store, 9, None, None, done), read_server(dut.memory, memory)])
    assert len(done) == 18 and store == memory


GOOD = {"block_bytes": 64, "blocks": 2, "step": 64, "external_step": 64}


@pytest.mark.parametrize("kind", [MOVE_IN, MOVE_OUT])
@pytest.mark.parametrize("change", [
    {"blocks": 0}, {"block_bytes": 0}, {"block_bytes": 24}, {"external": 4}, {"external_step": 68}, {"a": 8},
    {"step": 72}, {"ring": 8, "ring_bytes": 128}, {"ring_bytes": 72}, {"ring_bytes": 32}, {"indexed": 1, "c": 2},
    {"indexed": 1, "blocks": 1, "external_step": 68}])
def test_impossible(kind: Any, change: dict[str, int]) -> None:
    """Fields that cannot be executed: an error that stays, and nothing moves."""
    dut = MoveIn(16, 8, "c" in change) if kind is MOVE_IN else MoveOut(16, 8, aligned=True)
    request = dut.read_request if kind is MOVE_IN else dut.write_request

    async def bench(ctx: Any) -> None:
        ctx.set(dut.instruction.payload, values(kind(**{**GOOD, **change})))
        ctx.set(dut.instruction.valid, 1)
        for _ in range(20):
            await ctx.tick()
            assert not ctx.get(request.valid) and not ctx.get(dut.memory.request.valid)
        assert ctx.get(dut.error) and ctx.get(dut.busy)

    simulate(dut, bench)


@pytest.mark.parametrize("sizes, message", [
    ((12, 4), "word_bytes must be a power of two, not 12"), ((8, 3), "external_bytes must be a power of two, not 3"),
    ((8, 16), "external_bytes must be at most word_bytes .8., not 16")])
def test_refused(sizes: tuple[int, int], message: str) -> None:
    """Widths that cannot work are refused with the reason."""
    for kind in (MoveIn, MoveOut):
        with pytest.raises(ValueError, match=message):
            kind(*sizes)
