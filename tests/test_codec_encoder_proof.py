# amaranth: UnusedElaboratable=no
"""Proofs, over all tiles and values, of what the codec's encoder promises; and that they fail where it is broken.

Together: nothing is written over what is still needed, in no ring and no queue; as many units go out as the entry says,
each of them once; and a tile ends. For from its beginning on each stage but the output waits for nothing (`CoderWalk`,
`Choosing`) or for words and room only (`Load`); where no stage works the next one begins (`Tiles`); and the output
passes a place of the order whenever it may move (`Reading`).
"""

import os
from pathlib import Path
from typing import Any

import pytest
from amaranth import Module, Signal

from systolith.rtl.codec import encoder_statistics
from systolith.rtl.codec.encoder_streams import Streams
from tests.codec_encoder_promises import CoderWalk, LaneUnits, Load
from tests.codec_encoder_promises_look import Choosing, Symbols
from tests.codec_encoder_promises_output import Deciding, Reading, Words
from tests.codec_encoder_promises_tiles import Queue, Tiles
from tests.codec_promises import YOSYS, proved

pytestmark = pytest.mark.skipif(YOSYS is None, reason="yosys is not installed")
SLOW = "SYSTOLITH_SLOW" in os.environ
LANES = (8, 4, 2) if SLOW else (8, 2)


@pytest.mark.parametrize("lanes", LANES)
def test_units_of_a_lane(lanes: int, tmp_path: Path) -> None:
    assert proved(LaneUnits(lanes), tmp_path, 8)


class Forgetful(Streams):
    """A unit's last bit gets lost."""

    def _lane(self, m: Module, lane: int, moves: Any) -> tuple[Signal, Signal, Any]:
        take, full, unit = super()._lane(m, lane, moves)
        return take, full, unit[:15]


def test_units_that_lose_bits(tmp_path: Path) -> None:
    dut = LaneUnits(8)
    dut.streams = Forgetful
    assert not proved(dut, tmp_path, 3)


class Thrifty(Streams):
    """No lane takes a unit at the first step."""

    def _lane(self, m: Module, lane: int, moves: Any) -> tuple[Any, Signal, Signal]:
        take, full, unit = super()._lane(m, lane, moves)
        begun = Signal(name=f"begun_{lane}")
        with m.If(moves):
            m.d.sync += begun.eq(~self.part.starts)
        return take & begun, full, unit


def test_units_that_are_not_taken(tmp_path: Path) -> None:
    dut = LaneUnits(8)
    dut.streams = Thrifty
    assert not proved(dut, tmp_path, 4)


@pytest.mark.parametrize("lanes", LANES)
def test_coder(lanes: int, tmp_path: Path) -> None:
    assert proved(CoderWalk(lanes), tmp_path, 1)


@pytest.mark.parametrize("lanes", LANES)
def test_load(lanes: int, tmp_path: Path) -> None:
    assert proved(Load(lanes), tmp_path, 1)


def test_load_with_places_given_back_early(tmp_path: Path) -> None:
    dut = Load(8)
    dut.early = 1
    assert not proved(dut, tmp_path, 3)


@pytest.mark.parametrize("depth", [2, 4, 8])
def test_queue(depth: int, tmp_path: Path) -> None:
    assert proved(Queue(depth), tmp_path, 1)


@pytest.mark.parametrize("steps", [4, 8] if SLOW else [4])
def test_tiles(steps: int, tmp_path: Path) -> None:
    assert proved(Tiles(steps), tmp_path, 1)


def test_tiles_chosen_for_twice(tmp_path: Path) -> None:
    dut = Tiles(4)
    dut.hasty = True
    assert not proved(dut, tmp_path, 2)


@pytest.mark.parametrize("steps", [4, 8] if SLOW else [4])
def test_symbols(steps: int, tmp_path: Path) -> None:
    assert proved(Symbols(steps), tmp_path, 1)


def test_symbols_too_early(tmp_path: Path) -> None:
    dut = Symbols(4)
    dut.loose = 2
    assert not proved(dut, tmp_path, 1)


@pytest.mark.parametrize("lanes", LANES)
def test_choosing(lanes: int, tmp_path: Path) -> None:
    assert proved(Choosing(lanes), tmp_path, 1)


def test_choosing_without_waiting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoder_statistics, "_CHOICE_CYCLES", 6)
    assert not proved(Choosing(8), tmp_path, 1)


def test_reading(tmp_path: Path) -> None:
    assert proved(Reading(), tmp_path, 1)


def test_reading_five_at_once(tmp_path: Path) -> None:
    dut = Reading()
    dut.most = 5
    assert not proved(dut, tmp_path, 3)


def test_deciding(tmp_path: Path) -> None:
    assert proved(Deciding(), tmp_path, 2)


def test_deciding_with_more_units(tmp_path: Path) -> None:
    dut = Deciding()
    dut.more = 1
    assert not proved(dut, tmp_path, 2)


def test_words(tmp_path: Path) -> None:
    assert proved(Words(), tmp_path, 1)


def test_words_that_are_missing(tmp_path: Path) -> None:
    dut = Words()
    dut.missing = 1
    assert not proved(dut, tmp_path, 2)
