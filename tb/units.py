"""A unit that executes instructions, from its program to the last one's effect."""

from typing import Any

import cocotb

from systolith.rtl.ports import Give, Retired, Take

from .streams import PATIENCE, Sink, Source, read, sample, stalls, start, unpack


async def execute(dut: Any, layout: Any, words: list[Any], program: Any, feeds: dict[str, tuple[Any, list[Any]]],
                  limit: int = 6 * PATIENCE) -> None:
    """Sends a program's instructions, every stream stalling, and checks semaphores, retirements and the idle unit.

    words: the instructions' payloads of a stream of `layout`. program: has `instructions` and `semaphores(verb)`.
    feeds: other streams into the unit by name: shape and payloads. limit: cycles that it may take.
    """
    source, take, give = Source(dut, "instruction", layout), Sink(dut, "take", Take), Sink(dut, "give", Give)
    others = [(Source(dut, name, shape), payloads) for name, (shape, payloads) in feeds.items()]
    await start(dut)
    source.feed(words, stalls(3))
    for seed, (other, payloads) in enumerate(others, 10):
        other.feed(payloads, stalls(seed))
    ends = [cocotb.start_soon(take.check(program.semaphores("wait"), stalls(4), limit)),
            cocotb.start_soon(give.check(program.semaphores("signal"), stalls(5), limit))]
    tags: list[int] = []
    for _ in range(limit):
        retired, error = await sample(dut, dut.retired, dut.error)
        assert not error
        end = unpack(Retired, retired)
        if end["valid"]:
            tags.append(end["tag"])
        if len(tags) == len(program.instructions):
            break
    assert tags == [i.tag for i in program.instructions]
    for task in ends:
        await task
    for _ in range(5):
        await sample(dut, dut.clk)
    assert not read(dut.busy)
