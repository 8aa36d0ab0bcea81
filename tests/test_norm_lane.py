"""One lane of the second pass, against Python's integers."""

import random
from typing import Any

from systolith.rtl.isa import NORM_ELEMS
from systolith.rtl.norm_lane import DOWN, GAIN, LATENCY, OFFSET, RECIPROCAL, SHIFT, SUM, NormLane
from tests.streams import simulate

TIMES = {"x": 0, "sum": SUM, "reciprocal": RECIPROCAL, "down": DOWN, "gain": GAIN, "shift": SHIFT, "offset": OFFSET}
LOW, HIGH = -30000, 29999


def _shift(value: int, by: int) -> int:
    return (value + (1 << by >> 1)) >> by


def _cases(n: int, zero: int, count: int) -> tuple[list[dict[str, int]], list[int]]:
    """Inputs as they occur, at the ends of their ranges too, and outputs in and out of their range."""
    rng = random.Random(n)
    cases, wanted = [], []
    while len(cases) < count:
        case = {
            "x": rng.choice((-32768, 32767, rng.randint(-32768, 32767), rng.randint(-9, 9))),
            "sum": rng.choice((-32768 * n, 32767 * n, 0, rng.randint(-32768 * n, 32767 * n))),
            "reciprocal": rng.choice((1 << 17, (1 << 18) - 1, rng.randrange(1 << 17, 1 << 18))),
            "down": rng.randrange(31),
            "gain": rng.choice((-(1 << 17), (1 << 17) - 1, rng.randrange(-(1 << 17), 1 << 17))),
            "shift": rng.choice((0, 63, rng.randrange(64), rng.randrange(10, 30))),
            "offset": rng.choice((-(1 << 31), (1 << 31) - 1, rng.randrange(-(1 << 22), 1 << 22), 0)),
        }
        if rng.random() < 0.3:
            case["sum"] = max(-32768 * n, min(32767 * n, n * case["x"] - rng.randrange(-300, 300)))
        t = _shift((n * case["x"] - case["sum"]) * case["reciprocal"], case["down"])
        if not -(1 << 22) <= t < 1 << 22:
            continue
        u = _shift(t * case["gain"], case["shift"])
        if rng.random() < 0.5 and abs(u) < 1 << 30:  # a sum next to a tie, or to an end of the range
            target = rng.choice((LOW - zero, HIGH - zero, rng.randrange(LOW, HIGH)))
            case["offset"] = max(-(1 << 31), min((1 << 31) - 1, 256 * target + rng.randrange(125, 131) - u))
        cases.append(case)
        wanted.append(min(max((u + case["offset"] + 128 >> 8) + zero, LOW), HIGH))
    return cases, wanted


def test_lane() -> None:
    """An element every cycle, each with a row and a channel of its own."""
    for n, zero in ((1, 0), (3, -32768), (NORM_ELEMS, 32767)):
        cases, wanted = _cases(n, zero, 1200)
        dut, got = NormLane(), []

        async def bench(ctx: Any, dut: NormLane = dut, cases: list[dict[str, int]] = cases, got: list[int] = got,
                        steady: tuple[int, int] = (n, zero)) -> None:
            ctx.set(dut.n, steady[0])
            ctx.set(dut.zero_point, steady[1])
            ctx.set(dut.low, LOW)
            ctx.set(dut.high, HIGH)
            for cycle in range(len(cases) + LATENCY):
                for name, late in TIMES.items():
                    ctx.set(getattr(dut, name), cases[min(max(cycle - late, 0), len(cases) - 1)][name])
                got.append((await ctx.tick().sample(dut.o))[-1])

        simulate(dut, bench)
        assert got[LATENCY:] == wanted
        assert len(set(wanted)) > 100 and {LOW, HIGH} < set(wanted)
