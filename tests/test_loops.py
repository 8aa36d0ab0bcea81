"""The loop stack against a list."""

import random

import pytest

from systolith.rtl.loops import LoopStack
from tests.streams import simulate


@pytest.mark.parametrize("depth", [1, 3, 4])
def test_against_a_list(depth: int) -> None:
    dut = LoopStack(depth)
    rng = random.Random(depth)

    async def bench(ctx):
        stack: list[list[int]] = []
        for _ in range(400):
            assert ctx.get(dut.empty) == (not stack) and ctx.get(dut.full) == (len(stack) == depth)
            assert ctx.get(dut.again) == bool(stack and stack[-1][1] > 1)
            if stack:
                assert ctx.get(dut.target) == stack[-1][0]
            what = rng.choice(("enter", "following", "following", "following", "nothing"))
            body, count = rng.getrandbits(24), rng.choice((1, 2, 3, 5))
            ctx.set(dut.body, body)
            ctx.set(dut.count, count)
            if what != "nothing":
                ctx.set(getattr(dut, what), 1)
            if what == "enter" and len(stack) < depth:
                stack.append([body, count])
            if what == "following" and stack:
                stack[-1][1] -= 1
                if not stack[-1][1]:
                    stack.pop()
            if rng.random() < 0.02:
                ctx.set(dut.clear, 1)
                stack = []
            await ctx.tick()
            for name in ("enter", "following", "clear"):
                ctx.set(getattr(dut, name), 0)
    simulate(dut, bench)


def test_refuses_what_cannot_work() -> None:
    with pytest.raises(ValueError, match="depth must be at least 1, not 0"):
        LoopStack(0)
