"""Lines of both memories to pieces, in order."""

import random
from collections import deque
from typing import Any

import numpy as np
import pytest

from systolith.rtl.unpack_lines import UnpackLines
from tests.streams import check, read_server, send, simulate, stalls


def runs(rng: random.Random, line_bytes: int, outside: bool) -> list[dict[str, int]]:
    """Lines of random runs, some of which are longer than a burst may be; each line has pieces that count."""
    pieces = line_bytes // 8
    lines = []
    while len(lines) < 120:
        beyond, at, count = outside and rng.random() < 0.6, rng.randrange(200), rng.choice((1, 2, rng.randint(3, 40)))
        for k in range(count):
            first = rng.randrange(pieces)
            lines.append({"address": (at + k) * line_bytes, "outside": int(beyond), "first": first,
                          "pieces": rng.randint(1, pieces - first), "end": int(k == count - 1)})
    return lines


@pytest.mark.parametrize("word_bytes, external_bytes", [(4, 0), (4, 4), (8, 1), (16, 8), (32, 1), (32, 32)])
@pytest.mark.parametrize("often", [0.0, 0.2])
def test_lines(word_bytes: int, external_bytes: int, often: float) -> None:
    """No more is asked for than there is room for, and never of both memories at once; bursts are of at most 256
    beats."""
    rng = random.Random(word_bytes + external_bytes)
    dut = UnpackLines(word_bytes, external_bytes)
    memories = [bytearray(np.random.default_rng(k).bytes(240 * dut.line_bytes)) for k in (0, 1)]
    lines = runs(rng, dut.line_bytes, external_bytes > 0)
    wanted = [int.from_bytes(memories[line["outside"]][at:at + 8], "little") for line in lines
              for at in range(line["address"] + 8 * line["first"],
                              line["address"] + 8 * (line["first"] + line["pieces"]), 8)]
    due: deque[int] = deque()
    stall = [stalls(k, often) for k in range(5)]

    async def external(ctx: Any) -> None:
        while True:
            ready, offer = next(stall[0]) == 0, bool(due) and next(stall[1]) == 0
            ctx.set(dut.read_request.ready, ready)
            ctx.set(dut.read_data.valid, offer)
            if offer:
                at = due.popleft()
                ctx.set(dut.read_data.payload, int.from_bytes(memories[1][at:at + external_bytes], "little"))
            _, _, valid, burst, taken = await ctx.tick().sample(
                dut.read_request.valid, dut.read_request.payload, dut.read_data.ready)
            assert taken or not offer
            if ready and valid:
                assert burst.beats < min(256, 16 * dut.line_bytes // external_bytes)
                due.extend(burst.address + k * external_bytes for k in range(burst.beats + 1))

    async def slow(ctx: Any) -> None:
        await ctx.tick().repeat(150)  # all that there is room for comes meanwhile
        await check(ctx, dut.o, wanted, stall[2])
        assert ctx.get(dut.answered)

    simulate(dut, slow, lambda ctx: send(ctx, dut.lines, lines, stall[3]),
             background=[read_server(dut.memory, memories[0], 6, stall[4]), *([external] if external_bytes else [])])
