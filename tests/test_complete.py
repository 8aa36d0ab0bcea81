"""`systolith complete`, and the language model on engines."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from systolith.gen.errors import UserError
from systolith.gen.float_graph import float_execute
from systolith.gen.language.complete import generate
from systolith.gen.language.engine import FOLDER, TextEngine, _texts, whole_graph
from systolith.gen.language.model import Cache, forward, load_model
from systolith.gen.language.network import LOGITS, TOKENS, float_graph
from systolith.gen.language.tokenizer import load_tokenizer
from systolith.gen.presets import preset
from systolith.sim.golden.execute import dequantise, execute
from tests.cli_calls import Call, call

__all__ = ["call"]
EDGE = preset("edge")
PROMPT = [1023, 84, 104, 101]


def test_calibration_is_text() -> None:
    """Each piece from the begin of a text, none of it made of bytes that are no text."""
    tokenizer = load_tokenizer(FOLDER / "tokenizer.json")
    pieces = _texts(FOLDER / "calibration.npz", 256)
    assert len({tuple(piece.tolist()) for piece in pieces}) == len(pieces) >= 4
    for piece in pieces:
        assert piece[0] == tokenizer.end
        assert np.count_nonzero(piece == tokenizer.end) == 1
        assert "\N{REPLACEMENT CHARACTER}" not in tokenizer.decode(piece.tolist())


def test_the_float_graph_is_the_model() -> None:
    model = load_model(FOLDER / "model.npz")
    tokens = np.random.default_rng(1).integers(0, model.vocabulary, 12)
    found = float_execute(float_graph(model, 12), {TOKENS: tokens.astype(np.float32).reshape(-1, 1, 1)})[LOGITS]
    np.testing.assert_allclose(found[:, 0], forward(model, tokens.tolist(), Cache(model)), atol=1e-3)


def test_integers_say_what_floats_say() -> None:
    """On text that calibration has not seen: the same first choice nearly always, and logits that are near."""
    model = load_model(FOLDER / "model.npz")
    with np.load(FOLDER / "logits.npz") as file:
        start = file["tokens"].astype(int)
    tokens = np.concatenate([start, np.zeros(model.context - len(start), int)])
    graph = whole_graph()
    found = execute(graph, {TOKENS: tokens.astype(np.int32).reshape(-1, 1, 1)})[LOGITS][:len(start), 0]
    logits = dequantise(found, graph.tensors[LOGITS])
    real = forward(model, start.tolist(), Cache(model))
    assert graph.tensors[LOGITS].dtype == "int16"
    assert np.mean(logits.argmax(1) == real.argmax(1)) >= 0.85
    assert np.sqrt(np.mean((logits - real) ** 2)) < 0.06 * real.std()


def test_engines_write_the_same() -> None:
    """Token by token, and their logits: the whole sequence at once, golden and machine; cycles are counted."""
    found = {}
    for engine in ("golden", "machine", "model"):
        text = TextEngine(engine, EDGE)
        logits = [text(PROMPT)]
        for _ in range(3):
            logits.append(text([int(np.argmax(logits[-1]))]))
        assert text.difference is None
        assert text.passes == 7
        found[engine] = np.array(logits)
        text.close()
    np.testing.assert_array_equal(found["machine"], found["golden"])
    np.testing.assert_array_equal(found["model"], found["golden"])
    written = [*PROMPT, *found["golden"].argmax(1)[:-1].tolist()]
    graph = whole_graph()
    rows = np.array([*written, *[0] * (256 - len(written))], np.int32).reshape(-1, 1, 1)
    at_once = dequantise(execute(graph, {TOKENS: rows})[LOGITS], graph.tensors[LOGITS])[:, 0]
    np.testing.assert_array_equal(at_once[len(PROMPT) - 1:len(written)], found["golden"])
    assert len(text.measurements) == 7
    assert text.weight_bytes == 4 * (4 * 192 * 192 + 3 * 192 * 512) + 1024 * 192
    assert text.bound / text.measurements[-1].cycles >= 0.9


def test_generate_uses_it_as_any_model() -> None:
    text = TextEngine("golden", EDGE)
    tokens = list(generate(text, PROMPT, 1023, 5))
    assert len(tokens) == 5
    assert text.passes == len(PROMPT) + 4


def test_clear_errors(tmp_path: Path) -> None:
    text = TextEngine("golden", EDGE)
    with pytest.raises(UserError, match="1024 at .*entries 0 to 1023"):
        text([1024])
    with pytest.raises(ValueError, match="no token"):
        text([])
    text.passes = text.context
    with pytest.raises(UserError, match="reads 256 tokens at most"):
        text([1])
    with pytest.raises(UserError, match="is no tokenizer"):
        TextEngine("golden", EDGE, tmp_path)
    with pytest.raises(UserError, match="softmax_lanes=4"):
        TextEngine("machine", EDGE.replace(softmax_lanes=0, norm_lanes=0))
    with pytest.raises(UserError, match="has no tokens to calibrate on"):
        _texts(tmp_path / "none.npz", 256)
    np.savez(tmp_path / "short.npz", tokens=np.zeros((2, 8), np.uint16))
    with pytest.raises(UserError, match=r"integers \[texts, 256\], not uint16 \[2, 8\]"):
        _texts(tmp_path / "short.npz", 256)


def test_the_command(call: Call, tmp_path: Path) -> None:
    file = tmp_path / "out.json"
    answer = call("complete", "The list ", "--tokens", "4", "--engine", "model", "--json", str(file))
    assert answer.code == 0
    assert answer.out.startswith("The list ")
    record = json.loads(file.read_text())
    assert answer.out.startswith(f"The list {record['text']}\n")
    assert record["passes"] == len(record["cycles"]) >= 5
    assert f"{record['part_of_bound']:.1%} of it reached" in answer.out
    assert record["part_of_bound"] >= 0.9
    golden = call("complete", "The list ", "--tokens", "4")
    assert golden.out.splitlines()[0] == f"The list {record['text']}"
    assert "cycles" not in golden.out


def test_a_difference_ends_it(call: Call, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Where the engine disagrees with the golden model: said, exit code 1, and the text goes no further."""
    def other(*arguments: Any) -> dict[str, Any]:
        found = execute(*arguments)
        found[LOGITS] = found[LOGITS] + 1
        return found

    monkeypatch.setattr("systolith.gen.run.execute", other)
    file = tmp_path / "out.json"
    answer = call("complete", "The list ", "--tokens", "9", "--engine", "machine", "--json", str(file))
    assert answer.code == 1
    assert f"{LOGITS}[0, 0, 0] is" in answer.out
    record = json.loads(file.read_text())
    assert record["bit_exact"] is False
    assert record["passes"] < 9
    assert "equal to the golden" not in answer.out


def test_a_text_that_ends_at_once(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("systolith.gen.language.terminal.complete", lambda *_: iter(()))
    assert call("complete", "All is said.").out.splitlines()[0] == "All is said."


@pytest.mark.parametrize("arguments, message", [
    (("The", "--tokens", "0"), "--tokens must be at least 1, not 0"),
    (("The", "--engine", "abacus"), "no engine 'abacus'"),
    (("x" * 600,), "the prompt has"),
    (("The", "--engine", "machine", "--preset", "micro"), "set"),
])
def test_refusals_of_the_command(call: Call, arguments: tuple[str, ...], message: str) -> None:
    answer = call("complete", *arguments)
    assert answer.code == 2
    assert message in answer.err
    assert len(answer.err.strip().splitlines()) == 1
