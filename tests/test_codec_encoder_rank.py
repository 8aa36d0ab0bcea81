"""Ranks and contexts of single values against the model."""

from typing import Any

import numpy as np

from systolith.rtl.codec.encoder_rank import LATENCY, RankLane
from systolith.rtl.codec.encoder_tile import RANK_CENTRE
from systolith.sim.codec.symbols import Z_SYMBOL, predictions, symbols
from tests.streams import plain, simulate


def test_ranks_and_contexts() -> None:
    """Values near to their neighbours and to the centre, and far; one after the other, the centre changes too."""
    numbers, count = np.random.default_rng(0), 6000
    value, left, upper = numbers.integers(0, 256, (3, count))
    kind = numbers.integers(0, 10, (4, count))
    left = np.where(kind[0] < 5, value + numbers.integers(-9, 10, count), left).clip(0, 255)
    upper = np.where(kind[1] < 5, left + numbers.integers(-3, 4, count), upper).clip(0, 255)
    centres = np.where(kind[2] < 3, value, numbers.integers(0, 256, count))
    left, upper = (np.where(kind[3] < k, centres, side) for k, side in ((2, left), (3, upper)))
    wanted = []
    for k in range(count):
        at = [np.array([[[[number]]]], np.int16) for number in (value[k], left[k], upper[k])]
        one: dict[str, int] = {}
        for predictor, name in (("A", "map"), ("U", "map"), ("Z", "spread")):
            prediction, context = predictions(predictor, at[1], at[2], int(centres[k]))
            symbol = int(symbols(at[0], prediction, int(centres[k])).item())
            one |= {predictor.lower(): RANK_CENTRE if symbol == Z_SYMBOL else symbol, name: int(context.item())}
        wanted.append(one)
    dut = RankLane()

    async def bench(ctx: Any) -> None:
        for k in range(count + LATENCY):
            if k < count:
                ctx.set(dut.i, {"value": int(value[k]), "left": int(left[k]), "upper": int(upper[k])})
                ctx.set(dut.centre, int(centres[k]))
                assert ctx.get(dut.is_centre) == (value[k] == centres[k])
            if k >= LATENCY:
                assert plain(ctx.get(dut.o)) == wanted[k - LATENCY], k - LATENCY
            await ctx.tick()

    simulate(dut, bench)
