"""A row's variance and its reciprocal root, against Python's integers."""

import random
from math import isqrt
from typing import Any

from systolith.rtl.isa import NORM_ELEMS
from systolith.rtl.norm_root import CYCLES, ReciprocalRoot
from systolith.rtl.norm_variance import Variance
from systolith.sim.golden.norm import reciprocal_root
from tests.streams import check, send, simulate, stalls

JOBS = [(1, 0, 0), (2, 1, 1), (NORM_ELEMS, 0, 0), (NORM_ELEMS, 0, (1 << 64) - 1), (NORM_ELEMS, 1, (1 << 64) - 1),
        (2047, 0, 1 << 63), (3, 0, (1 << 32) - 1), (384, 1, 1 << 32), (77, 0, 99)]
"""Elements, rms and epsilon of instructions."""


def _normal(n: int, rms: int, epsilon: int, s: int, q: int) -> tuple[int, int]:
    v = 256 * (n * q - (0 if rms else s * s)) + epsilon
    k = max(3, -(-v.bit_length() // 2))
    return v << 36 >> 2 * k, k - 3


def test_variances() -> None:
    """Sums as large as they get, and all lengths of the result."""
    rng = random.Random(1)
    jobs = [*JOBS, *((1, 1, 1 << bit) for bit in range(64)), *((rng.randint(1, NORM_ELEMS), rng.randrange(2),
                                                                rng.getrandbits(64) >> rng.randrange(64))
                                                               for _ in range(60))]
    given, wanted = [], []
    for n, rms, epsilon in jobs:
        rows = [(n * x, n * x * x) for x in (-32768, 32767, 0, -1)][:rng.randint(1, 4)]
        values = [rng.randint(-32768, 32767) >> rng.randrange(16) for _ in range(n)]
        rows.append((sum(values), sum(x * x for x in values)))
        for number, (s, q) in enumerate(rows):
            value, down = _normal(n, rms, epsilon, s, q)
            final = number == len(rows) - 1
            given.append({"sum": s, "squares": q, "final": final})
            wanted.append({"value": value, "down": down, "sum": 0 if rms else s, "final": final})
    assert max(row["down"] for row in wanted) == 30 and min(row["down"] for row in wanted) == 0
    dut = Variance()
    simulate(dut, lambda ctx: send(ctx, dut.i, given, stalls(1)),
             lambda ctx: send(ctx, dut.job, [{"elems": n, "rms": rms, "epsilon": e} for n, rms, e in jobs], stalls(2)),
             lambda ctx: check(ctx, dut.o, wanted, stalls(3)))


def _cycles_of(dut: Any, given: dict[str, int], count: int, job: dict[str, int] | None = None) -> list[int]:
    """Cycles in which a result comes, where the next row is there at once."""
    found: list[int] = []

    async def watch(ctx: Any) -> None:
        ctx.set(dut.o.ready, 1)
        for cycle in range(26 * count):
            if (await ctx.tick().sample(dut.o.valid))[-1]:
                found.append(cycle)

    jobs = [lambda ctx: send(ctx, dut.job, [job])] if job else []
    rows = [given | {"final": int(number == count - 1)} for number in range(count)]
    simulate(dut, watch, lambda ctx: send(ctx, dut.i, rows), *jobs)
    return [after - before for before, after in zip(found, found[1:], strict=False)]


def test_cycles() -> None:
    """A variance never takes longer than a root."""
    for epsilon, cycles in ((0, 19), (1 << 63, 14), (1 << 46, 15)):
        job = {"elems": 1, "rms": 0, "epsilon": epsilon}
        assert set(_cycles_of(Variance(), {"sum": 0, "squares": 0}, 5, job)) == {cycles}
    assert set(_cycles_of(ReciprocalRoot(), {"value": 1 << 35, "down": 1, "sum": 0}, 5)) == {CYCLES}


def test_roots() -> None:
    """The ends of the range, roots that come out even and their neighbours, and random ones."""
    rng = random.Random(2)
    values = [1 << 34, (1 << 34) + 1, (1 << 36) - 1, 1 << 35, (1 << 36) - 2]
    for _ in range(60):
        y = rng.randrange(1 << 18, 1 << 19)
        at = (1 << 72) // (y * y)  # y is the root just up to here
        values += [v for v in (at, at + 1) if 1 << 34 <= v < 1 << 36]
    values += [rng.randrange(1 << 34, 1 << 36) for _ in range(100)]
    given = [{"value": v, "down": number % 31, "sum": rng.randrange(-(1 << 26), 1 << 26), "final": rng.randrange(2)}
             for number, v in enumerate(values)]
    wanted = [{"sum": row["sum"], "reciprocal": min((isqrt((1 << 72) // row["value"]) + 1) >> 1, (1 << 18) - 1),
               "down": row["down"], "final": row["final"]} for row in given]
    for row, want in zip(given, wanted, strict=True):
        assert reciprocal_root(row["value"])[0] == want["reciprocal"]
    dut = ReciprocalRoot()
    simulate(dut, lambda ctx: send(ctx, dut.i, given, stalls(1)), lambda ctx: check(ctx, dut.o, wanted, stalls(2)))
