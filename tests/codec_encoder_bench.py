"""An encoder in Verilator, for many tiles."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pytest
from amaranth.hdl import Const
from amaranth.lib import wiring
from numpy.typing import NDArray

from systolith.gen.errors import UserError
from systolith.rtl.codec.encoder import Encoder
from systolith.rtl.codec.encoder_tile import Entry, Payload, Tile
from systolith.rtl.codec.tables import LANES, UNIT_BITS
from systolith.sim.rtl.streams import StreamBench, bits, rows
from systolith.sim.rtl.verilator import find_tools

Values = NDArray[np.uint8]


@dataclass(frozen=True)
class Encoded:
    """A tile's index entry and payload, the payload's last word to its end, and the cycle of the entry."""

    coded: bytes
    cycle: int


def step_words(tile: Values, seed: int = 0) -> Values:
    """A row of eight bytes for each step; noise where there is no channel."""
    height, width, channels = tile.shape
    padded = np.random.default_rng(seed).integers(0, 256, (height, width, -(-channels // LANES) * LANES), np.uint8)
    padded[:, :, :channels] = tile
    return padded.reshape(-1, LANES)


class EncoderBench:
    """Encodes tiles, after those of the calls before, with a machine of so many lanes."""

    def __init__(self, lanes: int, component: type[wiring.Component] = Encoder) -> None:
        try:
            find_tools()
        except UserError as error:
            pytest.skip(str(error))
        self.lanes = lanes
        self._bench = StreamBench(component(lanes))

    def encode(self, tiles: Sequence[tuple[Values, int]], seed: int = 0, stalls: int = 0) -> list[Encoded]:
        """Feed tiles with their centres and take what comes; fails where an entry or a word too many or too few comes,
        or one after the last."""
        given = {
            "tile": rows([Const.cast(Tile.const({"h": h, "w": w, "c": c, "centre": centre})).value
                          for (h, w, c), centre in ((tile.shape, centre) for tile, centre in tiles)],
                         Tile.as_shape().size),
            "values": np.concatenate([step_words(tile, seed) for tile, _ in tiles]).view(np.uint32),
        }
        out = self._bench.run(given, seed, stalls, 20_000)
        (entries, when), (words, _) = out["entry"], out["payload"]
        assert len(entries) == len(tiles), f"{len(entries)} tiles came out, not {len(tiles)}"
        layout = Entry.as_shape()
        units, tags = (bits(entries, layout[name].offset, layout[name].width).astype(int) for name in ("units", "tag"))
        last = bits(words, Payload.as_shape()["last"].offset, 1).astype(bool)
        payload = np.ascontiguousarray(words[:, :2]).view(np.uint8).reshape(-1, LANES)
        found, at = [], 0
        for (tile, _), number, tag, cycle in zip(tiles, units.tolist(), tags.tolist(), when.tolist(), strict=True):
            length = number * UNIT_BITS // 8 or (tile.size if tag == 15 else 0)
            behind = at + -(-length // LANES)
            assert not length or (last[at:behind].sum() == 1 and last[behind - 1]), "`last` is not the last word's"
            whole = payload[at:behind].tobytes()
            assert not any(whole[length:]), "bytes behind the end are not 0"
            found.append(Encoded((tag << 12 | number).to_bytes(2, "little") + whole[:length], cycle))
            at = behind
        assert at == len(payload), f"{len(payload)} words came out, not {at}"
        return found
