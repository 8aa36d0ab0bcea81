"""The command line as a user sees it: what it prints, what it writes, its exit codes, and what it says of bad input."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from systolith.gen import bench as benchmarks
from systolith.gen import cache, cli
from systolith.gen.compile import compile_graph
from systolith.gen.emit.artefact import load, save
from systolith.gen.errors import UserError
from systolith.gen.frontend import import_model
from systolith.gen.presets import PRESETS
from systolith.gen.qdq_writer import write_qdq
from systolith.gen.zoo.gemm import gemm
from systolith.sim.rtl.verilator import find_tools
from tests.onnx_models import Model
from tests.test_rtl_machine import CONFIG

COMMANDS = ("compile", "run", "bench", "codec", "verilog", "build", "presets", "boards", "operators")
TINY = ("rows=3", "cols=2", "word_bytes=4", "banks=2", "vector_lanes=1", "memory_bytes=2048", "accumulator_rows=16",
        "external_bytes=0", "name=tiny")


@dataclass(frozen=True)
class Answer:
    """What a call ended with."""

    code: int
    out: str
    err: str


Call = Callable[..., Answer]


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    """`systolith ARGUMENTS` in this process."""
    def run(*arguments: Any) -> Answer:
        monkeypatch.setattr(sys, "argv", ["systolith", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            cli.main()
        said = capsys.readouterr()
        return Answer(int(ended.value.code or 0), said.out, said.err)
    return run


def _files(folder: Path) -> dict[Path, bytes | None]:
    return {path: path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


@pytest.fixture
def refused(call: Call, tmp_path: Path) -> Callable[..., str]:
    """Calls that must end with exit code 2 and one sentence that holds `says`, and must not touch any file."""
    def run(*arguments: Any, says: tuple[str, ...] | str, lines: int = 1) -> str:
        before = _files(tmp_path)
        answer = call(*arguments)
        assert answer.code == 2, answer
        assert answer.err.startswith("systolith: ") and answer.err.count("\n") == lines, answer.err
        for text in (says,) if isinstance(says, str) else says:
            assert text in answer.err, answer.err
        assert answer.out == "" and _files(tmp_path) == before
        return answer.err
    return run


def _float_model() -> onnx.ModelProto:
    m = Model(3)
    m.node("Conv", ["image", m.weights(4, 2, 3, 3)], "c", pads=[1, 1, 1, 1])
    m.node("Relu", ["c"], "r")
    m.node("Flatten", ["r"], "f")
    m.node("Gemm", ["f", m.weights(144, 5)], "scores")
    return m.proto({"image": (1, 2, 6, 6)}, ["scores"])


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with float.onnx, qdq.onnx, images.npz, tiny.json, net.slp (edge) and small.slp (tiny.json)."""
    folder = tmp_path_factory.mktemp("cli")
    onnx.save(_float_model(), folder / "float.onnx")
    images = np.random.default_rng(1).standard_normal((3, 2, 6, 6)).astype(np.float32)
    np.savez(folder / "images.npz", image=images)
    graph = import_model(folder / "float.onnx", {"image": images})
    onnx.save(write_qdq(graph), folder / "qdq.onnx")
    (folder / "tiny.json").write_text(CONFIG.to_json())
    save(compile_graph(graph, PRESETS["edge"][0]), folder / "net.slp")
    save(compile_graph(graph, CONFIG), folder / "small.slp")
    return folder


def _verilator() -> None:
    try:
        find_tools()
    except UserError as error:
        pytest.skip(str(error))


# What a user gets


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


# Bad input


def test_missing_and_broken_networks(refused: Callable[..., str], library: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.onnx"
    for content in (np.random.default_rng(1).bytes(5000), b"", (library / "float.onnx").read_bytes()[:-300]):
        broken.write_bytes(content)
        refused("compile", broken, "-o", tmp_path / "net.slp", says=("broken.onnx", "not a"))
    missing = tmp_path / "missing.onnx"
    refused("compile", missing, "-o", tmp_path / "net.slp", says=f"there is no file {missing}")
    refused("bench", missing, "--engine", "machine", says=f"there is no file {missing}")
    refused("run", tmp_path / "missing.slp", "--input", library / "images.npz", "-o", tmp_path / "y.npz",
            says=("there is no file", "systolith compile"))


def test_networks_whose_constants_are_broken(refused: Callable[..., str], library: Path, tmp_path: Path) -> None:
    def bad(name: str, change: Callable[[onnx.ModelProto], object], *says: str) -> None:
        model = onnx.load(library / name)
        change(model)
        onnx.save(model, tmp_path / name)
        refused("compile", tmp_path / name, "--calibrate", library / "images.npz", "-o", tmp_path / "net.slp",
                says=(name, *says))

    weights = onnx.numpy_helper.to_array(onnx.load(library / "float.onnx").graph.initializer[0]).copy()
    weights[0, 0, 0, 0] = np.nan
    raw = weights.tobytes()

    def shrink(model: onnx.ModelProto) -> None:
        dims = next(tensor.dims for tensor in model.graph.initializer if tensor.dims)
        dims[0] -= 1

    for name in ("float.onnx", "qdq.onnx"):
        bad(name, shrink, "constant", "do not fit its type and shape")
        bad(name, lambda m: setattr(m.graph.initializer[0], "data_type", 99), "not a valid ONNX file")
        bad(name, lambda m: setattr(m.graph.input[0].type.tensor_type, "elem_type", 51), "'image'", "unknown type 51")
    bad("float.onnx", lambda m: setattr(m.graph.initializer[0], "raw_data", raw), "'constant_0'", "not finite")
    content = (library / "float.onnx").read_bytes()
    (tmp_path / "text.onnx").write_bytes(content.replace(b"c_node", b"\xfd_node"))
    refused("compile", tmp_path / "text.onnx", "--calibrate", library / "images.npz", "-o", tmp_path / "net.slp",
            says=("text.onnx is not a valid ONNX file", "is no text"))


def test_unsupported_operators_are_listed_at_once(refused: Callable[..., str], library: Path, tmp_path: Path) -> None:
    m = Model()
    m.node("LRN", ["image"], "a", size=3)
    m.node("Hardmax", ["a"], "b")
    m.node("Conv", ["b", m.weights(2, 2, 1, 1)], "c")
    m.node("LpNormalization", ["c"], "d")
    onnx.save(m.proto({"image": (1, 2, 6, 6)}, ["d"]), tmp_path / "odd.onnx")
    said = refused("compile", tmp_path / "odd.onnx", "--calibrate", library / "images.npz", "-o", tmp_path / "net.slp",
                   says=("a_node", "LRN", "b_node", "Hardmax", "d_node", "LpNormalization"), lines=4)
    assert "c_node" not in said


def test_networks_that_need_something_else(refused: Callable[..., str], library: Path, tmp_path: Path) -> None:
    m = Model()
    m.node("Relu", ["image"], "y")
    onnx.save(m.proto({"image": (1, 2, "rows", 6)}, ["y"]), tmp_path / "dynamic.onnx")
    refused("compile", tmp_path / "dynamic.onnx", "--calibrate", library / "images.npz", "-o", tmp_path / "net.slp",
            says=("'image'", "no fixed size", "'rows'"))
    refused("compile", library / "float.onnx", "-o", tmp_path / "net.slp",
            says=("float.onnx", "--calibrate DATA.npz", "image"))
    refused("compile", library / "float.onnx", "--calibrate", library / "images.npz", "-o", tmp_path / "net.slp",
            "--preset", "micro", "--set", "memory_bytes=512",
            says=("float needs", "has 512", "bytes too many", "r 6x6x4 (144)", "memory_bytes"))


@pytest.mark.parametrize("arrays, says", [
    ({"picture": np.zeros((2, 2, 6, 6))}, ("has no 'image'", "it has picture")),
    ({"image": np.zeros((2, 2, 6, 5))}, ("'image'", "[1, 2, 6, 6]", "[2, 6, 5]")),
    ({"image": np.zeros((0, 2, 6, 6))}, ("no sample",)),
    ({"image": np.full((1, 2, 6, 6), np.nan)}, ("'image'", "not a number")),
    ({"image": np.full((1, 2, 6, 6), "a")}, ("'image'", "must be numbers, not <U1")),
    ({"image": np.array(3.0)}, ("'image'", "not one number")),
])
def test_bad_calibration(arrays: dict[str, Any], says: tuple[str, ...], refused: Callable[..., str], library: Path,
                         tmp_path: Path) -> None:
    np.savez(tmp_path / "data.npz", **arrays)
    refused("compile", library / "float.onnx", "--calibrate", tmp_path / "data.npz", "-o", tmp_path / "net.slp",
            says=says)


@pytest.mark.parametrize("arrays, says", [
    ({"picture": np.zeros((2, 2, 6, 6))}, ("x.npz has no array 'image'", "it has picture")),
    ({}, ("no array 'image'", "it has none")),
    ({"image": np.zeros((2, 2, 6, 5))}, ("x.npz: input 'image'", "[2, 6, 6]", "not [2, 6, 5]")),
    ({"image": np.array(1.0)}, ("'image'", "[2, 6, 6]", "not []")),
    ({"image": np.zeros((2, 2, 6, 6), np.int64)}, ("'image'", "floats, or int8", "not int64")),
    ({"image": np.zeros((2, 2, 6, 6), complex)}, ("'image'", "not complex128")),
    ({"image": np.full((2, 2, 6, 6), np.inf)}, ("'image'", "not finite")),
    ({"image": np.zeros((0, 2, 6, 6), np.float32)}, ("x.npz holds no sample",)),
])
def test_bad_inputs(arrays: dict[str, Any], says: tuple[str, ...], refused: Callable[..., str], library: Path,
                    tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", **arrays)
    refused("run", library / "net.slp", "--input", tmp_path / "x.npz", "-o", tmp_path / "y.npz", says=says)


def test_files_that_are_no_arrays(refused: Callable[..., str], library: Path, tmp_path: Path) -> None:
    whole = (library / "images.npz").read_bytes()
    (tmp_path / "text.npz").write_text("1 2 3")
    (tmp_path / "empty.npz").write_bytes(b"")
    (tmp_path / "short.npz").write_bytes(whole[:len(whole) // 2])
    (tmp_path / "flipped.npz").write_bytes(whole[:900] + bytes([whole[900] ^ 1]) + whole[901:])
    np.save(tmp_path / "array.npy", np.zeros(3))
    np.savez(tmp_path / "objects.npz", image=np.array([{}], object))
    for name in ("text.npz", "empty.npz", "short.npz", "flipped.npz", "array.npy", "objects.npz", "none.npz", "."):
        for command in (("run", library / "net.slp", "--input", tmp_path / name, "-o", tmp_path / "y.npz"),
                        ("compile", library / "float.onnx", "--calibrate", tmp_path / name, "-o", tmp_path / "n.slp")):
            refused(*command, says=(str(tmp_path / name), "numpy.savez"))


@pytest.mark.parametrize("options, says", [
    (("--preset", "huge"), ("no preset 'huge'", "nano, micro, edge, large")),
    (("--preset", "edge", "--config", "tiny.json"), ("--preset edge", "tiny.json", "one of them")),
    (("--set", "rows=0"), ("rows must be from 1 to 128, not 0",)),
    (("--set", "rows=abc"), ("rows must be a whole number, not 'abc'",)),
    (("--set", "rows=2.5"), ("rows must be a whole number, not '2.5'",)),
    (("--set", "rows=" + "9" * 5000), ("rows must be a whole number",)),
    (("--set", "foo=1"), ("no 'foo'", "rows, cols, memory_bytes")),
    (("--set", "rows"), ("'rows'", "NAME=VALUE")),
    (("--set", "name=../x"), ("name must be", "'../x'")),
    (("--set", "multiplier=fast"), ("multiplier must be one of generic", "'fast'")),
    (("--set", "memory_bytes=128"), ("memory_bytes", "256", "not 128")),
    (("--config", "none.json"), ("none.json cannot be read", "No such file")),
    (("--config", "images.npz"), ("images.npz", "JSON")),
    (("--config", "bad.json"), ("bad.json", "not JSON")),
    (("--config", "unknown.json"), ("unknown.json", "no 'lanes'", "vector_lanes")),
    (("--config", "list.json"), ("list.json", "JSON object")),
    (("--config", "text.json"), ("text.json", "rows must be a whole number, not '4x'")),
])
def test_bad_configurations(options: tuple[str, ...], says: tuple[str, ...], refused: Callable[..., str],
                            library: Path, tmp_path: Path) -> None:
    for name, text in {"bad.json": '{"rows": 4', "unknown.json": '{"lanes": 4}', "list.json": "[4]",
                       "text.json": '{"rows": "4x"}'}.items():
        (library / name).write_text(text)
    given = [library / option if option.endswith((".json", ".npz")) else option for option in options]
    for command in (("compile", library / "qdq.onnx", "-o", tmp_path / "net.slp"), ("verilog", "-o", tmp_path / "v"),
                    ("bench", "gemm:2x2x2", "--engine", "machine")):
        refused(*command, *given, says=says)


def test_damaged_and_foreign_compiled_files(refused: Callable[..., str], library: Path, tmp_path: Path) -> None:
    whole, path = (library / "net.slp").read_bytes(), tmp_path / "net.slp"
    tail = ("--input", library / "images.npz", "-o", tmp_path / "y.npz")
    middle = len(whole) // 2
    for content in (whole[:middle] + bytes([whole[middle] ^ 4]) + whole[middle + 1:], whole[:-100], whole[:1000],
                    b"", (library / "qdq.onnx").read_bytes()):
        path.write_bytes(content)
        refused("run", path, *tail, says=(f"{path} is damaged", "compile the network again"))
        refused("bench", path, "--engine", "machine", says=f"{path} is damaged")
    net = library / "net.slp"
    differs = (f"{net} was compiled for another configuration", "rows is 16 and not 32", "compile the network again")
    refused("bench", net, "--preset", "large", "--engine", "machine", says=differs)
    refused("run", net, *tail, "--preset", "large", says=differs)
    refused("run", net, *tail, "--set", "queue_words=128", says="(queue_words is 64 and not 128)")
    refused("run", net, *tail, "--calibrate", library / "images.npz", says=("compiled already", "--calibrate"))


def test_engines_and_traces(refused: Callable[..., str], library: Path, tmp_path: Path) -> None:
    run = ("run", library / "net.slp", "--input", library / "images.npz", "-o", tmp_path / "y.npz")
    refused(*run, "--engine", "spice", says=("no engine 'spice'", "golden, machine, model, verilator, icarus"))
    refused(*run, "--trace", tmp_path / "t.fst", says=("golden", "t.fst", "verilator or icarus"))
    refused(*run, "--engine", "verilator", "--trace", tmp_path / "t.txt", says=(".fst or .vcd", "'t.txt'"))
    refused(*run, "--engine", "verilator", "--trace", tmp_path / "no" / "t.fst", says=("t.fst", "make it first"))
    refused("bench", "gemm:2x2x2", "--engine", "spice", says="no engine 'spice'")
    refused("bench", "gemm:2x2x2", "--engine", "golden", says=("golden model", "verilator, icarus or machine"))


@pytest.mark.parametrize("name, says", [
    ("alexnet", ("no network 'alexnet'", "resnet8", "gemm:MxKxN")),
    ("gemm:0x1x1", ("'gemm:0x1x1'", "M must be from 1")),
    ("gemm:4x4", ("'gemm:4x4'", "gemm:256x512x256")),
    ("gemm:axbxc", ("'gemm:axbxc'", "gemm:256x512x256")),
    ("gemm:1x100000x100000", ("10000000000 weights", "at most")),
    ("gemm:1x2000000x1", ("gemm is too large", "kc must be from 0 to 65535, not 125000")),
    ("gemm:30000x100x100", ("bytes too many", "a 1x30000x100 (3000000)")),
])
def test_bad_benchmarks(name: str, says: tuple[str, ...], refused: Callable[..., str], tmp_path: Path) -> None:
    # the network before it is fine: nothing is measured before all are there
    refused("bench", "gemm:2x2x2", name, "--engine", "machine", "--json", tmp_path / "b.json", says=says)


def test_outputs_that_cannot_be_written(refused: Callable[..., str], library: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "folder").mkdir()
    net, images = library / "net.slp", library / "images.npz"
    for bad, why in (("none/out", "does not exist; make it first"), ("file/out", "is no folder"),
                     ("folder", "it is a folder")):
        path = tmp_path / bad
        says = (f"{path} cannot be written", why)
        refused("compile", library / "qdq.onnx", "-o", path, says=says)
        refused("compile", library / "qdq.onnx", "-o", tmp_path / "net.slp", "--json", path, says=says)
        refused("run", net, "--input", images, "-o", path, says=says)
        refused("run", net, "--input", images, "-o", tmp_path / "y.npz", "--json", path, says=says)
        refused("bench", "gemm:2x2x2", "--engine", "machine", "--json", path, says=says)
    for folder in ("file", "file/below"):
        for command in (("verilog",), ("build", "--board", "ulx3s-85f")):
            refused(*command, "-o", tmp_path / folder, says=(str(tmp_path / folder), "is no folder"))


def test_a_failed_write_leaves_what_was_there(refused: Callable[..., str], library: Path, tmp_path: Path,
                                              monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "net.slp").write_bytes(b"the old one")

    def full(self: Path, data: bytes) -> int:
        with open(self, "wb") as file:
            file.write(data[:10])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    refused("compile", library / "qdq.onnx", "-o", tmp_path / "net.slp",
            says=("net.slp cannot be written", "No space left"))


def test_a_cache_that_cannot_be_written(refused: Callable[..., str], tmp_path: Path,
                                        monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(cache, "CACHE", tmp_path / "file" / "verilator")
    sets = [word for item in (*TINY, "rows=1") for word in ("--set", item)]
    refused("verilog", *sets, "-o", tmp_path / "v", says=("file/verilator cannot be written", "is no folder"))


def test_boards(refused: Callable[..., str], tmp_path: Path) -> None:
    refused("build", "--board", "abacus", "-o", tmp_path / "b", says=("no board 'abacus'", "ulx3s-85f"))
    refused("build", "--board", "ulx3s-85f", "--preset", "edge", "-o", tmp_path / "b",
            says=("ulx3s-85f", "external_bytes to 0"))


@pytest.mark.parametrize("arguments, says", [
    (("run",), "Missing"), (("verilog",), "Missing option '-o'"), (("compile", "x.onnx"), "Missing option '-o'"),
    (("paint",), "No such command 'paint'"), (("presets", "--colour"), "No such option: --colour"),
])
def test_usage(arguments: tuple[str, ...], says: str, call: Call) -> None:
    answer = call(*arguments)
    assert answer.code == 2 and says in answer.err and "--help" in answer.err and not answer.out


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
