"""Outputs reach their places, and an instruction closes after its last one."""

import random
from typing import Any

from systolith.rtl.vector_writer import VectorWriter
from tests.streams import check, receive, send, simulate, stalls, write_server


def test_outputs_and_closings() -> None:
    rng = random.Random(1)
    memory, expected = bytearray(512), bytearray(512)
    openings, stores, words, gives = [], [], [], []
    for tag in range(40):
        signals = {name: rng.choice((0, rng.randrange(16))) for name in ("signal0", "signal1")}
        signals |= {f"{name}_count": rng.randrange(3) for name in ("signal0", "signal1")}
        openings.append({"signals": signals, "tag": tag})
        gives += [{"semaphore": signals[name], "count": signals[f"{name}_count"]} for name in ("signal0", "signal1")
                  if signals[name] and signals[f"{name}_count"]]
        outputs = rng.randint(1, 5)
        for number in range(outputs):
            address, count, word = rng.randrange(500), rng.randint(1, 8), rng.randbytes(8)
            stores.append({"address": address, "count": count, "final": int(number == outputs - 1)})
            words.append(int.from_bytes(word, "little"))
            expected[address:address + count] = word[:count]
    dut = VectorWriter(8)
    log: list[int] = []
    ends = [number + 1 for number, store in enumerate(stores) if store["final"]]

    async def watch(ctx: Any) -> None:
        for tag, end in enumerate(ends):
            (retired,) = await ctx.tick().sample(dut.retired).until(dut.retired.valid)
            assert retired.tag == tag
            assert len(log) >= end, "retired before its outputs were in memory"
        await idle(ctx)

    async def idle(ctx: Any) -> None:
        for _ in range(200):
            await ctx.tick()
        assert not ctx.get(dut.busy)

    simulate(dut, watch, lambda ctx: send(ctx, dut.open, openings, stalls(1)),
             lambda ctx: send(ctx, dut.stores, stores, stalls(2)), lambda ctx: send(ctx, dut.words, words, stalls(3)),
             lambda ctx: check(ctx, dut.give, gives, stalls(4, 0.8)),
             background=[write_server(dut.write, memory, stalls(5), log)])
    assert memory == expected


def test_open_instructions_are_bounded() -> None:
    dut = VectorWriter(4)

    async def count(ctx: Any) -> None:
        ctx.set(dut.open.valid, 1)
        for number in range(8):
            assert ctx.get(dut.open.ready) == (number < 4)
            assert ctx.get(dut.slot) == min(number, 4) % 4
            await ctx.tick()

    simulate(dut, count)


def test_a_final_output_waits_for_the_signals_before_it() -> None:
    dut = VectorWriter(4)
    signals = {"signal0": 1, "signal0_count": 1, "signal1": 0, "signal1_count": 0}

    async def bench(ctx: Any) -> None:
        ctx.set(dut.write.request.ready, 1)
        for _ in range(60):
            await ctx.tick()
        assert ctx.get(dut.give.valid) and not ctx.get(dut.write.request.valid)
        assert len(await receive(ctx, dut.give, 3)) == 3

    simulate(dut, bench, background=[
        lambda ctx: send(ctx, dut.open, [{"signals": signals, "tag": k} for k in range(3)]),
        lambda ctx: send(ctx, dut.stores, [{"address": 0, "count": 4, "final": 1}] * 3),
        lambda ctx: send(ctx, dut.words, [0] * 3)])
