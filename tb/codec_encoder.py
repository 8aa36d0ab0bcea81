"""The codec's encoder under Icarus: tiles of every kind, every stream stalling."""

from collections.abc import Iterator
from typing import Any

import cocotb
from cocotb.utils import get_sim_time

from systolith.rtl.codec.encoder import Encoder
from systolith.rtl.codec.encoder_tile import STEPS, Entry, Payload, Tile
from tb.harness import parameters
from tb.streams import Sink, Source, silent, stalls, start
from tests.codec_tiles import rectified, tiles
from tests.test_codec_encoder import Tiles, expected, largest, sizes, steps, words


def benches() -> Iterator[tuple[str, Encoder, dict[str, int]]]:
    for lanes in (8, 4, 2):
        yield f"codec_encoder_{lanes}", Encoder(lanes), {"lanes": lanes}


@cocotb.test()
async def kinds_of_tiles(dut: Any) -> None:
    """Index entries and payloads."""
    lanes = parameters()["lanes"]
    given = [tile for seed in range(3) for tile in tiles(seed).values() if steps(tile[0]) < 200]
    entries, payload = expected(given)
    source, values = Source(dut, "tile", Tile), Source(dut, "values")
    entry, sink = Sink(dut, "entry", Entry), Sink(dut, "payload", Payload)
    await start(dut)
    source.feed(sizes(given), stalls(1))
    values.feed(words(given), stalls(2, 0.05))
    heads = cocotb.start_soon(entry.take(len(entries), stalls(3)))
    got = await sink.take(len(payload), stalls(4, 0.1))
    assert got == payload
    assert await heads == entries
    assert not dut.error.value, lanes
    await silent(dut, "payload", 100)


async def _unhindered(dut: Any, given: Tiles, patience: int) -> int:
    """Encodes tiles while nothing stalls; cycles until all is out."""
    entries, payload = expected(given)
    source, values = Source(dut, "tile", Tile), Source(dut, "values")
    entry, sink = Sink(dut, "entry", Entry), Sink(dut, "payload", Payload)
    await start(dut)
    begin = get_sim_time("ns")
    cocotb.start_soon(source.send(sizes(given), patience=patience))
    cocotb.start_soon(values.send(words(given), patience=patience))
    heads = cocotb.start_soon(entry.take(len(entries), patience=patience))
    assert await sink.take(len(payload), patience=patience) == payload
    assert await heads == entries
    return round(get_sim_time("ns") - begin) // 10


@cocotb.test()
async def largest_tiles(dut: Any) -> None:
    """What fills the rings."""
    if parameters()["lanes"] == 8:
        await _unhindered(dut, largest(), 5000)


@cocotb.test()
async def one_pixel(dut: Any) -> None:
    """4096 channels: twelve cycles a step, for the choice."""
    if parameters()["lanes"] == 8:
        given = [(rectified((1, 1, 4096), 2), 0), (rectified((1, 1, 4000), 3), 90)]
        assert await _unhindered(dut, given, 10_000) < 12.5 * 2 * STEPS + 2000
