"""The codec's encoder under Icarus: tiles of every kind, every stream stalling."""

from collections.abc import Iterator
from typing import Any

import cocotb

from systolith.rtl.codec.encoder import Encoder
from systolith.rtl.codec.encoder_tile import Entry, Payload, Tile
from tb.harness import parameters
from tb.streams import Sink, Source, silent, stalls, start
from tests.codec_tiles import tiles
from tests.test_codec_encoder import expected, largest, sizes, steps, words


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


@cocotb.test()
async def largest_tiles(dut: Any) -> None:
    """What fills the rings."""
    if parameters()["lanes"] != 8:
        return
    given = largest()
    entries, payload = expected(given)
    source, values = Source(dut, "tile", Tile), Source(dut, "values")
    entry, sink = Sink(dut, "entry", Entry), Sink(dut, "payload", Payload)
    await start(dut)
    source.feed(sizes(given))
    values.feed(words(given))
    heads = cocotb.start_soon(entry.take(len(entries)))
    assert await sink.take(len(payload)) == payload
    assert await heads == entries
