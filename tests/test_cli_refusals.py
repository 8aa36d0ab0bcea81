"""What the command line says of bad input."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from systolith.gen import cache
from tests.cli_calls import TINY, Call
from tests.onnx_models import Model


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
    m.node("Shrink", ["c"], "d")
    onnx.save(m.proto({"image": (1, 2, 6, 6)}, ["d"]), tmp_path / "odd.onnx")
    said = refused("compile", tmp_path / "odd.onnx", "--calibrate", library / "images.npz", "-o", tmp_path / "net.slp",
                   says=("a_node", "LRN", "b_node", "Hardmax", "d_node", "Shrink"), lines=4)
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
