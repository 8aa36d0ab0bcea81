"""`systolith codec`: what it prints and writes, and what it says of bad input."""

import json
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from systolith.gen import cli, codec_report
from systolith.gen.errors import UserError
from systolith.sim.codec import codings, measure_tensor
from systolith.sim.codec.peers import PEERS, zero_value_bits
from tests.codec_tiles import rectified, smooth


def codec(monkeypatch: pytest.MonkeyPatch, *arguments: str | Path) -> int:
    monkeypatch.setattr(sys, "argv", ["systolith", "codec", *map(str, arguments)])
    with pytest.raises(SystemExit) as end:
        cli.main()
    return int(end.value.code or 0)


@pytest.fixture
def named(tmp_path: Path) -> Path:
    path = tmp_path / "named.npz"
    np.savez(path, **{
        "one/a/cal/0": rectified((8, 8, 16), 1), "one/a/test/0": rectified((8, 8, 16), 2),
        "one/b/test/128": smooth((6, 7, 24), 3), "<two>/a/test/0": np.zeros((1, 4, 32), np.uint8)})  # type: ignore[arg-type]
    return path


def test_answers(named: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                 capsys: pytest.CaptureFixture[str]) -> None:
    """A table, bars, JSON and a drawing, of one split; sizes are those of the model, ten bits for each coding."""
    outputs = ("--json", tmp_path / "a.json", "--plot", tmp_path / "a.svg")
    assert codec(monkeypatch, named, "--split", "test", *outputs) == 0
    out = capsys.readouterr().out
    assert all(name in out for name in ("one", "<two>", "EBPC", "APack", "zero", "####"))
    made = json.loads((tmp_path / "a.json").read_text())
    one, two = made["networks"]
    assert (one["network"], one["tensors"], one["values"]) == ("one", 2, 8 * 8 * 16 + 6 * 7 * 24)
    tensors = codec_report.read_tensors(named, "test")
    least = [min(measure_tensor(t.values, *coding).bytes for coding in codings(t.values, t.zero_point))
             for t in tensors[:2]]
    assert one["bits_per_value"] == pytest.approx((8 * sum(least) + 20) / one["values"])
    assert one["peers"]["zero-value"] == pytest.approx(
        sum(zero_value_bits(t.values, t.zero_point) for t in tensors[:2]) / one["values"])
    assert set(one["peers"]) == set(PEERS) and sum(one["modes"].values()) == pytest.approx(1)
    assert two["modes"] == {"zero": 1.0} and two["bits_per_value"] == (10 + 16) / 128
    assert made["mean_bits_per_value"] == pytest.approx((one["bits_per_value"] + two["bits_per_value"]) / 2)
    assert f"mean {made['mean_bits_per_value']:.3f} bits a value" in out
    drawing = ElementTree.parse(tmp_path / "a.svg").getroot()
    assert "<two>" in [element.text for element in drawing.iter()]
    assert sum(element.tag.endswith("rect") for element in drawing.iter()) == 1 + 2 * 7


def test_plain_arrays(tmp_path: Path) -> None:
    """Any names, int8 too: shifted to bytes; the zero point is given or the most frequent value."""
    path = tmp_path / "plain.npz"
    signed = np.full((4, 5, 6), -3, np.int8)
    signed[0, 0] = 100
    np.savez(path, maps=signed, tokens=np.zeros((3, 8), np.uint8), batch=np.ones((2, 3, 4, 5), np.uint8))
    maps, tokens, batch = codec_report.read_tensors(path)
    assert (maps.network, maps.name, maps.zero_point) == ("plain", "maps", 125)
    assert maps.values.dtype == np.uint8 and maps.values[0, 0, 0] == 228 and maps.values[1, 1, 1] == 125
    assert tokens.values.shape == (1, 3, 8) and batch.values.shape == (6, 4, 5)
    assert [t.zero_point for t in codec_report.read_tensors(path, zero_point=7)] == [135, 7, 7]


@pytest.mark.parametrize(("arrays", "options", "message"), [
    ({"a": np.zeros((2, 2, 2), np.float32)}, {}, "a must be int8 or uint8, not float32"),
    ({"a": np.zeros(9, np.uint8)}, {}, "rows x columns x channels .* not of shape 9"),
    ({"a": np.zeros((0, 2, 2), np.uint8)}, {}, "not of shape 0x2x2"),
    ({"n/a/cal/0": np.zeros((2, 2, 2), np.uint8)}, {"split": "test"}, "has no split 'test'; it has cal"),
    ({"a": np.zeros((2, 2, 2), np.uint8)}, {"split": "test"}, "are not named NETWORK/TENSOR/SPLIT/ZERO_POINT"),
    ({"a": np.zeros((2, 2, 2), np.uint8)}, {"zero_point": 256}, "zero point must be 0 to 255, not 256"),
    ({"a": np.zeros((2, 2, 2), np.int8)}, {"zero_point": 128}, "zero point must be -128 to 127, not 128"),
    ({}, {}, "holds no array"),
])
def test_refused(tmp_path: Path, arrays: dict[str, Any], options: dict[str, Any], message: str) -> None:
    path = tmp_path / "bad.npz"
    np.savez(path, **arrays)
    with pytest.raises(UserError, match=message):
        codec_report.read_tensors(path, **options)


def test_exit_code(tmp_path: Path, named: Path, monkeypatch: pytest.MonkeyPatch,
                   capsys: pytest.CaptureFixture[str]) -> None:
    """One sentence and 2; before any work where an output cannot be written."""
    for arguments in ((tmp_path / "none.npz",), (named, "--split", "validation"),
                      (named, "--plot", tmp_path / "no" / "where.svg"), (named, "--json", tmp_path)):
        assert codec(monkeypatch, *arguments) == 2
        error = capsys.readouterr().err
        assert error.startswith("systolith: ") and error.count("\n") == 1
