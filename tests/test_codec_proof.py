# amaranth: UnusedElaboratable=no
"""Proofs, over all tiles and payloads, of what the codec's decoder promises; and that they fail where it is broken.

Together: nothing overruns, whatever a payload holds; a tile has exactly its steps; and where words are there and the
output is ready, it ends. For then there is always room (`Output`, steady); in each of a slot's turns a word comes or
more than 48 units are there (`Supply`), so after 12 there are enough; an op that has what it needs waits at most 3
turns, and each brings the end nearer (`Walk`).
"""

import os
from pathlib import Path

import pytest
from amaranth import Module, Value
from amaranth.lib import data

from systolith.rtl.codec import decoder_units
from systolith.rtl.codec.decoder_lane import DecoderLane
from systolith.rtl.codec.decoder_ops import Sizes
from systolith.rtl.codec.decoder_units import DecoderUnits
from tests.codec_promises import YOSYS, Hands, Output, Streams, Supply, Walk, proved

pytestmark = pytest.mark.skipif(YOSYS is None, reason="yosys is not installed")
EIGHT, MOST, FOUR, TWO = Sizes(8, 2), Sizes(8, 6), Sizes(4, 1), Sizes(2, 1)
MORE = [FOUR, Sizes(4, 2), Sizes(8, 3)] if "SYSTOLITH_SLOW" in os.environ else []


@pytest.mark.parametrize("sizes", [EIGHT, MOST, TWO, Sizes(2, 4)], ids=str)
def test_output(sizes: Sizes, tmp_path: Path) -> None:
    assert proved(Output(sizes), tmp_path, 2)


@pytest.mark.parametrize("sizes", [EIGHT, MOST, TWO], ids=str)
def test_output_without_waiting(sizes: Sizes, tmp_path: Path) -> None:
    dut = Output(sizes)
    dut.steady = True
    assert proved(dut, tmp_path, 3)


def test_output_with_less_room(tmp_path: Path) -> None:
    dut = Output(Sizes(2, 4))
    dut.depth = 32
    assert not proved(dut, tmp_path, 3)


@pytest.mark.parametrize("sizes", [EIGHT, MOST, TWO, *MORE], ids=str)
def test_supply(sizes: Sizes, tmp_path: Path) -> None:
    assert proved(Supply(sizes), tmp_path, 12)


def test_supply_without_waiting(tmp_path: Path) -> None:
    dut = Supply(EIGHT)
    dut.hasty = True
    assert not proved(dut, tmp_path, 8)


@pytest.mark.parametrize("sizes, supply", [(EIGHT, 16), (TWO, 24)], ids=str)
def test_supply_with_less(sizes: Sizes, supply: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoder_units, "_SUPPLY", supply)
    assert not proved(Supply(sizes), tmp_path, 10)


@pytest.mark.parametrize("sizes", [EIGHT, MOST, TWO, *MORE], ids=str)
def test_walk(sizes: Sizes, tmp_path: Path) -> None:
    assert proved(Walk(sizes), tmp_path, 16)


def test_walk_that_waits_less(tmp_path: Path) -> None:
    dut = Walk(EIGHT)
    dut.lazy = 1
    assert not proved(dut, tmp_path, 8)


@pytest.mark.parametrize("sizes", [EIGHT, MOST, TWO], ids=str)
def test_streams(sizes: Sizes, tmp_path: Path) -> None:
    assert proved(Streams(sizes), tmp_path, sizes.period + 2)


class Greedy(DecoderLane):
    """A code takes a bit too much."""

    def _shorten(self, m: Module, turn: Value, held: Value, then: Value, length: Value) -> None:
        super()._shorten(m, turn, held, then, (length + 1)[:5])


def test_streams_that_lose_bits(tmp_path: Path) -> None:
    dut = Streams(EIGHT)
    dut.lane = Greedy
    assert not proved(dut, tmp_path, 3)


@pytest.mark.parametrize("sizes", [EIGHT, MOST, FOUR, TWO], ids=str)
def test_hands(sizes: Sizes, tmp_path: Path) -> None:
    assert proved(Hands(sizes), tmp_path, 2)


class Crowded(DecoderUnits):
    """The last lane takes the unit of the one before it."""

    def _index(self, m: Module, lane: int, before: Value, now: data.View) -> Value:
        return super()._index(m, lane, before - 1 if lane == 7 else before, now)


def test_hands_that_mix_units(tmp_path: Path) -> None:
    dut = Hands(EIGHT)
    dut.units = Crowded
    assert not proved(dut, tmp_path, 2)
