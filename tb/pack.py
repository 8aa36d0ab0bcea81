"""PACK instructions under Icarus, with the pager: the cases of `tests/test_pack.py`, every port stalling."""

from collections.abc import Iterator
from typing import Any

import cocotb
import numpy as np
from cocotb.triggers import RisingEdge

from systolith.rtl.isa import PACK
from systolith.rtl.ports import Burst
from tb.harness import parameters
from tb.streams import Sink, read, serve_read, serve_write, stalls
from tb.units import execute
from tests.pack_cases import EXTERNAL, Cases, Sizes, Write
from tests.pack_loop import PackLoop

SIZES = (Sizes(4, 0, 2, pages=90, limit=80), Sizes(), Sizes(32, 4, 8, 128, 12, 64, limit=5), Sizes(8, 8, 4, 64, 6, 3))


def benches() -> Iterator[tuple[str, PackLoop, dict[str, int]]]:
    for index, sizes in enumerate(SIZES):
        yield (f"pack_{sizes.word_bytes}_{sizes.external_bytes}_{sizes.codec_lanes}", PackLoop(sizes), {"index": index})


def serve_bursts(dut: Any, memory: bytearray, width: int) -> Any:
    """Put `memory` behind the writing half of the external port for ever; a burst is done a while after its end."""
    requests, beats = Sink(dut, "write_request", Burst), Sink(dut, "write_data")
    ended: list[int] = []
    dut.write_done.value = 0

    async def serve() -> None:
        while True:
            burst = (await requests.take(1, stalls(20), 1 << 30))[0]
            data = await beats.take(burst["beats"] + 1, stalls(burst["address"]))
            for k, beat in enumerate(data):
                at = burst["address"] + k * width
                memory[at:at + width] = beat.to_bytes(width, "little")
            ended.append(25)

    async def finish() -> None:
        while True:
            await RisingEdge(dut.clk)
            ended[:] = [cycles - 1 for cycles in ended]
            dut.write_done.value = int(bool(ended) and ended[0] <= 0)
            if ended and ended[0] <= 0:
                ended.pop(0)
    cocotb.start_soon(serve())
    return cocotb.start_soon(finish())


@cocotb.test()
async def instructions(dut: Any) -> None:
    """Memory on both sides, semaphores and retirements after a program of random instructions."""
    sizes = SIZES[parameters()["index"]]
    program = Cases(sizes.word_bytes + 1, sizes).program(12, close=0)
    memory, external = bytearray(program.memory.tobytes()), bytearray(EXTERNAL)
    serve_read(dut, "read", memory, 6, stalls(1))
    serve_write(dut, "memory", memory, sizes.word_bytes, stalls(2))
    if sizes.external_bytes:
        serve_bursts(dut, external, sizes.external_bytes)
    await execute(dut, PACK.layout(), program.payloads(), program, {})
    assert not read(dut.pager_error) and not read(dut.out_of_pages)
    chip, away = program.memory.copy(), np.zeros(EXTERNAL, np.uint8)
    written = [effect for effect in program.effects() if isinstance(effect, Write)]
    assert any(write.outside for write in written) == (sizes.external_bytes > 0)
    for write in written:
        target = away if write.outside else chip
        target[write.address:write.address + len(write.data)] = np.frombuffer(write.data, np.uint8)
    np.testing.assert_array_equal(np.frombuffer(memory, np.uint8), chip)
    np.testing.assert_array_equal(np.frombuffer(external, np.uint8), away)
