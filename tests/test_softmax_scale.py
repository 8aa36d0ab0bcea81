"""One lane of the third pass, against Python's integers."""

import random
from typing import Any

from systolith.rtl.softmax_scale import CLAMPED, PRODUCT, SHIFTED, ScaleLane
from tests.streams import simulate


def _cases() -> list[tuple[int, int, int]]:
    """(entry, reciprocal, log) as they occur, outputs from 0 to 256 before the clamp, at ties and beside them."""
    rng = random.Random(1)
    cases = []
    for number in range(600):
        log = number % 37
        s = 1 << log if number % 5 == 0 else rng.randrange(1 << log, 2 << log)
        reciprocal = (2 ** (log + 25) // s + 1) // 2
        top = min(s, (1 << 25) - 1)
        tie = (2 * rng.randrange(256) + 1 << log + 15) // reciprocal + rng.randrange(2)  # half of an output's step
        entry = rng.choice((top, rng.randint(0, top), min(tie, top), max(0, top - rng.randrange(9))))
        cases.append((entry, reciprocal, log))
    return cases


def test_lane() -> None:
    """A value every cycle, each with a logarithm of its own."""
    cases, dut, got = _cases(), ScaleLane(), []

    async def bench(ctx: Any) -> None:
        for cycle in range(len(cases) + CLAMPED):
            entry, reciprocal, _ = cases[min(cycle, len(cases) - 1)]
            logs = [cases[min(max(cycle - late, 0), len(cases) - 1)][2] for late in (PRODUCT, SHIFTED)]
            ctx.set(dut.entry, entry)
            ctx.set(dut.reciprocal, reciprocal)
            ctx.set(dut.log, logs[0])
            ctx.set(dut.log_low, logs[1] % 8)
            _, _, o = await ctx.tick().sample(dut.o)
            got.append(o)

    simulate(dut, bench)
    wanted = [(min(255, (e * r + (1 << log + 15)) >> log + 16) - 128) % 256 for e, r, log in cases]
    assert got[CLAMPED:] == wanted
    assert len(set(wanted)) > 100 and 127 in wanted and 128 in wanted
