"""A decoder in Verilator, for many tiles."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pytest
from amaranth.hdl import Const
from numpy.typing import NDArray

from systolith.gen.errors import UserError
from systolith.rtl.codec.decoder import Decoder
from systolith.rtl.codec.decoder_ops import Beat, Tile
from systolith.sim.rtl.streams import StreamBench, bits, rows
from systolith.sim.rtl.verilator import find_tools
from tests.codec_reference import Coded


@dataclass(frozen=True)
class Decoded:
    """What came of a tile; `cycles`: since the tile before in the same slot, or since the feeding began."""

    values: NDArray[np.uint8]
    error: int
    cycles: int


class DecoderBench:
    """Decodes tiles, after those of the calls before."""

    def __init__(self, lanes: int, slots: int, row_steps: int = 512) -> None:
        try:
            find_tools()
        except UserError as error:
            pytest.skip(str(error))
        decoder = Decoder(lanes, slots, row_steps)
        self._beat = Beat(decoder.sizes)
        self.slots, self.period = slots, decoder.sizes.period
        self._lanes, self._slots, self._next = lanes, slots, 0
        self._bench = StreamBench(decoder)

    def decode(self, tiles: Sequence[Coded], seed: int = 0, stalls: int = 0) -> list[Decoded]:
        """Feed tiles and take what comes; fails where a beat too many or too few comes."""
        first = self._next
        slots = [(first + number) % self._slots for number in range(len(tiles))]
        self._next += len(tiles)
        words = {f"words__{slot}": np.frombuffer(b"".join(
            tile.bytes_of_words() for tile, at in zip(tiles, slots, strict=True) if at == slot), np.uint32)
            for slot in range(self._slots)}
        words["tile"] = rows([Const.cast(Tile.const(tile.tile())).value for tile in tiles], Tile.as_shape().size)
        beats, when = self._bench.run(words, seed, stalls, limit=100_000 + 1000 * sum(map(len, words.values())))["o"]
        field = {name: bits(beats, self._beat[name].offset, self._beat[name].width).astype(int)
                 for name in ("count", "end", "error", "slot")}
        values = np.ascontiguousarray(beats).view(np.uint8).reshape(len(beats), -1)[:, :self._lanes]
        assert not self._beat["values"].offset
        out: dict[int, Decoded] = {}
        start = self._bench.started
        for slot in range(self._slots):
            mine = np.flatnonzero(field["slot"] == slot)
            ends = mine[field["end"][mine] == 1]
            numbers = [number for number, at in enumerate(slots) if at == slot]
            assert len(ends) == len(numbers), f"{len(ends)} tiles of slot {slot} have ended, not {len(numbers)}"
            assert not len(mine) or mine[-1] == ends[-1], "beats after the last tile's end"
            inside = np.arange(self._lanes) < field["count"][mine][:, None]
            given = values[mine][inside]
            split = inside.sum(1).cumsum()[np.searchsorted(mine, ends)]
            begin, before = 0, start
            for number, end, upto in zip(numbers, ends, split, strict=True):
                out[number] = Decoded(given[begin:upto], int(field["error"][end]), int(when[end]) - before)
                assert len(out[number].values) == tiles[number].size, f"tile {number} has {upto - begin} values"
                begin, before = upto, int(when[end])
        return [out[number] for number in range(len(tiles))]
