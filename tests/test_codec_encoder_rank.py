"""Contexts and codes of single values against the model."""

from typing import Any

import numpy as np
import pytest

from systolith.rtl.codec.encoder_code import LATENCY as CODE_LATENCY
from systolith.rtl.codec.encoder_code import CodePair
from systolith.rtl.codec.encoder_rank import LATENCY, Contexts
from systolith.rtl.codec.tables import CODE_OF, CONST, MODES, TABLE_SETS, ZERO
from systolith.sim.codec.symbols import CODE_BITS, CODE_LENGTHS, predictions, symbols
from tests.streams import plain, simulate


def values(count: int, seed: int) -> list[tuple[int, ...]]:
    """Values, their neighbours and centres: near to one another, far, and equal."""
    numbers = np.random.default_rng(seed)
    value, left, upper = numbers.integers(0, 256, (3, count))
    kind = numbers.integers(0, 10, (4, count))
    left = np.where(kind[0] < 5, value + numbers.integers(-9, 10, count), left).clip(0, 255)
    upper = np.where(kind[1] < 5, left + numbers.integers(-3, 4, count), upper).clip(0, 255)
    centres = np.where(kind[2] < 3, value, numbers.integers(0, 256, count))
    left, upper = (np.where(kind[3] < k, centres, side) for k, side in ((2, left), (3, upper)))
    return list(zip(*(array.tolist() for array in (value, left, upper, centres)), strict=True))


def at(number: int) -> Any:
    return np.array([[[[number]]]], np.int16)


def test_contexts() -> None:
    given = values(6000, 0)
    dut = Contexts()

    async def bench(ctx: Any) -> None:
        for k in range(len(given) + LATENCY):
            if k < len(given):
                _, left, upper, centre = given[k]
                ctx.set(dut.i, {"left": left, "upper": upper, "centre": centre})
            if k >= 1 and k <= len(given):
                _, left, upper, _ = given[k - 1]
                assert ctx.get(dut.mean) == (left + upper + 1) >> 1
            if k >= LATENCY:
                _, left, upper, centre = given[k - LATENCY]
                wanted = [int(predictions(p, at(left), at(upper), centre)[1].item()) for p in "AZ"]
                assert [ctx.get(dut.map), ctx.get(dut.spread)] == wanted, given[k - LATENCY]
            await ctx.tick()

    simulate(dut, bench)


@pytest.mark.parametrize("table_set", range(TABLE_SETS))
def test_codes(table_set: int) -> None:
    """In all modes; without runs."""
    given = values(2500, 1 + table_set)
    numbers = np.random.default_rng(table_set)
    modes = numbers.integers(0, 10, (len(given), 2)).tolist()
    firsts = (numbers.random(len(given)) < 0.3).astype(int).tolist()
    dut = CodePair()

    def wanted(k: int, lane: int) -> tuple[int, int]:
        value, left, upper, centre = given[k]
        mode = modes[k][lane]
        if mode == CONST:
            return (8, value) if firsts[k] else (0, 0)
        if mode == ZERO:
            return 0, 0
        prediction, context = predictions(MODES[table_set][mode][0], at(left), at(upper), centre)
        symbol = int(symbols(at(value), prediction, centre).item())
        code = CODE_OF[table_set][mode][int(context.item())]
        return int(CODE_LENGTHS[code][symbol]), int(CODE_BITS[code][symbol])

    async def bench(ctx: Any) -> None:
        for k in range(len(given) + CODE_LATENCY):
            if k < len(given):
                value, left, upper, centre = given[k]
                contexts = [int(predictions(p, at(left), at(upper), centre)[1].item()) for p in "AZ"]
                symbol = {"value": value, "mean": (left + upper + 1) >> 1, "upper": upper, "map": contexts[0],
                          "spread": contexts[1], "two": {"begins": 0, "covered": 0},
                          "four": {"begins": 0, "covered": 0}, "is_centre": int(value == centre)}
                for lane in range(2):
                    ctx.set(dut.i[lane], {"symbol": symbol, "mode": modes[k][lane], "table_set": table_set,
                                          "first": firsts[k], "active": 1, "centre": centre})
            if k >= CODE_LATENCY:
                for lane in range(2):
                    code = plain(ctx.get(dut.o[lane]))
                    bits = code["body"] << code["shift"] if code["shift"] < 15 else code["body"] >> 1
                    assert (code["length"], bits) == wanted(k - CODE_LATENCY, lane), (given[k - CODE_LATENCY], modes[
                        k - CODE_LATENCY][lane], code)
            await ctx.tick()

    simulate(dut, bench)
