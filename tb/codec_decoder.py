"""The codec's decoder under Icarus: the tiles of `tests/test_codec_decoder.py`, every stream stalling."""

from collections.abc import Iterator
from typing import Any

import cocotb

from systolith.rtl.codec.decoder import Decoder
from systolith.rtl.codec.decoder_ops import Beat, Sizes, Tile
from tb.harness import parameters
from tb.streams import Sink, Source, silent, stalls, start
from tests.codec_reference import Cases, check_beats

SIZES = ((8, 2), (4, 1), (2, 1))


def benches() -> Iterator[tuple[str, Decoder, dict[str, int]]]:
    for lanes, slots in SIZES:
        yield f"codec_decoder_{lanes}_{slots}", Decoder(lanes, slots), {"lanes": lanes, "slots": slots}


@cocotb.test()
async def tiles(dut: Any) -> None:
    """Whole and damaged tiles in turns."""
    lanes, slots = parameters()["lanes"], parameters()["slots"]
    cases = Cases(lanes)
    given = [cases.flipped(cases.tile()) if number % 4 == 3 else cases.tile() for number in range(40)]
    source = Source(dut, "tile", Tile)
    words = [Source(dut, f"words__{slot}") for slot in range(slots)]
    sink = Sink(dut, "o", Beat(Sizes(lanes, slots)))
    await start(dut)
    source.feed([tile.tile() for tile in given], stalls(1))
    for slot, port in enumerate(words):
        port.feed([word for tile in given[slot::slots] for word in tile.words()], stalls(2 + slot))
    got = await sink.take(sum(len(tile.counts(lanes)) + 1 for tile in given), stalls(9))
    await silent(dut, "o", 200)
    assert check_beats(lanes, slots, given, got) > 2
