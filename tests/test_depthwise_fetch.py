"""Words of strips on their way from memory: where each goes, and which columns are said to be there."""

import random
from typing import Any

import pytest

from systolith.rtl.depthwise_fetch import DepthwiseFetch
from tests.depthwise_cases import LEGAL, UNUSUAL, DepthwiseCases, strips
from tests.streams import read_server, send, simulate, stalls
from tests.test_depthwise_strips import COLS, WORD, fetched, read


@pytest.mark.parametrize("latency, often, free_often", [
    (1, 0, 0.7), (5, 0.3, 0.7), (7, 0, 0.7), (2, 0.1, 0.04), (20, 0, 0.9)])
def test_arrivals(latency: int, often: float, free_often: float) -> None:
    """Every word at its place with its bytes; a column is there after the last of its words has come, and no sooner."""
    cases = DepthwiseCases(latency, COLS, WORD)
    program = [cases.instruction(**fields) for fields in
               [{}] * 12 + [{"height": 1, "width": 12}] * 3 + [LEGAL | fields for fields in UNUSUAL]]
    walked = [(strip, number % 4) for number, i in enumerate(program) for strip in strips(i, 4)]
    expected = read(walked)
    columns_in_all = sum(len(strip.columns()) for strip, _ in walked)
    memory = bytearray(cases.memory.tobytes())
    dut = DepthwiseFetch(WORD, 7)
    rng = random.Random(latency)

    async def bench(ctx: Any) -> None:
        free = released = columns = number = idle = 0
        while columns < columns_in_all:
            if rng.random() < free_often and free < columns:
                free += 1
            group = expected[number - 1]["group"] if number else 0
            release = int(rng.random() < 0.05 and released < group)
            released += release
            ctx.set(dut.free, free % 64)
            ctx.set(dut.release, release)
            _, _, arrival, word, now = await ctx.tick().sample(dut.arrival, dut.word, dut.columns)
            columns += (now - columns) % 64
            # The word that comes in this cycle is not in the memory yet.
            assert columns <= (expected[number]["complete"] if number < len(expected) else columns_in_all), number
            if arrival.valid:
                wanted = expected[number]
                assert (arrival.kind, arrival.place) == (wanted["kind"], wanted["place"]), number
                if wanted["padding"]:
                    assert word == int.from_bytes([wanted["pad"]] * WORD, "little")
                else:
                    at = wanted["address"]
                    assert word == int.from_bytes((memory[(at + k) % len(memory)] for k in range(WORD)), "little")
                number += 1
                idle = 0
            idle += 1
            assert idle < 3000, "no words come"
        assert number == len(expected)

    simulate(dut, bench, background=[
        lambda ctx: send(ctx, dut.i, [fetched(*one) for one in walked], stalls(3, 0.1), 100_000),
        read_server(dut.port, memory, latency, stalls(4, often))])
