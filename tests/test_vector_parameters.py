"""Parameter sets arrive whole and in order, each plane's entries in their columns."""

import numpy as np
import pytest

from systolith.rtl.vector_parameters import ParameterFetch
from systolith.sim.golden.vector import pack_parameters, read_parameters, set_bytes
from tests.streams import read_server, receive, send, simulate, stalls


@pytest.mark.parametrize("cols, word_bytes", [(1, 4), (4, 4), (3, 8), (13, 16), (16, 16)])
def test_sets(cols: int, word_bytes: int) -> None:
    rng = np.random.default_rng(cols)
    size, count = set_bytes(cols, word_bytes), 12
    memory = np.concatenate([pack_parameters(
        rng.integers(-1 << 31, 1 << 31, cols), rng.integers(-1 << 31, 1 << 31, cols), rng.integers(0, 63, cols), cols,
        word_bytes)
        for _ in range(count)])
    jobs = [{"params": size * int(rng.integers(0, count - 3)), "memory": int(rng.integers(0, 2)),
             "operands": int(rng.integers(0, 2)), "tiles": int(rng.integers(1, 4))} for _ in range(30)]
    dut = ParameterFetch(cols, word_bytes)
    log: list[int] = []

    async def check(ctx: object) -> None:
        used = stalls(3)
        for job in jobs:
            for tile in range(1 if job["memory"] else job["tiles"]):
                (got,) = await receive(ctx, dut.o, 1, used)
                want = read_parameters(memory, job["params"] + tile * size, cols, word_bytes)
                entries = slice(0, 1) if job["memory"] else slice(0, cols)
                for name in ("bias", "multiplier", "shift"):
                    assert got[name][entries] == getattr(want, name)[entries].tolist(), (job, tile, name)
                if job["memory"] and job["operands"]:
                    b = read_parameters(memory, job["params"] + size, cols, word_bytes)
                    assert (got["b_bias"], got["b_multiplier"]) == (b.bias[0], b.multiplier[0])

    simulate(dut, lambda ctx: send(ctx, dut.i, jobs, stalls(1)), check,
             background=[read_server(dut.port, bytearray(memory.tobytes()), 4, stalls(2), log)])
    assert all(address % word_bytes == 0 for address in log)
    assert len(log) == sum((3 + 2 * j["operands"]) if j["memory"] else j["tiles"] * size // word_bytes for j in jobs)


def test_sizes() -> None:
    with pytest.raises(ValueError, match="cols must be from 1 to word_bytes"):
        ParameterFetch(5, 4)
