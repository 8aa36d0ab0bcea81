"""What tests of the command line share: calls of it in this process, and files for it."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from systolith.gen import cli
from systolith.gen.compile import compile_graph
from systolith.gen.emit.artefact import save
from systolith.gen.frontend import import_model
from systolith.gen.presets import PRESETS
from systolith.gen.qdq_writer import write_qdq
from tests.onnx_models import Model
from tests.test_rtl_machine import CONFIG

TINY = ("rows=3", "cols=2", "word_bytes=4", "banks=2", "vector_lanes=1", "memory_bytes=2048", "accumulator_rows=16",
        "external_bytes=0", "name=tiny")
"""Settings of a machine that is emitted in no time."""


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
