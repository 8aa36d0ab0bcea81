"""`--report`: what it writes where, and what it refuses."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from systolith.gen.emit.artefact import save
from systolith.gen.errors import UserError
from systolith.gen.report import Report, write_reports
from systolith.gen.report.html import page
from systolith.gen.report.trace import trace
from systolith.sim.rtl.verilator import find_tools
from tests.cli_calls import Call
from tests.report_cases import artefact, case


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with net.slp and images.npz of three samples."""
    folder = tmp_path_factory.mktemp("report")
    save(artefact(), folder / "net.slp")
    np.savez(folder / "images.npz", input=np.random.default_rng(1).integers(-128, 128, (3, 6, 6, 3), np.int8))
    return folder


def test_files_hold_the_report(tmp_path: Path) -> None:
    report = case()[0]
    files = write_reports(tmp_path / "new" / "folder", [report])
    assert files == [tmp_path / "new" / "folder" / name for name in ("report.json", "report.html", "trace.json")]
    assert sorted(path.name for path in files[0].parent.iterdir()) == ["report.html", "report.json", "trace.json"]
    assert Report.of(json.loads(files[0].read_text())) == report
    assert files[1].read_text() == page(report)
    assert json.loads(files[2].read_text()) == json.loads(json.dumps(trace(report)))


def test_each_network_has_a_folder(tmp_path: Path) -> None:
    names = ["gemm:2x3x4", "gemm_2x3x4", "../..", "net", "NET", "net_2"]
    reports = [replace(case()[0], network=name) for name in names]
    files = write_reports(tmp_path, reports)
    folders = list(dict.fromkeys(path.parent for path in files))
    assert [folder.name for folder in folders] == ["gemm_2x3x4", "gemm_2x3x4_2", "_", "net", "NET_2", "net_2_2"]
    assert all(folder.parent == tmp_path for folder in folders) and len(files) == 3 * len(names)
    for folder, name in zip(folders, names, strict=True):
        assert json.loads((folder / "report.json").read_text())["network"] == name


def test_run_writes_a_report(call: Call, net: Path, tmp_path: Path) -> None:
    answer = call("run", net / "net.slp", "--input", net / "images.npz", "-o", tmp_path / "y.npz", "--engine",
                  "machine", "--check", "--json", tmp_path / "y.json", "--report", tmp_path / "r")
    assert answer.code == 0 and f"report: {tmp_path / 'r' / 'report.html'}" in answer.out
    assert sorted(path.name for path in (tmp_path / "r").iterdir()) == ["report.html", "report.json"]  # no cycles
    record = json.loads((tmp_path / "r" / "report.json").read_text())
    assert record == json.loads((tmp_path / "y.json").read_text())
    assert record["samples"] == 3 and record["tensors_compared"] > 0 and record["cycles"] is None
    assert "Not measured" in (tmp_path / "r" / "report.html").read_text()


def test_bench_writes_reports(call: Call, net: Path, tmp_path: Path) -> None:
    answer = call("bench", net / "net.slp", net / "net.slp", "--engine", "machine", "--json", tmp_path / "b.json",
                  "--report", tmp_path / "r")
    assert answer.code == 0
    records = [json.loads((tmp_path / "r" / name / "report.json").read_text()) for name in ("small", "small_2")]
    assert records == json.loads((tmp_path / "b.json").read_text()) and records[0]["seed"] == 1


def test_a_measured_report(call: Call, net: Path, tmp_path: Path) -> None:
    try:
        find_tools()
    except UserError as error:
        pytest.skip(str(error))
    answer = call("run", net / "net.slp", "--input", net / "images.npz", "-o", tmp_path / "y.npz", "--engine",
                  "verilator", "--report", tmp_path / "r")
    assert answer.code == 0
    record = json.loads((tmp_path / "r" / "report.json").read_text())
    assert record["cycles"] > 100 and "the last of 3 samples" in record["conditions"]
    assert len(json.loads((tmp_path / "r" / "trace.json").read_text())["traceEvents"]) > len(record["spans"])
    assert f"{record['cycles']:,}" in (tmp_path / "r" / "report.html").read_text()


@pytest.mark.parametrize("folder", ["file", "file/below"])
def test_folders_that_cannot_be(call: Call, net: Path, tmp_path: Path, folder: str) -> None:
    """Refused before anything is run."""
    (tmp_path / "file").write_text("")
    for command in (("run", net / "net.slp", "--input", net / "images.npz", "-o", tmp_path / "y.npz"),
                    ("bench", "gemm:2x2x2", "--engine", "machine")):
        answer = call(*command, "--report", tmp_path / folder)
        assert answer.code == 2 and "is no folder" in answer.err and not answer.out
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
