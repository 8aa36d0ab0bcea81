"""Boards: data files, PLL settings, what the flow makes of the tools' reports; synthesis itself when asked."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from systolith.gen.build import board, flow
from systolith.gen.build.pll import pll
from systolith.gen.build.top import BoardTop
from systolith.gen.errors import UserError
from systolith.gen.presets import preset
from systolith.gen.verilog import emit
from systolith.rtl.config import Config

TINY = Config(name="tiny", rows=4, cols=4, memory_bytes=8192, banks=2, word_bytes=4, codec_lanes=0, accumulator_rows=16,
              vector_lanes=2, norm_lanes=0, external_bytes=0, multiplier="ecp5")
REPORT = {
    "fmax": {"$glbnet$fast": {"achieved": 71.25, "constraint": 60.0}},
    "utilization": {"TRELLIS_COMB": {"available": 83640, "used": 20000},
                    "TRELLIS_FF": {"available": 83640, "used": 9000},
                    "MULT18X18D": {"available": 156, "used": 130}, "DP16KD": {"available": 208, "used": 60}},
}


@pytest.mark.parametrize("source, target, reached", [(25, 60, 60), (25, 62.5, 62.5), (12, 48, 48), (25, 51.7, 50),
                                                     (100, 75, 75), (25, 25, 25)])
def test_pll(source: float, target: float, reached: float) -> None:
    settings = pll(source, target)
    assert settings.mhz == pytest.approx(reached)
    assert settings.mhz == pytest.approx(source * settings.feedback / settings.reference)
    assert 400 <= settings.mhz * settings.output <= 800 and source / settings.reference >= 3.125


def test_pll_out_of_reach() -> None:
    with pytest.raises(UserError, match="5 MHz from 25"):
        pll(25, 5)


@pytest.mark.parametrize("name", board.board_names())
def test_board_files(name: str) -> None:
    description = board.load_board(name)
    config = preset(description.preset)
    assert config.external_bytes == 0
    clock = pll(description.pins["clock"]["mhz"], description.clock_mhz)
    assert clock.mhz / (description.baud / 1e6) > 4
    sites = [line.split('"')[3] for line in description.constraints().splitlines() if "SITE" in line]
    assert len(sites) == len(set(sites)) == 3 + len(description.pins["leds"]["pins"])


def test_unknown_board_names_the_known() -> None:
    with pytest.raises(UserError, match="ulx3s-85f"):
        board.load_board("ulx3s-86f")


@pytest.mark.parametrize("changes, words", [
    ({"external_bytes": 4}, "external_bytes"), ({"multiplier": "ice40"}, "ecp5")])
def test_configurations_that_cannot_be_built(changes: dict[str, Any], words: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=words):
        board.build(board.load_board("ulx3s-85f", 60), TINY.replace(**changes), tmp_path)


def test_top_has_the_board_s_ports(tmp_path: Path) -> None:
    text = emit(BoardTop(TINY, pll(25, 60), 25, 1_000_000, 8), "systolith_board")
    header = text[text.index("module systolith_board("):].split(";")[0]
    assert sorted(header.split("(")[1].rstrip(")").replace(" ", "").split(",")) == ["clk_in", "led", "rx", "tx"]
    assert text.count("EHXPLLL") == 1 and ".CLKFB_DIV(" in text


@pytest.mark.parametrize("fmax, kept", [(71.25, True), (59.9, False)])
def test_result(fmax: float, kept: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fake(name: str, device: dict[str, str], folder: Path, seed: int, progress: flow.Progress) -> dict[str, Any]:
        assert 'LOCATE COMP "rx" SITE "M1"' in (folder / f"{name}.lpf").read_text()
        (folder / f"{name}.bit").write_bytes(b"bits")
        report = json.loads(json.dumps(REPORT))
        report["fmax"]["$glbnet$fast"]["achieved"] = fmax
        return report | {"seconds": {"synthesis": 1.0}, "tools": ["yosys 1", "nextpnr 2"]}

    monkeypatch.setattr(board, "run_flow", fake)
    result = board.build(board.load_board("ulx3s-85f", 60), TINY, tmp_path, progress=lambda text: None)
    assert (result["luts"], result["ffs"], result["dsps"], result["block_rams"]) == (20000, 9000, 130, 60)
    assert result["fmax_mhz"] == pytest.approx(fmax, abs=0.06) and result["full"] == ["dsps"]
    assert (result["bitstream"] is not None) == kept == (tmp_path / "systolith_board.bit").exists()
    assert "LFE5U-85F" in result["conditions"] and "nextpnr 2" in result["conditions"]


def test_missing_tool_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr(flow.sys, "executable", "/nowhere/python")
    with pytest.raises(UserError, match=r"nextpnr-ecp5 is missing: run `make fpga`"):
        flow.find_tool("nextpnr-ecp5")


def test_failing_tool_tells_its_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="ERROR: no such pin"):
        flow.run_tool(["sh", "-c", "echo fine; echo ERROR: no such pin; exit 1"], tmp_path / "log", tmp_path)


@pytest.mark.skipif("SYSTOLITH_SLOW" not in os.environ, reason="takes minutes: set SYSTOLITH_SLOW=1")
def test_bitstream(tmp_path: Path) -> None:
    result = board.build(board.load_board("ulx3s-85f", 60), TINY, tmp_path)
    assert result["dsps"] >= 16 and result["fmax_mhz"] > 20
    assert result["bitstream"] is None or Path(result["bitstream"]).stat().st_size > 10_000
