"""The movers under Icarus: out to a model of external memory, and in again."""

import random
from collections.abc import Iterator
from typing import Any

import cocotb
from cocotb.triggers import RisingEdge

from systolith.rtl.isa import MOVE_IN, MOVE_OUT
from systolith.rtl.ports import Give, Retired, Take
from tb.harness import parameters
from tb.streams import Sink, Source, read, serve_read, serve_write, stalls, start, unpack
from tests.mover_loop import EXTERNAL_BITS, MoverLoop, copy, numbers, random_moves, semaphore_traffic, values

MEMORY = 4096


def benches() -> Iterator[tuple[str, Any, dict[str, Any]]]:
    """Sizes to run."""
    for word, beat, latency in ((16, 8, 32), (4, 4, 5), (8, 1, 16)):
        yield f"mover_{word}_{beat}", MoverLoop(word, beat, latency), {"word": word, "beat": beat}


@cocotb.test()
async def out_and_in(dut: Any) -> None:
    """All bytes go out and come back to other places; takes, gives and ends come in order."""
    word, beat = parameters()["word"], parameters()["beat"]
    outs = random_moves(MOVE_OUT, word, beat, 10, 1, MEMORY, aligned=False)
    ins = random_moves(MOVE_IN, word, beat, 10, 2, MEMORY, indexed=True)
    source = bytearray(random.Random(3).randbytes(MEMORY))
    target, store = bytearray(MEMORY), bytearray(1 << EXTERNAL_BITS)
    expected = bytearray(target)
    copy(outs, source, store, into_memory=False)
    copy(ins, store, expected, into_memory=True)

    ends = {}
    for n, (side, kind) in enumerate((("out", MOVE_OUT), ("in", MOVE_IN))):
        ends[side] = (Source(dut, f"{side}_instruction", kind.layout()), Sink(dut, f"{side}_take", Take),
                      Sink(dut, f"{side}_give", Give), n)
    serve_read(dut, "read", source, 4, stalls(4))
    serve_read(dut, "numbers", numbers(MEMORY), 4, stalls(6))
    serve_write(dut, "write", target, word, stalls(5))
    await start(dut)
    for side, moves in (("out", outs), ("in", ins)):
        instruction, take, give, n = ends[side]
        takes, gives = semaphore_traffic(moves)
        instruction.feed(map(values, moves), stalls(10 + n))
        cocotb.start_soon(take.check(takes, stalls(20 + n)))
        given = cocotb.start_soon(give.check(gives, stalls(30 + n)))
        tags: list[int] = []
        for _ in range(30000):
            await RisingEdge(dut.clk)
            retired = unpack(Retired, read(getattr(dut, f"{side}_retired")))
            assert not read(getattr(dut, f"{side}_error"))
            if retired["valid"]:
                tags.append(retired["tag"])
            if len(tags) == len(moves):
                break
        assert tags == [move.tag for move in moves]
        await RisingEdge(dut.clk)
        await RisingEdge(dut.clk)
        assert not read(getattr(dut, f"{side}_busy"))
        await given
    assert target == expected
