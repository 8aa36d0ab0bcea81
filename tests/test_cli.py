"""The command line as a user sees it: what it prints, what it writes, its exit codes."""

import json
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from systolith.gen import bench as benchmarks
from systolith.gen import cli
from systolith.gen.compile import compile_graph
from systolith.gen.emit.artefact import load, save
from systolith.gen.errors import UserError
from systolith.gen.frontend import import_model
from systolith.gen.presets import PRESETS
from systolith.gen.zoo.gemm import gemm
from systolith.sim.rtl.verilator import find_tools
from tests.cli_calls import TINY, Call
from tests.test_rtl_machine import CONFIG

COMMANDS = ("compile", "run", "bench", "codec", "verilog", "build", "presets", "boards", "operators")


def _verilator() -> None:
    try:
        find_tools()
    except UserError as error:
        pytest.skip(str(error))


def test_help(call: Call) -> None:
    answer = call("--help")
    assert answer.code == 0 and all(re.search(rf"^  {name} +\S", answer.out, re.M) for name in COMMANDS)
    assert "..." not in answer.out.split("Commands:")[1]  # every summary is whole


@pytest.mark.parametrize("name", COMMANDS)
def test_help_of_a_command_has_an_example(name: str, call: Call) -> None:
    answer = call(name, "--help")
    assert answer.code == 0 and f"Example: systolith {name}" in answer.out and not answer.err


def test_compile_then_run(call: Call, library: Path, tmp_path: Path) -> None:
    net, compiled = tmp_path / "net.slp", tmp_path / "compiled.json"
    answer = call("compile", library / "float.onnx", "--calibrate", library / "images.npz", "-o", net,
                  "--json", compiled)
    assert answer.code == 0 and net.read_bytes() == (library / "net.slp").read_bytes()
    assert "unified memory" in answer.out and f"{net}: " in answer.out and not answer.err
    record = json.loads(compiled.read_text())
    assert record["preset"] == "edge" and record["macs"] == 6 * 6 * 4 * 18 + 144 * 5 and len(record["layers"]) == 3
    tensor, seen = load(net).graph.tensors["scores"], []
    for engine in ("golden", "machine"):
        output, said = tmp_path / f"{engine}.npz", tmp_path / f"{engine}.json"
        answer = call("run", net, "--input", library / "images.npz", "-o", output, "--engine", engine, "--check",
                      "--json", said)
        assert answer.code == 0 and f"3 samples on {engine}" in answer.out
        record = json.loads(said.read_text())
        assert record["samples"] == 3 and record["engine"] == engine
        compared = 3 * 2 if engine == "machine" else 0  # the golden model has nothing to be compared with
        assert record["tensors_compared"] == compared and record["bit_exact"] is (True if compared else None)
        with np.load(output) as arrays:
            seen.append(dict(arrays))
    for arrays in seen:
        assert set(arrays) == {"scores", "scores_int8"}
        assert arrays["scores"].shape == (3, 5) and arrays["scores"].dtype == np.float32
        assert arrays["scores_int8"].shape == (3, 1, 1, 5) and arrays["scores_int8"].dtype == np.int8
        np.testing.assert_array_equal(arrays["scores_int8"], seen[0]["scores_int8"])
        real = (arrays["scores_int8"].reshape(3, 5).astype(np.float32) - tensor.zero_point) * np.float32(tensor.scale)
        np.testing.assert_array_equal(arrays["scores"], real)
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".json"] * 3 + [".npz"] * 2 + [".slp"]


@pytest.mark.parametrize("options", [("qdq.onnx",), ("float.onnx", "--calibrate", "images.npz")])
def test_run_takes_onnx(options: tuple[str, ...], call: Call, library: Path, tmp_path: Path) -> None:
    model, *rest = (library / option if "." in option else option for option in options)
    answer = call("run", model, *rest, "--input", library / "images.npz", "-o", tmp_path / "y.npz", "--engine",
                  "machine", "--check", "--config", library / "tiny.json")
    assert answer.code == 0 and "tensors equal to the golden model" in answer.out


def test_inputs_in_every_accepted_form(call: Call, library: Path, tmp_path: Path) -> None:
    with np.load(library / "images.npz") as arrays:
        images = arrays["image"]
    graph = import_model(library / "float.onnx", {"image": images})
    integers = np.clip(np.rint(images / np.float32(graph.tensors["image"].scale)) + graph.tensors["image"].zero_point,
                       -128, 127).astype(np.int8)
    answers = []
    for given in (images, images[:1], images[0], images.astype(np.float64), integers, np.moveaxis(integers, 1, 3)):
        np.savez(tmp_path / "x.npz", image=given, unused=1)
        assert call("run", library / "net.slp", "--input", tmp_path / "x.npz", "-o", tmp_path / "y.npz").code == 0
        with np.load(tmp_path / "y.npz") as arrays:
            answers.append(arrays["scores_int8"])
    assert [len(answer) for answer in answers] == [3, 1, 1, 3, 3, 3]
    assert all((answer == answers[0][:len(answer)]).all() for answer in answers)


def test_a_difference_exits_with_1(call: Call, tmp_path: Path) -> None:
    artefact = compile_graph(gemm("gemm:2x4x5"), CONFIG)
    save(replace(artefact, external=bytes([artefact.external[0] ^ 64]) + artefact.external[1:]), tmp_path / "net.slp")
    np.savez(tmp_path / "x.npz", a=np.full((1, 2, 4), 100, np.int8))
    answer = call("run", tmp_path / "net.slp", "--input", tmp_path / "x.npz", "-o", tmp_path / "y.npz",
                  "--engine", "machine", "--check")
    assert answer.code == 1 and not (tmp_path / "y.npz").exists()
    assert re.fullmatch(r"sample 0: c\[0, 0, 0\] is -?\d+, the golden model has -?\d+\n", answer.out)


def test_bench_on_the_instruction_model(call: Call, library: Path, tmp_path: Path) -> None:
    said = tmp_path / "bench.json"
    answer = call("bench", "gemm:7x33x9", library / "qdq.onnx", library / "small.slp", "--config",
                  library / "tiny.json", "--engine", "machine", "--layers", "--json", said)
    assert answer.code == 0 and "gemm:7x33x9" in answer.out
    records = json.loads(said.read_text())
    assert [r["network"] for r in records] == ["gemm:7x33x9", "qdq", "float"]
    assert all(r["bit_exact"] and r["rows"] == 4 and r["engine"] == "machine" for r in records)


def test_a_compiled_file_brings_its_own_configuration(call: Call, library: Path) -> None:
    answer = call("bench", library / "small.slp", "--engine", "machine")
    assert answer.code == 0 and "4 x 5" in answer.out


def test_bench_of_no_name(call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each network of the suite for cycles and for memory, on a machine that it fits."""
    monkeypatch.setattr(benchmarks, "SUITE", ("ad", "ds-cnn"))
    said = tmp_path / "bench.json"
    answer = call("bench", "--set", "memory_bytes=65536", "--engine", "model", "--json", said)
    assert answer.code == 0 and answer.out.count("ds-cnn") == 2
    records = json.loads(said.read_text())
    assert [(r["network"], r["optimise"], r["machine"]["memory_bytes"]) for r in records] == [
        ("ad", "cycles", 65536), ("ad", "memory", 65536), ("ds-cnn", "cycles", 131072), ("ds-cnn", "memory", 65536)]
    assert records[2]["memory"]["activations"] > 2 * records[3]["memory"]["activations"]
    assert records[0]["port_busy"] > 0.9


def test_bench_on_rtl(call: Call, library: Path, tmp_path: Path) -> None:
    _verilator()
    said = tmp_path / "bench.json"
    answer = call("bench", "gemm:16x40x20", "--config", library / "tiny.json", "--json", said)
    assert answer.code == 0
    (record,) = json.loads(said.read_text())
    assert record["bit_exact"] is True and record["cycles"] > 0 and 0.3 < record["utilisation"] <= 1
    assert record["preset"] == "edge" and record["rows"] == 4 and record["cols"] == 5 and record["batch"] == 1
    assert record["macs"] == 16 * 40 * 20 and record["external_bytes_per_cycle"] == 4
    assert record["external_read_bytes"] >= 40 * 20 and record["external_write_bytes"] == 0
    assert record["counters"]["array"]
    assert 0 <= record["cycles"] - record["layers"][0]["cycles"] < 8  # END comes after the layer
    assert record["memory_peak_bytes"] <= CONFIG.memory_bytes and record["engine"] == "verilator"
    assert "conditions: batch 1" in answer.out


def test_run_on_rtl(call: Call, library: Path, tmp_path: Path) -> None:
    _verilator()
    answer = call("run", library / "small.slp", "--input", library / "images.npz", "-o", tmp_path / "y.npz",
                  "--engine", "verilator", "--check", "--json", tmp_path / "y.json")
    assert answer.code == 0 and "3 samples on verilator, 3 tensors equal to the golden model" in answer.out
    assert "bit-exact: yes" in answer.out and json.loads((tmp_path / "y.json").read_text())["cycles"] > 0


@pytest.mark.skipif(shutil.which("iverilog") is None, reason="Icarus Verilog (iverilog) is not installed")
def test_a_trace(call: Call, tmp_path: Path) -> None:
    save(compile_graph(gemm("gemm:2x4x5"), CONFIG), tmp_path / "net.slp")
    np.savez(tmp_path / "x.npz", a=np.ones((1, 2, 4), np.int8))
    answer = call("run", tmp_path / "net.slp", "--input", tmp_path / "x.npz", "-o", tmp_path / "y.npz", "--engine",
                  "icarus", "--check", "--trace", tmp_path / "waves.vcd")
    assert answer.code == 0 and "1 sample on icarus, 1 tensor equal" in answer.out
    assert "$enddefinitions" in (tmp_path / "waves.vcd").read_text()


def test_verilog(call: Call, tmp_path: Path) -> None:
    folder = tmp_path / "new" / "folder"
    answer = call("verilog", *(word for item in TINY for word in ("--set", item)), "-o", folder)
    assert answer.code == 0 and answer.out.split() == [str(folder / f"systolith_tiny.{end}") for end in ("v", "json")]
    assert "module systolith_tiny(" in (folder / "systolith_tiny.v").read_text()
    about = json.loads((folder / "systolith_tiny.json").read_text())
    assert about["config"]["rows"] == 3 and about["address_map"]["registers"] and about["latencies"]
    assert len(list(folder.iterdir())) == 2


def test_tables(call: Call) -> None:
    answers = {name: call(name) for name in ("presets", "boards", "operators")}
    assert all(answer.code == 0 and not answer.err for answer in answers.values())
    assert all(re.search(rf"│ {name} +│", answers["presets"].out) for name in PRESETS)
    assert "ulx3s-85f" in answers["boards"].out
    assert all(name in answers["operators"].out for name in ("Conv", "GlobalAveragePool", "BatchNormalization"))


def test_what_is_not_the_users_fault_is_not_hidden(monkeypatch: pytest.MonkeyPatch, library: Path) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("a mistake of ours")

    monkeypatch.setattr(cli, "artefact_of", broken)
    monkeypatch.setattr(sys, "argv", ["systolith", "compile", str(library / "qdq.onnx"), "-o", str(library / "x.slp")])
    with pytest.raises(ZeroDivisionError):
        cli.main()


def test_as_a_program(library: Path, tmp_path: Path) -> None:
    def systolith(*arguments: Any) -> subprocess.CompletedProcess[str]:
        return subprocess.run([sys.executable, "-m", "systolith", *map(str, arguments)], capture_output=True, text=True)

    done = systolith("run", library / "net.slp", "--input", library / "images.npz", "-o", tmp_path / "y.npz",
                     "--engine", "machine", "--check", "--json", "/dev/stdout")
    assert done.returncode == 0 and not done.stderr
    assert json.loads(done.stdout[done.stdout.index("{"):])["bit_exact"] is True
    done = systolith("compile", tmp_path / "none.onnx", "-o", tmp_path / "net.slp")
    assert done.returncode == 2 and not done.stdout
    assert done.stderr == f"systolith: there is no file {tmp_path / 'none.onnx'}\n"
