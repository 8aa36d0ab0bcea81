"""UNPACK instructions whose tiles are damaged or missing."""

from typing import Any

import pytest

from tests.codec_reference import Coded
from tests.unpack_cases import Cases, Program, Sizes, padded
from tests.unpack_run import run


def _spoilt(cases: Cases, data: bytes, tile: Any, table_set: int, number: int) -> bytes | None:
    """A tile with a bit changed, or cut; None where it can still be decoded."""
    before = Coded(data, tile.shape, 0, table_set=table_set)
    after = (cases.tiles.flipped, cases.tiles.cut)[number % 3 == 0](before)
    return None if after.values() is not None else padded(after)


@pytest.mark.parametrize("seed", range(8))
def test_damaged_tiles(seed: int) -> None:
    """What comes before, in other slots as well, ends; nothing of what comes later does."""
    cases = Cases(seed, Sizes(pages=3))
    shape = {"rows": 2, "columns": 4, "columns_last": 4, "channels": 12, "centre": -128, "bands": 1 + seed % 2,
             "across": 1}
    jobs = [cases.stream(n, 2, 1, 400, "sparse", **shape) for n in range(3)]
    program = cases.program(jobs[0] + jobs[1], jobs[2])
    bad = 1 + seed % 4
    job = program.jobs[bad]
    coded_tiles = job.data
    spoilt = None
    while spoilt is None:
        spoilt = _spoilt(cases, coded_tiles[-1], job.tiles[-1], job.instruction.table_set, seed)
    job.data = [*coded_tiles[:-1], spoilt]
    run(program, seed=seed, often=0.1, damaged=bad)


def test_entries_that_cannot_be() -> None:
    """The entry is believed as far as reading goes: the tile is damaged, whatever comes behind it."""
    for entry in (0xFFFF, 0x0000, 0x8003):
        cases = Cases(entry, Sizes(pages=3, outside=60))
        jobs = [cases.stream(n, 2, 1, 200, "raw", rows=3, columns=5, columns_last=5, channels=9, bands=2, across=1)
                for n in range(2)]
        program = cases.program(jobs[0])
        program.jobs[1].data[0] = entry.to_bytes(2, "little") + bytes(8)[2:] + bytes(64 * 240)
        run(program, often=0, damaged=1)


@pytest.mark.parametrize("how", ["unopened", "unfinished", "finished", "inside"])
def test_missing_tiles(how: str) -> None:
    """A stream that is not there, that has no further page, or that ends within a tile."""
    cases = Cases(5, Sizes(page_bytes=64))
    shape = {"rows": 1, "columns": 2, "columns_last": 2, "channels": 31, "bands": 1, "across": 1}  # a page
    good, late = cases.stream(0, 3, 1, 200, "raw", **shape), cases.stream(1, 1, 1, 200, "raw", **shape)
    for job in good:
        job.instruction.values["close"], job.ends = 0, False
    if how == "unopened":
        good[2].instruction.values["stream"], good[2].data = 2, []
    elif how == "inside":
        good[1].data, good[1].ends, good[2].data = [b"\0\xF0" + bytes(62)], True, []
        good[1].instruction.values["columns"] = good[1].instruction.values["columns_last"] = 3
        good[1].tiles = [good[1].tiles[0].repeat(2, 1)[:, :3]]
    else:
        good[2].data, good[1].ends = [], how == "finished"
    jobs = [good[0], *late, *good[1:]]
    bad = 2 if how == "inside" else 3
    run(Program(cases.sizes, jobs, cases.memory, cases.base, cases.outside), damaged=bad, often=0.1)
