"""The language model in numpy: equal to PyTorch's, the same with and without cache, and what it writes."""

from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from systolith.gen.errors import UserError
from systolith.gen.language.complete import complete, generate, greedy, predictor, sampler, unrepeated
from systolith.gen.language.model import Cache, LanguageModel, forward, load_model, silu, softmax
from systolith.gen.language.tokenizer import Tokenizer, load_tokenizer
from systolith.gen.quantize import quantise_weights
from tests.examples import TEXT

TOKENIZER = load_tokenizer(TEXT / "tokenizer.json")


@cache
def model() -> LanguageModel:
    return load_model(TEXT / "model.npz")


def test_the_sizes_fit_the_machine() -> None:
    assert model().vocabulary == TOKENIZER.size
    assert (model().context, model().head_width) == (256, 32)
    assert all(size % 16 == 0 for size in (model().width, model().hidden, model().head_width))
    files = [TEXT / name for name in ("model.npz", "tokenizer.json", "logits.npz")]
    assert sum(path.stat().st_size for path in files) < 2e6


def test_logits_are_those_of_pytorch() -> None:
    with np.load(TEXT / "logits.npz") as file:
        tokens, every, logits = file["tokens"].tolist(), int(file["every"]), file["logits"]
    assert len(logits) == len(tokens[::every]) > 5
    np.testing.assert_allclose(forward(model(), tokens, Cache(model()))[::every], logits, atol=1e-3)


@pytest.mark.parametrize("cuts", [[1] * 24, [10, 1, 13], [23, 1]])
def test_the_cache_changes_nothing(cuts: list[int]) -> None:
    tokens = np.random.default_rng(1).integers(0, TOKENIZER.size, sum(cuts)).tolist()
    whole = forward(model(), tokens, Cache(model()))
    seen, parts, at = Cache(model()), [], 0
    for cut in cuts:
        parts.append(forward(model(), tokens[at:at + cut], seen))
        at += cut
        assert seen.length == at
    np.testing.assert_allclose(np.concatenate(parts), whole, atol=1e-3)


def test_the_whole_context_can_be_read_and_no_more() -> None:
    seen = Cache(model())
    logits = forward(model(), [TOKENIZER.end] * 255, seen)
    assert np.isfinite(logits).all()
    forward(model(), [1], seen)
    with pytest.raises(ValueError, match="256 tokens, not 257"):
        forward(model(), [1], seen)


def test_a_watch_sees_every_tensor_and_may_change_it() -> None:
    names: list[str] = []

    def watch(name: str, x: NDArray[np.float32]) -> NDArray[np.float32]:
        names.append(name)
        return np.zeros_like(x) if name == "norm" else x

    logits = forward(model(), [1, 2, 3], Cache(model()), watch)
    assert not logits.any()
    assert len(names) == len(set(names)) == 3 + 18 * len(model().blocks)
    assert {"embedding", "blocks.0.query_rotated", "blocks.3.shares", "blocks.3.mlp_sum", "norm", "logits"} < set(names)


@pytest.mark.parametrize("name", ["embedding", "query", "output", "down"])
def test_the_quantiser_finds_the_weights_as_they_are_stored(name: str) -> None:
    with np.load(TEXT / "model.npz") as file:
        stored = file[name if name == "embedding" else f"blocks.2.{name}"]
    weights = model().embedding if name == "embedding" else getattr(model().blocks[2], name)
    assert np.array_equal(np.abs(stored.astype(int)).max(1), np.full(len(stored), 127))
    integers, _, _ = quantise_weights(weights, np.zeros(len(weights)), 0.01)
    assert np.array_equal(integers, stored)


def test_functions_are_exact_at_their_ends() -> None:
    x = np.array([-1e4, -1, 0, 1, 1e4], np.float32)
    np.testing.assert_allclose(silu(x), [0, -0.26894143, 0, 0.7310586, 1e4], rtol=1e-6)
    np.testing.assert_allclose(softmax(np.array([1e4, 1e4, -np.inf], np.float32)), [0.5, 0.5, 0])


def text(prompt: str, count: int | None = None, source: LanguageModel | None = None) -> str:
    chosen = source or model()
    return "".join(complete(predictor(chosen), TOKENIZER, prompt, chosen.context, count))


def test_greedy_text_is_the_arguments_of_the_maxima() -> None:
    tokens = [TOKENIZER.end, *TOKENIZER.encode("The list ")]
    for _ in range(20):
        tokens.append(int(np.argmax(forward(model(), tokens, Cache(model()))[-1])))
    written = text("The list ", 20)
    assert written == TOKENIZER.decode(tokens)[len("The list "):]
    assert len(written.split()) > 5


def test_a_text_ends_with_the_context() -> None:
    short = replace(model(), context=8)
    prompt = "The list "
    assert len(TOKENIZER.encode(prompt)) == 2
    assert text(prompt, None, short) == text(prompt, 6)
    with pytest.raises(UserError, match="8 tokens, and the model reads 7 at most"):
        text("of " * 8, None, short)


def test_end_ends_a_text_and_is_not_said() -> None:
    answers = iter([3, 5, 9, 4])
    asked: list[list[int]] = []

    def predict(tokens: list[int]) -> NDArray[np.float32]:
        asked.append(list(tokens))
        return np.eye(10, dtype=np.float32)[next(answers)]

    assert list(generate(predict, [7, 8], 9, 10)) == [3, 5]
    assert asked == [[7, 8], [3], [5]]


def test_characters_of_several_tokens_come_whole() -> None:
    plain = Tokenizer([])
    answers = iter([*"aé→".encode(), 0xC3])
    parts = list(complete(lambda tokens: np.eye(plain.size)[next(answers)], plain, "x", 256, 7))
    assert parts == ["a", "é", "→", "\ufffd"]


def test_chance_prefers_what_is_probable() -> None:
    logits = np.array([0, 3, 1, 2], np.float32)
    choose = sampler(1.0, 3, seed=1)
    counts = np.bincount([choose(logits) for _ in range(3000)], minlength=4)
    np.testing.assert_allclose(counts / 3000, [0, 0.665, 0.090, 0.245], atol=0.03)
    assert {sampler(0.01, 4, seed)(logits) for seed in range(20)} == {1}
    assert [sampler(1, 4, 5)(logits)] * 3 == [sampler(1, 4, 5)(logits) for _ in range(3)]
    assert greedy(np.array([1, 5, 5, 0])) == 1


@pytest.mark.parametrize("length, expected", [(2, "ddcdbdad"), (3, "dddcddbd"), (9, "dddddddd")])
@pytest.mark.parametrize("space", [" ", "\n"])
def test_no_run_of_words_comes_twice(length: int, expected: str, space: str) -> None:
    words = Tokenizer([(ord(letter), ord(space)) for letter in "abcd"])
    logits = np.zeros(words.size, np.int8)
    logits[256:260] = range(1, 5)
    choose = unrepeated(words, length)
    assert words.decode(choose(logits) for _ in range(8)) == "".join(letter + space for letter in expected)


def test_words_may_have_the_same_parts() -> None:
    plain = Tokenizer([])
    choose = unrepeated(plain)
    assert [choose(np.arange(plain.size)[:100]) for _ in range(5)] == [99] * 5
    assert unrepeated(plain)(np.arange(3)) == 2
    with pytest.raises(ValueError, match="at least 2, not 1"):
        unrepeated(plain, 1)


def test_a_file_that_is_no_model_is_named(tmp_path: Path) -> None:
    path = tmp_path / "bad.npz"
    np.savez(path, norm=np.zeros(3))
    for content in (path.read_bytes(), b"nothing", (TEXT / "model.npz").read_bytes()[:1000]):
        path.write_bytes(content)
        with pytest.raises(UserError, match=r"bad\.npz is no language model"):
            load_model(path)
    with pytest.raises(UserError, match=r"none\.npz is no language model"):
        load_model(tmp_path / "none.npz")
